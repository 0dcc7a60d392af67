"""Who is listened to when there are more callers than places, and more tracks than callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from agent.hearing import Hearing
from agent.realtime import AudioSource


class Room:
    """Tracks of one source, and which of them are listened to."""

    def __init__(self, source: AudioSource, tasks: asyncio.TaskGroup, max_callers: int) -> None:
        self.source = source
        self.heard: list[MediaStreamTrack] = []
        self.refused: list[str] = []
        self._changed = asyncio.Event()
        self.hearing = Hearing(tasks, self._hear, max_callers=max_callers, refuse=self.refused.append)

    async def _hear(self, _: str, track: MediaStreamTrack) -> None:
        self.heard.append(track)
        self._changed.set()
        try:
            while True:
                await track.recv()
        except MediaStreamError:
            return
        finally:
            self.heard.remove(track)
            self._changed.set()

    async def hears(self, *tracks: MediaStreamTrack) -> None:
        while self.heard != list(tracks):
            self._changed.clear()
            await self._changed.wait()

    def brings(self, caller: str) -> MediaStreamTrack:
        track = self.source.new_track()
        self.hearing.add(caller, track)
        return track


@asynccontextmanager
async def room(max_callers: int = 16) -> AsyncIterator[Room]:
    async with AudioSource() as source, asyncio.TaskGroup() as tasks:
        one = Room(source, tasks, max_callers)
        yield one
        one.hearing.stop()


async def test_a_second_track_does_not_make_the_microphone_deaf() -> None:
    async with room() as here:
        microphone = here.brings("ada")
        await here.hears(microphone)
        screen = here.brings("ada")
        bob = here.brings("bob")
        await here.hears(microphone, bob)
        microphone.stop()
        await here.hears(bob, screen)
        assert here.hearing.callers == ("bob", "ada")


async def test_the_track_of_a_connection_made_anew_is_heard_at_once() -> None:
    async with room(max_callers=1) as here:
        old = here.brings("ada")
        await here.hears(old)
        # It is known to have ended before it stops giving sound.
        here.hearing.ended("ada", old)
        new = here.brings("ada")
        await here.hears(new)
        assert here.refused == []


async def test_who_finds_no_place_is_told_once_and_heard_when_one_is_free() -> None:
    async with room(max_callers=1) as here:
        ada, bob, bobs_screen = here.brings("ada"), here.brings("bob"), here.brings("bob")
        await here.hears(ada)
        assert here.refused == ["bob"]
        here.hearing.left("ada")
        await here.hears(bob)
        here.brings("cleo")
        assert here.refused == ["bob", "cleo"]
        here.hearing.left("cleo")
        here.hearing.ended("bob", bobs_screen)
        bob.stop()
        await here.hears()
        assert here.hearing.callers == ()
        assert not here.hearing.has_track("bob")
