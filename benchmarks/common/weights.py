"""Whisper base.en and Piper medium in their true shapes with random weights: the cost of the real ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
from ctranslate2.specs import whisper_spec
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from benchmarks.common.environments import Environment, EnvironmentFailedError, cache_folder

# Whisper base.en (openai/whisper, model dimensions).
_STATES, _LAYERS, _HEADS, _HIDDEN, _MELS = 512, 6, 8, 2048, 80
_AUDIO_POSITIONS, _TEXT_POSITIONS = 1500, 448
_END, _TIMESTAMPS = 50256, 1501
_SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    # The tokens of languages keep their places in English models, without being used.
    *(f"<|language{number}|>" for number in range(99)),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{number * 0.02:.2f}|>" for number in range(_TIMESTAMPS)),
)
#: What the random Whisper always hears: ten tokens, G with a dot being the space before a word.
SENTENCE = ("ĠI", "Ġwould", "Ġlike", "Ġto", "Ġbook", "Ġa", "Ġtable", "Ġfor", "Ġtomorrow", ".")
#: How much stronger the position is than everything else in what the decoder's last layer sees.
_SURE = 10.0
#: Small enough for the layers not to drown the positions; what a multiplication costs does not depend on it.
_WEIGHT_STD = 0.005

_PIPER = Environment("piper-weights", ("torch==2.13.0", "piper-tts==1.8.0", "onnx"))
#: Counted up when what is made changes, so that what an older version made is not used.
_VERSION = 1


def random_whisper(sentence: tuple[str, ...] = SENTENCE) -> Path:
    """A folder that `faster_whisper.WhisperModel` loads; made if it is not there.

    It says `sentence`, tokens that are all different, to whatever it hears: the embedding of each position is
    the one of the token wanted there, so nobody decodes more tokens than others, and no check of a library
    (likelihood, repetition, no speech) sends it round again. With timestamps there is one more at the
    beginning.
    """
    name = f"whisper-base.en-random-{_VERSION}"
    if sentence != SENTENCE:
        name += f"-{zlib.crc32(' '.join(sentence).encode()):08x}"
    folder = cache_folder() / name
    if (folder / "model.bin").exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    vocabulary = _tokenizer(unfinished / "tokenizer.json", sentence)
    preprocessor = {"feature_size": _MELS, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30}
    (unfinished / "preprocessor_config.json").write_text(json.dumps(preprocessor | {"n_fft": 400}))
    _whisper(vocabulary, sentence).save(str(unfinished))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def random_piper() -> Path:
    """A voice that `piper.PiperVoice` loads; made if it is not there, which takes minutes.

    It hisses loudly, from the first sample on. Raises `EnvironmentFailedError`.
    """
    voice = cache_folder() / f"piper-medium-random-{_VERSION}.onnx"
    if not voice.exists():
        script = Path(__file__).with_name("piper_weights.py")
        command = [str(_PIPER.make()), str(script), str(voice)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentFailedError(f"no voice could be made: {done.stderr[-1000:]}")
    return voice


def _tokenizer(path: Path, sentence: tuple[str, ...]) -> list[str]:
    """Write a tokenizer with base.en's special tokens in their places; the vocabulary in order."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*characters, *(word for word in sentence if word not in characters)]
    words += [f"unused{number}" for number in range(_END - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIALS])
    tokenizer.save(str(path))
    return [*words, *_SPECIALS]


def _whisper(vocabulary: list[str], sentence: tuple[str, ...]) -> whisper_spec.WhisperSpec:
    random = np.random.default_rng(0)

    def weights(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, _WEIGHT_STD, shape).astype(np.float32)

    def linear(spec: object, out: int, into: int) -> None:
        spec.weight, spec.bias = weights(out, into), weights(out)  # type: ignore[attr-defined]

    def norm(spec: object) -> None:
        spec.gamma = np.ones(_STATES, np.float32)  # type: ignore[attr-defined]
        spec.beta = np.zeros(_STATES, np.float32)  # type: ignore[attr-defined]

    spec = whisper_spec.WhisperSpec(_LAYERS, _HEADS, _LAYERS, _HEADS)
    encoder, decoder = spec.encoder, spec.decoder
    for conv, channels in ((encoder.conv1, _MELS), (encoder.conv2, _STATES)):
        conv.weight, conv.bias = weights(_STATES, channels, 3), weights(_STATES)
    encoder.position_encodings.encodings = weights(_AUDIO_POSITIONS, _STATES)
    for layer in (*encoder.layer, *decoder.layer):
        linear(layer.self_attention.linear[0], 3 * _STATES, _STATES)
        linear(layer.self_attention.linear[1], _STATES, _STATES)
        linear(layer.ffn.linear_0, _HIDDEN, _STATES)
        linear(layer.ffn.linear_1, _STATES, _HIDDEN)
        norm(layer.self_attention.layer_norm)
        norm(layer.ffn.layer_norm)
    for layer in decoder.layer:
        linear(layer.attention.linear[0], _STATES, _STATES)
        linear(layer.attention.linear[1], 2 * _STATES, _STATES)
        linear(layer.attention.linear[2], _STATES, _STATES)
        norm(layer.attention.layer_norm)
    norm(encoder.layer_norm)
    norm(decoder.layer_norm)
    tokens = random.normal(0, _STATES**-0.5, (len(vocabulary), _STATES)).astype(np.float32)
    decoder.embeddings.weight = decoder.projection.weight = tokens
    numbers = {token: number for number, token in enumerate(vocabulary)}
    # The first position holds the start mark; a timestamp follows it, or the mark that there are none.
    says = ["<|0.00|>", *sentence]
    wanted = [numbers[token] for token in says] + [_END] * (_TEXT_POSITIONS - len(says))
    decoder.position_encodings.encodings = _SURE * tokens[wanted]
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = spec.config.suppress_ids_begin = spec.config.lang_ids = []
    spec.config.alignment_heads = [[layer, 0] for layer in range(_LAYERS // 2, _LAYERS)]
    spec.validate()
    spec.optimize(quantization="int8")
    return spec
