"""Functions that are called when something happens to a `Peer`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from prometheus_client import Counter

from agent.realtime.remote.peer_events import MAX_WAITING_DATA, DataReceived, PeerEvent

logger = logging.getLogger(__name__)

FAILURES = Counter("voice_agent_event_handler_failures_total", "Event handlers that raised", ["event"])
DROPPED = Counter(
    "voice_agent_handler_messages_dropped_total",
    "Data messages an event handler was not called for because too many of its calls were still running",
)

#: How long handlers may go on after the room was left, before they are cancelled.
GRACE_S = 1.0

E = TypeVar("E", bound=PeerEvent)
Handler: TypeAlias = Callable[[E], Awaitable[None] | None]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True, eq=False)
class _Registered:
    kind: type[Any]
    handler: Handler[Any]
    once: bool


class EventHandlers:
    """Calls what was registered, in that order. Belongs to one event loop.

    A plain function runs at once, between two events; a coroutine function becomes a task of its own, so
    that a slow one holds up nobody. What a handler raises is logged by its type, counted, and ends there.
    Data messages come at the pace of strangers: while MAX_WAITING_DATA coroutines are at work on them, no
    more are started, and what is left out is counted.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._registered: list[_Registered] = []
        self._running: dict[asyncio.Task[None], bool] = {}

    def add(self, kind: type[E], handler: Handler[E], *, once: bool = False) -> None:
        """Call `handler` for events of this class. The same twice is called twice."""
        self._registered.append(_Registered(kind, handler, once))

    def remove(self, kind: type[E], handler: Handler[E]) -> None:
        """Undo `add`. Nothing happens if there is no such handler (any more)."""
        self._registered = [
            entry for entry in self._registered if (entry.kind, entry.handler) != (kind, handler)
        ]

    def dispatch(self, event: PeerEvent) -> None:
        """Call everything registered for `event`."""
        for entry in list(self._registered):
            if isinstance(event, entry.kind) and entry in self._registered:
                if entry.once:
                    self._registered.remove(entry)
                self._call(entry.handler, event)

    async def settle(self) -> None:
        """Give what runs now GRACE_S, then cancel it; from inside a handler, that one is left alone."""
        waiting = set(self._running) - {asyncio.current_task()}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=GRACE_S)
            for task in late:
                task.cancel()
            if late:
                logger.warning("%d event handlers were still running and were cancelled", len(late))
                await asyncio.wait(late)

    def _call(self, handler: Handler[Any], event: PeerEvent) -> None:
        is_data = isinstance(event, DataReceived)
        if is_data and sum(self._running.values()) >= MAX_WAITING_DATA:
            DROPPED.inc()
            return
        try:
            result = handler(event)
        except Exception as error:
            # The application's own code, whatever it raises: the room goes on without it.
            self._failed(event, error)
            return
        if result is not None:
            task = self._spawn(self._watch(result, event))
            self._running[task] = is_data
            task.add_done_callback(self._running.pop)

    async def _watch(self, result: Awaitable[None], event: PeerEvent) -> None:
        try:
            await result
        except Exception as error:
            # As above.
            self._failed(event, error)

    def _failed(self, event: PeerEvent, error: Exception) -> None:
        name = type(event).__name__
        FAILURES.labels(name).inc()
        logger.error("a handler of %s failed with %s", name, type(error).__name__)
