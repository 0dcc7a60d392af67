"""Cuts a stream of text into clauses that can be spoken on their own, the first as early as possible.

A sentence always ends a clause. Inside a sentence a comma ends one only after enough words: few for the first
clause of a reply, because somebody is waiting; more for the others, because a voice sounds better with more
of the sentence before it.
"""

from __future__ import annotations

import re

#: Words after which a comma may end the first clause of a reply, and any later one.
FIRST_MIN_WORDS = 3
LATER_MIN_WORDS = 9
#: Longer clauses are cut between words: a voice synthesises a clause whole, and nobody should wait for that.
MAX_CHARS = 240

# An end is only seen with the white space after it: "3." may become "3.5", "example." "example.com".
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]|\n+")
_CLAUSE_END = re.compile(r"[,;:](?=\s)|\s[–—-](?=\s)|—|[，；：]")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:mr|mrs|ms|dr|prof|st|mt|vs|etc|e\.g|i\.e|approx|dept|est|inc|ltd|co|jr|sr|no|vol|fig|[a-z])\.$",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*\d{1,3}\.$")
_WORD = re.compile(r"\w+")


class ClauseSplitter:
    """Feed text as it streams; take clauses as they are complete. One splitter serves one reply."""

    def __init__(self) -> None:
        self._text = ""
        self._min_words = FIRST_MIN_WORDS

    def feed(self, text: str) -> list[str]:
        """Add text; returns the clauses it completes."""
        self._text += text
        clauses: list[str] = []
        while (end := self._end()) is not None:
            self._take(end, clauses)
        return clauses

    def flush(self) -> list[str]:
        """No more text comes: returns what is left."""
        clauses: list[str] = []
        while len(self._text) > MAX_CHARS:
            self._take(self._end() or self._cut(), clauses)
        self._take(len(self._text), clauses)
        return clauses

    def _take(self, end: int, clauses: list[str]) -> None:
        clause, self._text = self._text[:end].strip(), self._text[end:]
        if _WORD.search(clause):
            clauses.append(clause)
            self._min_words = LATER_MIN_WORDS

    def _end(self) -> int | None:
        """Where the first complete clause ends; None while there is none."""
        ends = [m.end() for m in _SENTENCE_END.finditer(self._text) if self._is_sentence_end(m)]
        sentence = ends[0] if ends else None
        for match in _CLAUSE_END.finditer(self._text):
            if sentence is not None and match.start() >= sentence:
                break
            if len(_WORD.findall(self._text[: match.start()])) >= self._min_words:
                return match.end()
        if sentence is None and len(self._text) > MAX_CHARS:
            return self._cut()
        return sentence if sentence is None or sentence <= MAX_CHARS else self._cut()

    def _is_sentence_end(self, match: re.Match[str]) -> bool:
        if match.group() != ".":
            return True
        before = self._text[: match.end()]
        return not (_ABBREVIATION.search(before) or _LIST_NUMBER.search(before))

    def _cut(self) -> int:
        """Where to cut a clause that is too long: between two words if there is such a place."""
        space = self._text.rfind(" ", 1, MAX_CHARS + 1)
        return space if space > 0 else MAX_CHARS
