"""How much a stranger may do in a time. Pure; `now_s` is any monotonic clock."""

from __future__ import annotations

from collections import OrderedDict, deque


class AttemptLimiter:
    """Allows each source a number of attempts within a sliding window.

    Remembers the `max_sources` most recent sources; a source forgotten that way starts afresh.
    """

    def __init__(self, max_attempts: int, window_s: float, max_sources: int = 10_000) -> None:
        self._max_attempts = max_attempts
        self._window_s = window_s
        self._max_sources = max_sources
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, source: str, now_s: float) -> float:
        """Count one attempt; 0 when it is allowed, or how long the source has to stay away.

        A refused attempt counts, too.
        """
        attempts = self._attempts.setdefault(source, deque(maxlen=self._max_attempts))
        self._attempts.move_to_end(source)
        if len(self._attempts) > self._max_sources:
            self._attempts.popitem(last=False)
        allowed = len(attempts) < self._max_attempts or attempts[0] <= now_s - self._window_s
        attempts.append(now_s)
        return 0.0 if allowed else attempts[0] + self._window_s - now_s
