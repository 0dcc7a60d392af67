"""Writes a Piper voice of the shape `medium` with random weights; runs in an environment with torch.

python piper_weights.py VOICE.onnx
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.train.vits.models import SynthesizerTrn

# Piper's own training options for the quality "medium".
RATE_HZ, SYMBOLS, CHANNELS, FILTERS = 22_050, 256, 192, 768
SCALES = {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8}


class Voice(torch.nn.Module):
    """The network with the inputs that the runtime gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SynthesizerTrn(
            n_vocab=SYMBOLS,
            spec_channels=513,
            segment_size=32,
            inter_channels=CHANNELS,
            hidden_channels=CHANNELS,
            filter_channels=FILTERS,
            n_heads=2,
            n_layers=6,
            kernel_size=3,
            p_dropout=0.1,
            resblock="2",
            resblock_kernel_sizes=(3, 5, 7),
            resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
            upsample_rates=(8, 8, 4),
            upsample_initial_channel=256,
            upsample_kernel_sizes=(16, 16, 8),
            n_speakers=1,
            gin_channels=0,
            use_sdp=True,
        )
        self.net.eval()
        with torch.no_grad():
            self.net.dec.remove_weight_norm()

    def forward(self, text: torch.Tensor, lengths: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        said = self.net.infer(
            text, lengths, noise_scale=scales[0], length_scale=scales[1], noise_scale_w=scales[2]
        )
        return said[0].unsqueeze(1)


def main() -> None:
    voice = Path(sys.argv[1])
    torch.manual_seed(0)
    example = (
        torch.randint(0, SYMBOLS, (1, 50)),
        torch.tensor([50]),
        torch.tensor(list(SCALES.values())),
    )
    unfinished = voice.with_suffix(".unfinished")
    torch.onnx.export(
        Voice(),
        example,
        str(unfinished),
        opset_version=15,
        input_names=["input", "input_lengths", "scales"],
        output_names=["output"],
        dynamic_axes={
            "input": {0: "batch", 1: "phonemes"},
            "input_lengths": {0: "batch"},
            "output": {0: "batch", 2: "time"},
        },
        dynamo=False,
    )
    config = {
        "audio": {"sample_rate": RATE_HZ, "quality": "medium"},
        "espeak": {"voice": "en-us"},
        "inference": SCALES,
        "phoneme_type": "espeak",
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "num_symbols": SYMBOLS,
        "num_speakers": 1,
        "speaker_id_map": {},
    }
    Path(f"{voice}.json").write_text(json.dumps(config))
    unfinished.rename(voice)


if __name__ == "__main__":
    main()
