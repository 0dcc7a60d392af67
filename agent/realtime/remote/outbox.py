"""What one peer is sent: in order, and the next before it is known that the last has arrived."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from agent.realtime.negotiation import signals
from agent.realtime.negotiation.signals import Candidate, TrackMeta
from agent.realtime.remote.track_metas import news
from agent.realtime.sending.tracks import Outgoing

#: Signals without an answer from the server; further ones wait.
MAX_UNDER_WAY = 16


class Outbox:
    """Signals to one peer, sent inside ``async with``; leaving it gives up what is under way.

    Each waits for its `turn` and is then on its way. The server says whether it took it, and that may come
    late or never: nothing waits for it. `send` returns False for what did not get through, `undelivered` is
    called with such a description.
    """

    def __init__(
        self,
        send: Callable[[Any], Awaitable[bool]],
        *,
        turn: Callable[[], Awaitable[None]],
        undelivered: Callable[[str], None],
    ) -> None:
        self._send = send
        self._turn = turn
        self._undelivered = undelivered
        self._tasks = asyncio.TaskGroup()
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        #: What the peer was told of our tracks, by their ids.
        self._told: dict[str, TrackMeta] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._tasks.__aexit__(*raised)

    async def describe(self, kind: str, text: str, *, is_complete: bool) -> None:
        """Send an offer or an answer; `is_complete` when no candidates follow it."""
        await self._put(signals.description(kind, text), functools.partial(self._undelivered, text))
        if is_complete:
            await self.propose(Candidate(None))

    async def propose(self, candidate: Candidate) -> None:
        """Send an address of ours. One that does not get through is not sent again: there are others."""
        await self._put(signals.candidate(candidate), lambda: None)

    def forget(self) -> None:
        """What was told so far was told to somebody else."""
        self._told.clear()

    async def tell(self, wanted: Sequence[Outgoing]) -> None:
        """Say what has changed about our tracks. What does not get through waits for the next time: no sound
        depends on it."""
        for meta in news(wanted, self._told):
            if meta.metadata is None:
                del self._told[meta.track_id]
            else:
                self._told[meta.track_id] = meta
            await self._put(signals.track_meta(meta), functools.partial(self._untold, meta))

    def _untold(self, meta: TrackMeta) -> None:
        if meta.metadata is None:
            self._told.setdefault(meta.track_id, meta)
        elif self._told.get(meta.track_id) is meta:
            del self._told[meta.track_id]

    async def _put(self, data: Any, failed: Callable[[], None]) -> None:
        await self._turn()
        await self._room.acquire()
        self._tasks.create_task(self._deliver(data, failed), name="signal")

    async def _deliver(self, data: Any, failed: Callable[[], None]) -> None:
        try:
            if not await self._send(data):
                failed()
        finally:
            self._room.release()
