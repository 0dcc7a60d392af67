"""What is written for the eye becomes what is said: markup, addresses, numbers, dates, money, units."""

from __future__ import annotations

import re

from pipelines.clauses import FENCE
from pipelines.speakable.language import Language, language_of
from pipelines.speakable.markup import without_markup
from pipelines.speakable.notation import in_words

__all__ = ["Reader", "speakable"]

_SPACE = re.compile(r"\s+")
_SAYABLE = re.compile(r"\w")


class Reader:
    """Reads one reply clause by clause; what stands between code fences is shown, not read out."""

    def __init__(self, language: str | None) -> None:
        """`language`: the tag of the text. Of one that is not known here, numbers are left to the voice."""
        self._language = language_of(language)
        self._in_code = False

    def __call__(self, clause: str) -> str:
        """`clause` as it should be read out; empty when there is nothing to say."""
        *closed, rest = clause.split(FENCE)
        said: list[str] = []
        for part in closed:
            if not self._in_code:
                said.append(part)
            self._in_code = not self._in_code
        if not self._in_code:
            said.append(rest)
        return _read(" ".join(said), self._language)


def speakable(text: str, language: str | None = None) -> str:
    """`text`, which stands for itself, as it should be read out; empty when there is nothing to say."""
    return Reader(language)(text)


def _read(text: str, language: Language | None) -> str:
    text = without_markup(text, language)
    if language is not None:
        text = in_words(text, language)
    text = _SPACE.sub(" ", text).strip()
    return text if _SAYABLE.search(text) else ""
