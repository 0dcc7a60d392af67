"""What a signalling client tells its owner, in the order it happened."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Self, TypeAlias

from agent.realtime.frames import Direct, ErrorFrame, GoingAway, Message, Presence
from agent.realtime.ice_servers import IceServer


@dataclass(frozen=True, slots=True)
class Connected:
    """The server said welcome. Subscriptions are replayed after it when `is_reconnect`."""

    #: With a publishable key this is another id after every reconnect.
    peer_id: str
    is_reconnect: bool
    #: The latest valid list; empty when the server gave none.
    ice_servers: tuple[IceServer, ...]
    #: The cap on a whole frame to the server.
    max_message_bytes: int
    #: Unix seconds by the server's clock.
    server_time: float
    #: Unix seconds; None when the credential does not expire.
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone. With `will_retry` a `Connected` or a last `Disconnected` follows; without,
    this is the last event."""

    #: Close code, or HTTP status when the server refused the upgrade, or 1006.
    code: int
    reason: str
    will_retry: bool


@dataclass(frozen=True, slots=True)
class Renewed:
    """The token was replaced before it ran out; nothing was missed meanwhile, and nobody noticed."""

    #: The latest valid list: credentials for relays often live no longer than the token they come with.
    ice_servers: tuple[IceServer, ...]
    #: Unix seconds by the server's clock.
    server_time: float
    #: Unix seconds.
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class SubscriptionLost:
    """After a reconnect the server would not give back a channel; it is asked again at the next one."""

    channel: str
    #: The server's error code, or ``timeout``, ``too_large``, ``not_sent``.
    code: str


@dataclass(frozen=True, slots=True)
class TokenProviderFailing:
    """While reconnecting, the token provider failed three times in a row or more; it is asked again."""

    #: In a row.
    failures: int
    #: In words; holds no credential.
    reason: str


#: `ErrorFrame` only when it answers no request of ours.
Event: TypeAlias = (
    Connected
    | Disconnected
    | Renewed
    | SubscriptionLost
    | TokenProviderFailing
    | Message
    | Direct
    | Presence
    | GoingAway
    | ErrorFrame
)

MAX_WAITING_EVENTS = 1024


class EventStream:
    """A bounded queue for one reader, ended by its writer. Iterate it with ``async for``."""

    def __init__(self, max_waiting: int = MAX_WAITING_EVENTS) -> None:
        self._max_waiting = max_waiting
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._is_finished = False

    def offer(self, event: Event) -> bool:
        """Add an event; False, and nothing happens, when the reader is `max_waiting` events behind."""
        if len(self._waiting) >= self._max_waiting:
            return False
        self._waiting.append(event)
        self._wake.set()
        return True

    def discard_waiting(self) -> None:
        self._waiting.clear()

    def finish(self) -> None:
        """What waits is still delivered; then iteration ends."""
        self._is_finished = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._is_finished:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()
