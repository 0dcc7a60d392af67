"""The text of a reply laid along its audio: which words were heard after so many milliseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from pipelines.audio import Pcm
from pipelines.tts.base import SpokenPcm

#: Counters of samples at two rates do not meet exactly: a frame of slack.
_SLACK_MS = 20.0
#: Of a clause whose audio is not complete yet, as slow a pace as voices have.
_MS_A_LETTER = 90.0

_WORD = re.compile(r"\S+")


@dataclass(slots=True)
class _Clause:
    """`text` as it is written, `spoken` as it is read out."""

    text: str
    spoken: str
    duration_ms: float = 0.0
    complete: bool = False
    #: When the words of `spoken` end, as far as the voice has told.
    ends_ms: list[float] = field(default_factory=list)

    def heard(self, played_ms: float) -> str:
        """The words that had ended after `played_ms` of this clause."""
        ends_ms = self._spoken_ends_ms()
        done = sum(end_ms <= played_ms + _SLACK_MS for end_ms in ends_ms)
        written = list(_WORD.finditer(self.text))
        counts = _words_needed([m.group() for m in written], self.spoken.split())
        heard = [match.end() for match, needed in zip(written, counts, strict=True) if needed <= done]
        return self.text[: heard[-1]] if done and heard else ""

    def _spoken_ends_ms(self) -> list[float]:
        """When each word ends; where the voice does not say, time passes evenly over the letters."""
        words = list(_WORD.finditer(self.spoken))
        if self.ends_ms:
            return self.ends_ms[: len(words)]
        letters = max(1, len(self.spoken))
        total_ms = self.duration_ms
        if not self.complete:
            total_ms = max(total_ms, letters * _MS_A_LETTER)
        return [total_ms * match.end() / letters for match in words]


class SpokenText:
    """What a reply said so far, clause by clause."""

    def __init__(self) -> None:
        self._clauses: list[_Clause] = []

    def add(self, text: str, spoken: str) -> None:
        """The next clause: how it is written, and how it is read out. The one before it is complete."""
        self.end()
        self._clauses.append(_Clause(text, spoken))

    def extend(self, pcm: Pcm) -> None:
        """More audio of the last clause."""
        clause = self._clauses[-1]
        if isinstance(pcm, SpokenPcm):
            clause.ends_ms += [clause.duration_ms + end_ms for end_ms in pcm.word_ends_ms]
        clause.duration_ms += pcm.duration_ms

    def end(self) -> None:
        """The last clause has all its audio."""
        if self._clauses:
            self._clauses[-1].complete = True

    @property
    def text(self) -> str:
        return " ".join(clause.text for clause in self._clauses)

    def heard(self, played_ms: float) -> str:
        """The words whose audio had ended after `played_ms`; one that was only begun does not count."""
        heard: list[str] = []
        for clause in self._clauses:
            if not clause.complete or played_ms + _SLACK_MS < clause.duration_ms:
                heard.append(clause.heard(played_ms))
                break
            heard.append(clause.text)
            played_ms -= clause.duration_ms
        return " ".join(part for part in heard if part).strip()


def _words_needed(written: list[str], spoken: list[str]) -> list[int]:
    """For each written word, how many spoken words have to be heard for it to be.

    "$5.50" is heard with the last word of "five dollars and fifty cents", an emoji with the word before it.
    """
    needed: list[int] = []
    for _, w0, w1, s0, s1 in SequenceMatcher(None, written, spoken, autojunk=False).get_opcodes():
        needed += [s0 + -(-(i + 1) * (s1 - s0) // (w1 - w0)) for i in range(w1 - w0)]
    return needed
