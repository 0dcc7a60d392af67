"""How much may be wasted: a bucket that fills at a steady rate and is emptied by what was in vain; pure."""

from __future__ import annotations


class Budget:
    """`per_min` in a minute, and as many at once after a minute without any."""

    def __init__(self, per_min: float) -> None:
        self._per_min = per_min
        self._left = per_min
        self._at_ms = 0.0

    def left(self, now_ms: float) -> float:
        self._left = min(self._per_min, self._left + max(0.0, now_ms - self._at_ms) * self._per_min / 60_000)
        self._at_ms = max(self._at_ms, now_ms)
        return self._left

    def spend(self, now_ms: float) -> None:
        """One was in vain. What is spent beyond the budget has to be made up for, but never more than one."""
        self._left = max(-1.0, self.left(now_ms) - 1.0)
