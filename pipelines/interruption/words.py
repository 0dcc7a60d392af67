"""What words over a reply mean: approval to go on, a call to stop, or something to say."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from functools import cache
from itertools import chain
from typing import TypeAlias

from pipelines.base import primary_language
from pipelines.interruption.lexicons import LEXICONS


class Meaning(Enum):
    #: Nothing that is a word: a cough, laughter, noise.
    NOTHING = "nothing"
    #: Approval or attention, nothing else: go on.
    BACKCHANNEL = "backchannel"
    #: What approval of several words begins with ("I" of "I see"): the next word tells.
    BEGINNING = "beginning"
    #: A call to stop, whatever else is said.
    COMMAND = "command"
    #: Words of their own.
    WORDS = "words"


#: Sounds that mean the same everywhere, however long they are drawn.
_HUM = re.compile(
    r"m+|(?:m+h+)+m*|m+k(?:ay|ey)?|h+m+|h+u+h+|h[aeio]h?"
    r"|e?h+e+m+|e+h+m+|(?:[ue]h+)+|u+m+|a+|a+h+a*|aj?a+|o+|o+h+o*|n+"
)
_LAUGH = re.compile(r"(?:[bmw]+u*)?(?:h+[aeio]+){2,}h*|(?:[aeio]h+){2,}[aeio]*|(?:ja){3,}|lol")
#: What a recogniser writes for sounds that are no words: [cough], (laughter), *sighs*, music notes.
_REMARK = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|<[^>]*>|♪[^♪]*♪?")
_MARK = re.compile(r"['’`´]")
_TOKEN = re.compile(r"\w+")

Phrases: TypeAlias = frozenset[tuple[str, ...]]


def meaning(text: str, language: str | None) -> tuple[Meaning, int]:
    """What `text` means in `language` (a tag; None: any that is known here), and how many words
    it has that are neither backchannel nor laughter. A language unknown here is taken for English."""
    tokens = _tokens(text)
    if not tokens or all(_LAUGH.fullmatch(token) for token in tokens):
        return Meaning.NOTHING, 0
    backchannels, beginnings, commands = _phrases(primary_language(language))
    saying = begun = 0
    commanding = False
    at = 0
    while at < len(tokens):
        rest = tuple(tokens[at:])
        if length := _match(tokens, at, commands):
            commanding = True
            saying += length
        elif (length := _match(tokens, at, backchannels)) < len(rest) and rest in beginnings:
            begun = 0 if all(map(_is_no_word, rest)) else len(rest)
            break
        elif not length:
            length = 1
            saying += not _is_no_word(tokens[at])
        at += length
    if commanding:
        return Meaning.COMMAND, saying + begun
    if saying:
        return Meaning.WORDS, saying + begun
    return (Meaning.BEGINNING, begun) if begun else (Meaning.BACKCHANNEL, 0)


def _is_no_word(token: str) -> bool:
    return bool(_HUM.fullmatch(token) or _LAUGH.fullmatch(token))


def _tokens(text: str) -> list[str]:
    text = _MARK.sub("", _REMARK.sub(" ", text))
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _TOKEN.findall("".join(c for c in plain if not unicodedata.combining(c)))


def _match(tokens: list[str], at: int, phrases: Phrases) -> int:
    """How many tokens the longest phrase that begins at `at` has; 0 without one."""
    longest = min(4, len(tokens) - at)
    return next((n for n in range(longest, 0, -1) if tuple(tokens[at : at + n]) in phrases), 0)


@cache
def _phrases(language: str | None) -> tuple[Phrases, Phrases, Phrases]:
    """Backchannels, what those of several words begin with, commands."""
    known = [LEXICONS.get(language, LEXICONS["en"])] if language else list(LEXICONS.values())

    def parsed(lists: list[str]) -> Phrases:
        phrases = chain.from_iterable(words.split(",") for words in lists)
        return frozenset(tuple(_tokens(phrase)) for phrase in phrases)

    backchannels = parsed([one.backchannels for one in known])
    beginnings = frozenset(phrase[:n] for phrase in backchannels for n in range(1, len(phrase)))
    return backchannels, beginnings, parsed([one.commands for one in known])
