"""When a quiet path is asked for a sign of life, and when it counts as dead. Pure; the owner's clock ticks.

    arrivals  ▮▮▮▮▮▮▮▮                                              ▮
    ticks      ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·
    silent     0   0   0   1   2   3   4   5   6   7   8   9  10  0
    verdict                   ASK ASK ASK ASK ASK ASK LOST ASK ASK BACK

aiortc itself takes 25-40 s to notice (six unanswered questions 4-6 s apart), and then closes for good.
"""

from __future__ import annotations

from enum import Enum, auto

#: One tick. Ticks are counted, not seconds: a process that was held up for ten seconds made one tick in them,
#: and its own pause is not the silence of the other side.
TICK_S = 0.5
#: A peer that sends sound is never quiet for a second, one that only listens reports every second or so.
ASK_AFTER_TICKS = 2
#: 4 s in all. A network card that was off for 3 s comes back in place, without a new connection.
LOST_AFTER_TICKS = 8


class Verdict(Enum):
    NOTHING = auto()
    #: Ask the other side for a sign of life.
    ASK = auto()
    #: The path is dead. Said once; it is asked further on, because the way may open again.
    LOST = auto()
    #: The dead path carries again.
    BACK = auto()


class PathWatch:
    """One path. `tick` is to be called every TICK_S."""

    def __init__(self) -> None:
        self.is_silent = False
        self._silent_ticks = 0
        self._heard = 0

    def tick(self, heard: int) -> Verdict:
        """What follows from `heard`, the number of datagrams that ever arrived."""
        arrived, self._heard = heard != self._heard, heard
        if arrived:
            self._silent_ticks = 0
            was_silent, self.is_silent = self.is_silent, False
            return Verdict.BACK if was_silent else Verdict.NOTHING
        self._silent_ticks += 1
        if self._silent_ticks == LOST_AFTER_TICKS:
            self.is_silent = True
            return Verdict.LOST
        return Verdict.ASK if self._silent_ticks >= ASK_AFTER_TICKS else Verdict.NOTHING
