"""The page's surroundings, real where the page can tell: controller, hub, sockets. Only the agent is a
client of the room protocol that says what a test tells it to."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import uvicorn

from agent.controller.app import create_app
from agent.controller.parts import CallerAccess, Role
from agent.dispatch.base import AgentRequest, AgentStatus
from agent.hub import UVICORN_OPTIONS, Hub, HubOptions, SecretKey
from agent.realtime.frames import Direct, Message, Presence
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Event
from agent.realtime.tokens import mint_token
from tests.agent.controller.controller_parts import MemoryDispatcher, make_parts


class SpokenFor:
    """An agent as the page sees one: in the room, with messages to tell. It has no voice."""

    def __init__(self, url: str, token: str, room: str) -> None:
        async def provide() -> str:
            return token

        self._client = SignallingClient(url, token_provider=provide)
        self._room = room
        self.chats: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None

    async def join(self) -> None:
        events = self._client.events()
        await self._client.connect()
        self._reader = asyncio.create_task(self._read(events))
        await self._client.subscribe(self._room)

    async def leave(self) -> None:
        await self._client.close()
        if self._reader is not None:
            await self._reader

    async def tell(self, **data: Any) -> None:
        await self._client.publish(self._room, {"agent": "agent-1", **data})

    async def _read(self, events: Any) -> None:
        event: Event
        async for event in events:
            match event:
                case Presence(joined=joined):
                    for member in joined:
                        await self._client.send(member.peer_id, self.hello())
                case Message(sender=sender, data={"type": "chat"} as data):
                    self.chats.put_nowait((sender, data))
                case Direct():
                    pass

    @staticmethod
    def hello() -> dict[str, Any]:
        engine = {"kind": "stt", "engine": "told-by-the-agent", "model": "m", "reason": "because"}
        return {
            "type": "agent.hello",
            "agent": "agent-1",
            "name": "Sam",
            "state": "listening",
            "engines": [engine],
            "warnings": ["I speak English only."],
        }


@dataclass
class RoomDispatcher(MemoryDispatcher):
    """Dispatches a `SpokenFor` for every agent."""

    service: PageService | None = None
    present: dict[str, SpokenFor] = field(default_factory=dict)

    async def dispatch(self, request: AgentRequest) -> tuple[AgentStatus, bool]:
        status, created = await super().dispatch(request)
        if created:
            assert status.peer_id is not None
            await self.bring(status.peer_id, request.room)
        return status, created

    async def bring(self, peer_id: str, room: str) -> SpokenFor:
        assert self.service is not None
        token = self.service.mint(peer_id, room, {"role": "agent", "name": "Sam"})
        self.present[room] = SpokenFor(self.service.hub_url, token, room)
        await self.present[room].join()
        return self.present[room]

    async def close(self) -> None:
        for agent in self.present.values():
            await agent.leave()
        await super().close()


@dataclass
class PageService:
    """Controller and hub on one port."""

    port: int
    pair: SecretKey
    dispatcher: RoomDispatcher
    #: Where the page is told to find the hub; None: where the page came from.
    advertised_url: str | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def hub_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def mint(self, peer_id: str, room: str, peer_metadata: dict[str, Any] | None = None) -> str:
        pair = self.pair
        return mint_token(
            pair.key_id, pair.secret, peer_id=peer_id, channels=[room], peer_metadata=peer_metadata
        )[0]

    async def caller_access(self, room: str, name: str | None, role: Role) -> CallerAccess:
        token = self.mint(f"caller-{secrets.token_hex(6)}", room, {"role": role, "name": name or "Ada"})
        return CallerAccess(self.advertised_url, token=token, expires_at=datetime.now(UTC))


class PromptServer(uvicorn.Server):
    """Stops when told instead of looking ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stop.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ctrl-C and SIGTERM are for the test run: kept by this server, which waits for `stop` alone, they
        # would be lost, and a test that waits for ever could not be stopped by anything but SIGKILL.
        yield


@asynccontextmanager
async def serve_page(*, api_key: str | None = None) -> AsyncIterator[PageService]:
    pair = SecretKey("sk_id_" + secrets.token_hex(4), "sk_secret_" + secrets.token_urlsafe(32))
    hub = Hub(HubOptions(secret_keys=(pair,), connects_per_minute=None))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        service = PageService(listener.getsockname()[1], pair, RoomDispatcher())
        service.dispatcher.service = service
        app = create_app(replace(make_parts(service.dispatcher), rooms=service), api_key=api_key)
        app.include_router(hub.router)
        server = PromptServer(uvicorn.Config(app, log_config=None, lifespan="off", **UVICORN_OPTIONS))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            try:
                yield service
            finally:
                await service.dispatcher.close()
                await hub.close()
                server.stop.set()


class Wire:
    """A stretch of network between a page and the hub, which a test can cut."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._near: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        self._is_silent = False
        self.port = 0
        self.connections = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self, *, silently: bool = False) -> None:
        """Ends every connection without a goodbye and lets nobody through until `open`. `silently`: the
        hub's end stays, as when a machine changes its network."""
        assert self._server is not None
        self._server.close()
        self._is_silent = silently
        for writer in [*self._near, *(() if silently else self._far)]:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._near.add(writer)
        self._far.add(far_writer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(reader, far_writer))
            tasks.create_task(self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            if not (self._is_silent and writer in self._far):
                writer.close()
