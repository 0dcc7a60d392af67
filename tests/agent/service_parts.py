"""A running service, and people with our own peer who call the agents of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np

from agent.realtime import AudioSource, DataReceived, Peer, TrackAdded, iter_speech
from agent.service import RunningService, running_service
from agent.settings import load_settings
from pipelines.audio import Pcm, level_dbfs
from pipelines.engines import Engines

AUDIBLE_DBFS = -40.0


@asynccontextmanager
async def service(
    engines: Engines, *overrides: str
) -> AsyncIterator[tuple[RunningService, httpx.AsyncClient]]:
    settings = load_settings(
        environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1", *overrides]
    ).settings
    async with (
        running_service(settings, engines=engines) as running,
        httpx.AsyncClient(base_url=running.url, timeout=30) as client,
    ):
        yield running, client


class Caller:
    """A person with our own peer: keeps what the agent says, as sound and as messages."""

    def __init__(self, peer: Peer, source: AudioSource) -> None:
        self.peer = peer
        self.source = source
        self.messages: list[dict[str, Any]] = []
        self.heard_voice = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for event in self.peer.events():
                match event:
                    case TrackAdded(_, track):
                        tasks.create_task(self._listen(track))
                    case DataReceived(_, data):
                        self.messages.append(data)
                        self._news.set()

    async def _listen(self, track: Any) -> None:
        async for block in iter_speech(track):
            if level_dbfs(block) > AUDIBLE_DBFS:
                self.heard_voice.set()

    async def until(self, **wanted: object) -> dict[str, Any]:
        """The first message that has all of these fields."""
        while True:
            for message in self.messages:
                if all(message.get(key) == value for key, value in wanted.items()):
                    return message
            self._news.clear()
            await self._news.wait()

    async def until_said(self, matches: Callable[[str], bool]) -> str:
        while True:
            for message in self.messages:
                final = message.get("type") == "agent.caption" and message["final"]
                if final and message["speaker"] == "agent" and matches(message["text"]):
                    return str(message["text"])
            self._news.clear()
            await self._news.wait()


def given(token: str) -> Callable[[], Awaitable[str]]:
    async def provide() -> str:
        return token

    return provide


@asynccontextmanager
async def caller(client: httpx.AsyncClient, room: str) -> AsyncIterator[Caller]:
    access = (await client.post("/tokens", json={"room": room, "name": "Ada"})).raise_for_status().json()

    async with AudioSource() as source, Peer(access["url"], token_provider=given(access["token"])) as peer:
        peer.add_track(source, stream_id="microphone")
        await peer.join(room)
        one = Caller(peer, source)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            yield one
            running.cancel()


async def question(engines: Engines, text: str) -> Pcm:
    voice = await engines.voice(None, None)
    pieces = [pcm async for pcm in voice.synthesize(text)]
    return Pcm(np.concatenate([p.samples for p in pieces]), pieces[0].rate_hz)


@asynccontextmanager
async def writer(client: httpx.AsyncClient, room: str, name: str | None = None) -> AsyncIterator[Caller]:
    """Somebody who only writes and listens."""
    access = (await client.post("/tokens", json={"room": room, "name": name})).raise_for_status().json()
    async with AudioSource() as source, Peer(access["url"], token_provider=given(access["token"])) as peer:
        await peer.join(room)
        one = Caller(peer, source)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            yield one
            running.cancel()
