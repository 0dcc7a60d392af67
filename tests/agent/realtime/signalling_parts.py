"""What tests of the signalling client share: servers that follow a script, and short ways to say things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent.realtime.codes import CloseCode
from agent.realtime.frames import (
    Welcome,
    encode,
)
from agent.realtime.signalling.backoff import Backoff
from agent.realtime.signalling.client import SignallingClient
from tests.conftest import RunningHub

T = TypeVar("T")
WELCOME = encode(Welcome("me", None, 1, 65536))
KEY = "pk_live_very/secret+key="


@dataclass(frozen=True)
class Prompt(Backoff):
    """Tries again at once and records what it was asked."""

    max_attempts: int | None = 3
    asked: list[tuple[int, float]] = field(default_factory=list)

    def delay_s(self, attempt: int, *, floor_s: float, spread: float) -> float:
        assert -1 <= spread <= 1
        self.asked.append((attempt, floor_s))
        return 0.0


Script = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """A server that plays one script per connection, the last one for all that follow."""
    remaining = list(scripts)
    playing: set[asyncio.Task[None]] = set()

    async def play(websocket: ServerConnection) -> None:
        script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        task = asyncio.create_task(script(websocket))
        playing.add(task)
        try:
            await asyncio.wait([task])
            if not task.cancelled():
                # The end of a connection is an ordinary end of a script.
                with suppress(ConnectionClosed):
                    task.result()
        finally:
            playing.discard(task)

    async with serve(play, "127.0.0.1", 0, compression=None) as server:
        try:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        finally:
            for task in playing:
                task.cancel()


async def welcome_and_wait(websocket: ServerConnection) -> None:
    await websocket.send(WELCOME)
    async for _ in websocket:
        pass


def welcome_and_close(code: int, reason: str = "") -> Script:
    async def script(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.close(code, reason)

    return script


async def expect(client: SignallingClient, kind: type[T]) -> T:
    event = await anext(client.events())
    assert isinstance(event, kind), event
    return event


def drop_all(hub: RunningHub, code: CloseCode = CloseCode.GOING_AWAY) -> None:
    for connection in list(hub.hub._connections.values()):
        connection.close(code, "dropped by the test")
