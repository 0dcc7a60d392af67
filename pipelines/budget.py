"""How much may be wasted: so many in any minute; pure."""

from __future__ import annotations

from collections import deque

MINUTE_MS = 60_000.0


class Budget:
    """At most `per_min` in any 60 s, as long as nothing is begun that `is_left` denies."""

    def __init__(self, per_min: int) -> None:
        self._per_min = per_min
        self._spent_ms: deque[float] = deque(maxlen=per_min)

    def is_left(self, now_ms: float) -> bool:
        while self._spent_ms and self._spent_ms[0] <= now_ms - MINUTE_MS:
            self._spent_ms.popleft()
        return len(self._spent_ms) < self._per_min

    def spend(self, now_ms: float) -> None:
        """One was in vain."""
        self._spent_ms.append(now_ms)
