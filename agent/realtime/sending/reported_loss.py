"""What receivers report of lost packets, and how much of it an encoder should expect. Pure.

    reported  %   0    3    1    0   12    9   14    0    0    0    0    0    0    0
    smoothed  %   0  1.5  1.4  1.3  6.6  7.8   11  9.5  8.4  7.3  6.4  5.6  4.9  4.3
    expected  %   0    2    2    2    5    5   10   10   10   10   10   10   10    5

Telling of lost packets costs bits of the sound that does arrive, so a stray packet is not worth it; but a
path that has begun to lose goes on with it most of the time. So it goes up quickly, down slowly, and in steps
that are left only when the figure lies well below.
"""

from __future__ import annotations

#: What is expected, from which smoothed percentage on.
STEPS = ((0, 0.0), (2, 1.0), (5, 4.0), (10, 8.0), (20, 15.0))
#: A step is left when the figure falls below so much of what leads to it.
LEAVE_AT = 0.6
#: Weight of a new report that is above the figure, and of one below. Reports come every one to five seconds.
RISE, FALL = 0.5, 0.125


class ReportedLoss:
    """The losses on the way to one receiver."""

    def __init__(self) -> None:
        #: What an encoder should expect: one of those of `STEPS`.
        self.percent = 0
        self._smoothed = 0.0

    def report(self, fraction_lost: int) -> None:
        """A receiver report says that so many 256ths were lost since the one before (RFC 3550, 6.4.1)."""
        lost = 100.0 * fraction_lost / 256
        self._smoothed += (RISE if lost > self._smoothed else FALL) * (lost - self._smoothed)
        reached = max(step for step, begin in STEPS if self._smoothed >= begin)
        kept = max(
            step for step, begin in STEPS if step <= self.percent and self._smoothed >= LEAVE_AT * begin
        )
        self.percent = max(reached, kept)
