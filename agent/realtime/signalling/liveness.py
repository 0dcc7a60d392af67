"""Whether a line is still alive: when it is asked for a sign of life, and when it counts as dead. Pure."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

#: What a line has to have done to it.
Due: TypeAlias = Literal["ping", "dead"]

#: However often somebody doubts, the line is asked no more often than this.
CHECK_EVERY_S = 1.0


def ping_after_s(inactivity_s: float) -> float:
    """How long a line is left quiet before it is asked for a sign of life."""
    return max(1.0, inactivity_s / 3)


class Liveness:
    """The watch over one line. Times are seconds of any one clock.

    A quiet line is pinged, and is dead after `inactivity_s` without a frame. That is a minute, because a
    network may well be gone for a while without anybody needing it::

        heard ............ ping ............ ping ............ dead
        0                  20                40                60

    A line that somebody has reason to `doubt` is pinged at once, and is dead when `alive_s` later nothing at
    all was heard: five seconds are many round trips, and TCP has repeated a lost ping four times by then.
    """

    def __init__(self, now_s: float, *, inactivity_s: float | None, alive_s: float) -> None:
        """`inactivity_s` None or 0: silence alone never means death."""
        self.heard_s = now_s
        self._inactivity_s = inactivity_s or None
        self._alive_s = alive_s
        self._pinged_s = now_s
        self._doubted_s: float | None = None
        self._is_ping_owed = False

    def heard(self, now_s: float) -> None:
        """A frame arrived, whatever it was."""
        self.heard_s = now_s
        self._is_ping_owed = False

    def doubt(self, now_s: float) -> bool:
        """Somebody doubts the line. Whether a check begins: none does while one runs or just ended."""
        is_recent = self._doubted_s is not None and now_s < self._doubted_s + CHECK_EVERY_S
        if is_recent or self._open_doubt_s() is not None:
            return False
        self._doubted_s = now_s
        self._is_ping_owed = True
        return True

    def due(self, now_s: float) -> Due | None:
        """What is to be done now. A ping counts as sent when it has been returned."""
        if now_s >= self.dead_s:
            return "dead"
        if now_s >= self._ping_s:
            self._pinged_s = now_s
            self._is_ping_owed = False
            return "ping"
        return None

    @property
    def dead_s(self) -> float:
        """When the line will be dead if nothing is heard; infinity for never."""
        by_silence_s = math.inf if self._inactivity_s is None else self.heard_s + self._inactivity_s
        doubted_s = self._open_doubt_s()
        return by_silence_s if doubted_s is None else min(by_silence_s, doubted_s + self._alive_s)

    @property
    def next_s(self) -> float:
        """When `due` has something to say if nothing happens before; infinity for never."""
        return min(self.dead_s, self._ping_s)

    @property
    def _ping_s(self) -> float:
        if self._is_ping_owed:
            return -math.inf
        if self._inactivity_s is None:
            return math.inf
        return max(self.heard_s, self._pinged_s) + ping_after_s(self._inactivity_s)

    def _open_doubt_s(self) -> float | None:
        """When the doubt arose that nothing heard since has settled."""
        is_open = self._doubted_s is not None and self.heard_s <= self._doubted_s
        return self._doubted_s if is_open else None
