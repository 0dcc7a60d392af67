"""What the REST control plane reports as usage, and the message quota. Pure; `now` is Unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.realtime.frames import JsonObject

#: The hub serves one application.
APP_ID = "hub"


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
        self._start, self._end = _month(now)

    def connected(self, now: float) -> None:
        self._roll(now)
        self._concurrent += 1
        self._peak = max(self._peak, self._concurrent)

    def disconnected(self) -> None:
        self._concurrent -= 1

    def take_message(self, now: float) -> bool:
        """Count one message; False when the month's quota is used up and it is to be dropped."""
        self._roll(now)
        self._messages += 1
        return self._max_messages is None or self._messages <= self._max_messages

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
            "concurrentNow": self._concurrent,
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
        self._messages = 0
        self._peak = self._concurrent


def _month(now: float) -> tuple[int, int]:
    """First second of the month that `now` is in, and of the next."""
    start = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()), int(end.timestamp())
