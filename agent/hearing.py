"""Which callers an agent listens to: one voice each, and as many as there is room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiortc import MediaStreamTrack
from prometheus_client import Counter

_log = logging.getLogger(__name__)
_CALLERS_REFUSED = Counter("voice_agent_callers_refused_total", "Callers not listened to: room full")


class Hearing:
    """Listens to the oldest live track of each caller, in the order in which callers brought one.

    `hear` listens to one track until it ends. Beyond `max_callers` a caller is told so once, through
    `refuse`, and is heard as soon as another one stops. A second track (a shared screen) does not take the
    place of the first while that lives; a track of a connection made anew does, because the old one ended.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        hear: Callable[[str, MediaStreamTrack], Awaitable[None]],
        *,
        max_callers: int,
        refuse: Callable[[str], None],
    ) -> None:
        self._tasks = tasks
        self._hear = hear
        self._max_callers = max_callers
        self._refuse = refuse
        #: Live tracks of each caller, oldest first.
        self._tracks: dict[str, list[MediaStreamTrack]] = {}
        self._listening: dict[str, tuple[MediaStreamTrack, asyncio.Task[None]]] = {}
        self._refused: set[str] = set()

    @property
    def callers(self) -> tuple[str, ...]:
        """Those who are heard now."""
        return tuple(self._listening)

    def has_track(self, peer_id: str) -> bool:
        """Whether this caller sends sound, heard or not."""
        return peer_id in self._tracks

    def add(self, peer_id: str, track: MediaStreamTrack) -> None:
        """A caller sends one more track."""
        self._tracks.setdefault(peer_id, []).append(track)
        self._choose()

    def ended(self, peer_id: str, track: MediaStreamTrack) -> None:
        """A track sends no more; what came of it before is still listened to. Idempotent."""
        tracks = self._tracks.get(peer_id, [])
        if track in tracks:
            tracks.remove(track)
        if not tracks:
            self._tracks.pop(peer_id, None)
        self._choose()

    def left(self, peer_id: str) -> None:
        """A caller is gone."""
        self._tracks.pop(peer_id, None)
        self._refused.discard(peer_id)
        if listening := self._listening.pop(peer_id, None):
            listening[1].cancel()
        self._choose()

    def stop(self) -> None:
        """Listen to nobody any more."""
        self._tracks.clear()
        for _, task in self._listening.values():
            task.cancel()

    def _choose(self) -> None:
        for peer_id, tracks in self._tracks.items():
            if listening := self._listening.get(peer_id):
                if listening[0] in tracks:
                    continue
                listening[1].cancel()
            elif len(self._listening) >= self._max_callers:
                self._turn_away(peer_id)
                continue
            self._refused.discard(peer_id)
            task = self._tasks.create_task(self._listen(peer_id, tracks[0]))
            self._listening[peer_id] = (tracks[0], task)

    async def _listen(self, peer_id: str, track: MediaStreamTrack) -> None:
        await self._hear(peer_id, track)
        # Only here when the sound has ended: whoever cancels this has seen to its successor.
        if peer_id in self._listening and self._listening[peer_id][0] is track:
            del self._listening[peer_id]
        self.ended(peer_id, track)

    def _turn_away(self, peer_id: str) -> None:
        if peer_id not in self._refused:
            self._refused.add(peer_id)
            _CALLERS_REFUSED.inc()
            _log.warning("a caller is not heard: %d are heard already", len(self._listening))
            self._refuse(peer_id)
