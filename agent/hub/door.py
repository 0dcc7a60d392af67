"""Who may come in: how often one address may knock, and how many connections it may have."""

from __future__ import annotations

import math
from collections import Counter

from agent.realtime.codes import CloseCode

from .auth import CloseRefusedError, HttpRefusedError
from .limits import AttemptLimiter

#: Over this time attempts of one address are counted.
WINDOW_S = 60.0


class Door:
    """The limits of single addresses (`client_key`); None is no limit. `now_s` is any monotonic clock."""

    def __init__(self, *, connects_per_minute: int | None, connections_per_address: int | None) -> None:
        self._attempts = AttemptLimiter(connects_per_minute, WINDOW_S) if connects_per_minute else None
        self._max_open = connections_per_address
        self._open = Counter[str]()

    def knock(self, address: str, now_s: float) -> None:
        """An attempt to connect. Raises `HttpRefusedError` when there were too many."""
        wait_s = self._attempts.wait_s(address, now_s) if self._attempts is not None else 0.0
        if wait_s > 0:
            message = f"too many connection attempts; come back in {math.ceil(wait_s)} s"
            raise HttpRefusedError(429, "rate_limited", message, retry_after_s=wait_s)

    def check_open(self, address: str) -> None:
        """Raises `CloseRefusedError` when the address has as many connections as it may have."""
        if self._max_open is not None and self._open[address] >= self._max_open:
            raise CloseRefusedError(CloseCode.OVER_CONNECTION_LIMIT, "too many connections from one address")

    def opened(self, address: str) -> None:
        self._open[address] += 1

    def closed(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
