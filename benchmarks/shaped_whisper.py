"""A Whisper with the true shape of `base.en` or another and made-up weights, in CTranslate2's format.

    python benchmarks/shaped_whisper.py FOLDER [--size base.en] [--words 12]

Where the trained weights cannot be had, what they cost can be measured all the same: every matrix has its
true size and type. What attention and feed-forward compute is multiplied by zero at their end, so that only
the position decides what comes out: `words` different words and the end mark, whatever the audio is. Random
weights as they come would write one word over and over, which costs something else.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperSpec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

#: Width, layers of each half, heads.
SHAPES = {"tiny.en": (384, 4, 6), "base.en": (512, 6, 8), "small.en": (768, 12, 12)}
TEXT_TOKENS, END, START, NO_TIMESTAMPS = 50256, 50256, 50257, 50362
POSITIONS, MELS, FRAMES = 448, 80, 1500
#: The prompt of an English model is two tokens; what the second one leads to is the first word.
FIRST_WORD_AT = 1
_LANGUAGES = 99


@dataclass(frozen=True)
class _Weights:
    """Random matrices; `scale` 0 silences what a block adds to the stream of its layer."""

    random: np.random.Generator

    def linear(self, spec: Any, out: int, into: int, *, scale: float = 1.0, bias: bool = True) -> None:
        spec.weight = (self.random.standard_normal((out, into)) * scale / np.sqrt(into)).astype(np.float32)
        if bias:
            spec.bias = np.zeros(out, np.float32)

    def norm(self, spec: Any, width: int) -> None:
        spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def layer(self, spec: Any, width: int) -> None:
        own = spec.self_attention
        self.linear(own.linear[0], 3 * width, width)
        self.linear(own.linear[1], width, width, scale=0)
        self.norm(own.layer_norm, width)
        if hasattr(spec, "attention"):
            self.linear(spec.attention.linear[0], width, width)
            self.linear(spec.attention.linear[1], 2 * width, width)
            self.linear(spec.attention.linear[2], width, width, scale=0)
            self.norm(spec.attention.layer_norm, width)
        self.linear(spec.ffn.linear_0, 4 * width, width)
        self.linear(spec.ffn.linear_1, width, 4 * width, scale=0)
        self.norm(spec.ffn.layer_norm, width)


def make(folder: Path, *, size: str = "base.en", words: int = 12) -> Path:
    """Write the model that hears `words` words in everything; returns `folder`. A few seconds."""
    width, layers, heads = SHAPES[size]
    weights = _Weights(np.random.default_rng(0))
    spec = WhisperSpec(layers, heads, layers, heads)
    for conv, into in ((spec.encoder.conv1, MELS), (spec.encoder.conv2, width)):
        conv.weight = (weights.random.standard_normal((width, into, 3)) * 0.02).astype(np.float32)
        conv.bias = np.zeros(width, np.float32)
    spec.encoder.position_encodings.encodings = (weights.random.standard_normal((FRAMES, width))).astype(
        np.float32
    )
    weights.norm(spec.encoder.layer_norm, width)
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        weights.layer(layer, width)
    tokenizer = _tokenizer()
    vocabulary_size = tokenizer.get_vocab_size()
    embeddings = weights.random.standard_normal((vocabulary_size, width)).astype(np.float32) * 1e-3
    places = weights.random.standard_normal((POSITIONS, width)).astype(np.float32)
    places -= places.mean(axis=1, keepdims=True)
    places /= places.std(axis=1, keepdims=True)
    projection = np.zeros((vocabulary_size, width), np.float32)
    for word in range(words):
        projection[_word_token(word)] = places[FIRST_WORD_AT + word] / np.sqrt(width)
    projection[END] = places[FIRST_WORD_AT + words] / np.sqrt(width)
    spec.decoder.embeddings.weight = embeddings
    spec.decoder.position_encodings.encodings = places
    spec.decoder.projection.weight = projection
    weights.norm(spec.decoder.layer_norm, width)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids, spec.config.suppress_ids_begin, spec.config.lang_ids = [], [], []
    spec.config.alignment_heads = [[layers - 1, head] for head in range(heads)]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    features = {
        "feature_size": MELS,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    return folder


def _word_token(word: int) -> int:
    return 1000 + word


def _tokenizer() -> Tokenizer:
    """As many tokens as the English models have, the special ones at their places, made-up words between."""
    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    random = np.random.default_rng(1)
    while len(vocabulary) < TEXT_TOKENS:
        letters = random.integers(0, 26, 6)
        vocabulary.setdefault("Ġ" + "".join(chr(ord("a") + letter) for letter in letters), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["endoftext", "startoftranscript", *(f"lang{i}" for i in range(_LANGUAGES)), "translate"]
    special[2] = "en"
    special += ["transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    special += [f"{0.02 * i:.2f}" for i in range(FRAMES + 1)]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in special])
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=tuple(SHAPES), default="base.en")
    parser.add_argument("--words", type=int, default=12, help="how many words it hears in everything")
    options = parser.parse_args()
    print(make(options.folder, size=options.size, words=options.words))


if __name__ == "__main__":
    main()
