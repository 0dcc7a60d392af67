"""A bare WebSocket client for tests of the hub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

from prometheus_client import REGISTRY
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.realtime.tokens import mint_token
from tests.conftest import RunningHub


class Raw:
    """A client with no manners of its own."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def read(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.websocket.recv())
        return frame

    async def write(self, **frame: Any) -> None:
        await self.websocket.send(json.dumps(frame))

    async def subscribe(self, channel: str, **options: Any) -> dict[str, Any]:
        """Subscribe and return the roster."""
        await self.write(type="subscribe", channel=channel, requestId="s", **options)
        assert await self.read() == {"type": "ack", "requestId": "s"}
        return await self.read()

    async def closed(self) -> tuple[int, str]:
        """Read until the server closes; returns with which code and reason."""
        with suppress(ConnectionClosed):
            async for _ in self.websocket:
                pass
        await self.websocket.wait_closed()
        assert self.websocket.close_code is not None
        return self.websocket.close_code, self.websocket.close_reason or ""


@asynccontextmanager
async def client(hub: RunningHub, query: str | None = None, **options: Any) -> AsyncIterator[Raw]:
    query = f"key={quote(hub.key, safe='')}" if query is None else query
    async with connect(f"{hub.url}/v1?{query}", proxy=None, **options) as websocket:
        yield Raw(websocket)


def token(hub: RunningHub, **change: Any) -> str:
    arguments = {"peer_id": "alice", "channels": ["room"]} | change
    return "token=" + mint_token(hub.key_id, hub.secret, **arguments)[0]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def a_pair_that_notices_nothing(hub: RunningHub) -> AsyncIterator[None]:
    """Two clients whose room works before and after, and where nobody else was seen."""
    async with client(hub) as one, client(hub) as two:
        await one.read()
        two_id = (await two.read())["peerId"]
        await one.subscribe("pair")
        await two.subscribe("pair")
        assert (await one.read())["joined"] == [{"peerId": two_id}]
        yield
        for number in range(3):
            await two.write(type="publish", channel="pair", data=number)
            assert await one.read() == {
                "type": "message",
                "channel": "pair",
                "from": two_id,
                "data": number,
            }
        assert len(hub.hub.rooms.members("pair")) == 2
