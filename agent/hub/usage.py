"""What the REST control plane reports as usage, and the message quota. Pure; `now` is Unix seconds.

Processes that share rooms share the count: each adds what it has, and learns the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from agent.realtime.json_text import JsonObject

#: The hub serves one application.
APP_ID = "hub"


@dataclass(frozen=True, slots=True)
class Load:
    """What one process has to add to the sum."""

    #: Its first second.
    month: int
    connections: int
    #: Since it was last added.
    messages: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The sum over all processes."""

    connections: int
    messages: int
    peak: int


class Usage:
    """Counts connections and messages of the current calendar month (UTC), since this hub started.

    A message is one attempt to publish or send, whether it was carried out or not and however many it
    reached.
    """

    def __init__(self, now: float, *, max_connections: int, max_messages: int | None = None) -> None:
        """`max_messages`: of one month; None is no limit."""
        self._max_connections = max_connections
        self._max_messages = max_messages
        self._concurrent = 0
        self._peak = 0
        self._messages = 0
        self._concurrent_elsewhere = 0
        #: Of the messages, those that have yet to be added to the sum.
        self._not_added = 0
        self._start, self._end = _month(now)

    def connected(self, now: float) -> None:
        self._roll(now)
        self._concurrent += 1
        self._peak = max(self._peak, self._concurrent + self._concurrent_elsewhere)

    def disconnected(self) -> None:
        self._concurrent -= 1

    def take_message(self, now: float) -> bool:
        """Count one message; False when the month's quota is used up and it is to be dropped."""
        self._roll(now)
        self._messages += 1
        self._not_added += 1
        return self._max_messages is None or self._messages <= self._max_messages

    def load(self, now: float) -> Load:
        """What is to be added to the sum."""
        self._roll(now)
        return Load(self._start, self._concurrent, self._not_added)

    def share(self, load: Load, totals: Totals) -> None:
        """`load` has been added, and the sum is now `totals`."""
        self._concurrent_elsewhere = max(totals.connections - load.connections, 0)
        if load.month != self._start:
            return
        self._not_added -= load.messages
        self._messages = totals.messages + self._not_added
        self._peak = max(totals.peak, self._concurrent + self._concurrent_elsewhere)

    def report(self, now: float) -> JsonObject:
        """The body of ``GET /v1/usage``.

        Every number is a number, also without a quota: the plan then includes no messages and has overages
        enabled, which is to say that none is refused.
        """
        self._roll(now)
        unlimited = self._max_messages is None
        return {
            "appId": APP_ID,
            "periodStartUnix": self._start,
            "periodEndUnix": self._end,
            "concurrentNow": self._concurrent + self._concurrent_elsewhere,
            "peakConcurrent": self._peak,
            "messagesUsed": self._messages,
            "overageMessages": self._messages if unlimited else 0,
            "overageConnections": 0,
            "plan": {
                "name": None,
                "maxConcurrentConnections": self._max_connections,
                "maxMessagesPerPeriod": self._max_messages or 0,
                "overagesAllowed": unlimited,
                "overagesEnabled": unlimited,
            },
        }

    def _roll(self, now: float) -> None:
        if now < self._end:
            return
        self._start, self._end = _month(now)
        self._messages = self._not_added = 0
        self._peak = self._concurrent + self._concurrent_elsewhere


def _month(now: float) -> tuple[int, int]:
    """First second of the month that `now` is in, and of the next."""
    start = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()), int(end.timestamp())
