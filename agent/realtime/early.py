"""Messages from peers not announced yet: presence and direct messages race, and an offer must not be lost."""

from __future__ import annotations

from collections import deque

from agent.realtime.frames import Direct

MAX_AGE_S = 2.0
MAX_MESSAGES = 64


class EarlyMessages:
    """Keeps at most MAX_MESSAGES for at most MAX_AGE_S; when full, the oldest goes. Pure: time comes in."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Direct]] = deque(maxlen=MAX_MESSAGES)

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, message: Direct, now_s: float) -> None:
        """Hold `message` until its sender is announced."""
        self._forget_old(now_s)
        self._waiting.append((now_s, message))

    def take(self, sender: str, now_s: float) -> list[Direct]:
        """What `sender` said shortly before it was announced, in order."""
        self._forget_old(now_s)
        found = [message for _, message in self._waiting if message.sender == sender]
        rest = [entry for entry in self._waiting if entry[1].sender != sender]
        self._waiting = deque(rest, maxlen=MAX_MESSAGES)
        return found

    def _forget_old(self, now_s: float) -> None:
        while self._waiting and now_s - self._waiting[0][0] > MAX_AGE_S:
            self._waiting.popleft()
