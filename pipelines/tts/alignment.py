"""Which word of a text its phonemes belong to.

A phonemizer joins words ("in the" is one group of phonemes) and changes them in context, so counting groups
does not do. Instead every word is phonemized alone, too, and the two strings of phonemes are laid along each
other by edit distance: they differ in a few vowels only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from rapidfuzz.distance import Levenshtein

#: Text to the phonemes of its sentences, as `PiperVoice.phonemize`.
Phonemize: TypeAlias = Callable[[str], list[list[str]]]

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_STRESS = "ˈˌ"


def last_phonemes(
    text: str, sentences: Sequence[Sequence[str]], phonemize: Phonemize
) -> list[tuple[int, int]]:
    """For each white-space separated word of `text`, the sentence and the index in it of its last phoneme.

    `sentences` is what `phonemize` made of `text`. A word without sound ends where the one before it does;
    (0, -1) is before the first sound. Empty when the words cannot be told apart.
    """
    words = [_EDGES.sub("", word) for word in text.split()]
    alone = _alone([word for word in words if word], phonemize)
    places = [
        (s, p)
        for s, sentence in enumerate(sentences)
        for p, phoneme in enumerate(sentence)
        for symbol in phoneme
        if _sounds(symbol)
    ]
    if alone is None or not places:
        return []
    in_context = "".join(
        symbol for sentence in sentences for p in sentence for symbol in p if _sounds(symbol)
    )
    ends = iter(_carried_over(alone, in_context))
    last, found = (0, -1), []
    for word in words:
        if word and (end := next(ends)):
            last = places[end - 1]
        found.append(last)
    return found


def _alone(words: Sequence[str], phonemize: Phonemize) -> list[str] | None:
    """The sounds of each word by itself; None when a word has commas of its own in some form."""
    # One call for all: espeak treats what is between commas apart.
    phonemes = [phoneme for sentence in phonemize(", ".join(words)) for phoneme in sentence]
    groups = [list(group) for is_comma, group in groupby(phonemes, lambda p: p == ",") if not is_comma]
    if len(groups) != len(words):
        return None
    return ["".join(_sounds_of(group)) for group in groups]


def _carried_over(alone: Sequence[str], in_context: str) -> list[int]:
    """Where each word, alone one after the other, ends in `in_context`."""
    joined = "".join(alone)
    opcodes = Levenshtein.opcodes(joined, in_context)
    ends, at = [], 0
    for word in alone:
        at += len(word)
        end = 0
        for op in opcodes:
            if op.src_start < at <= op.src_end:
                share = (at - op.src_start) / (op.src_end - op.src_start)
                end = op.dest_start + round(share * (op.dest_end - op.dest_start))
        ends.append(end)
    return ends


def _sounds_of(phonemes: Iterable[str]) -> Iterator[str]:
    return (symbol for phoneme in phonemes for symbol in phoneme if _sounds(symbol))


def _sounds(symbol: str) -> bool:
    return symbol.isalpha() and symbol not in _STRESS
