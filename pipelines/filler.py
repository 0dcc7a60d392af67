"""A few words that fill the time until an answer is ready."""

from __future__ import annotations

from collections.abc import Sequence


class Fillers:
    """The fillers of one call, in turn; the same one is never said twice in a row."""

    def __init__(self, phrases: Sequence[str], *, after_ms: float) -> None:
        """`after_ms`: how long after its release a reply may be silent before one is said."""
        self._phrases = tuple(dict.fromkeys(phrases))
        self._taken = 0
        self.after_ms = after_ms

    def take(self) -> str | None:
        """The one to say now; None: better silence than the same again."""
        self._taken += 1
        if len(self._phrases) == 1:
            return self._phrases[0] if self._taken % 2 else None
        return self._phrases[(self._taken - 1) % len(self._phrases)] if self._phrases else None
