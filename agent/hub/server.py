"""The signalling server as a piece of a FastAPI app: the shell round `rooms` and `auth`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from fastapi import APIRouter
from prometheus_client import Counter, Gauge
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from agent.ratelimit import RateLimit, client_key
from agent.realtime.codes import MAX_CLIENT_FRAME_BYTES, CloseCode, ErrorCode
from agent.realtime.frames import (
    ClientFrame,
    ErrorFrame,
    GoingAway,
    Member,
    Message,
    Presence,
    Publish,
    Send,
    Welcome,
    encode,
    frame_bytes,
)
from agent.realtime.ice_servers import IceServer
from agent.realtime.json_text import Json, JsonObject

from .auth import Admission, CloseRefusedError, HttpRefusedError, admit
from .cluster import LEASE_S, Cluster
from .connection import CLOSE_DEADLINE_S, MAX_QUEUED_FRAMES, Connection, MessageRate
from .door import Door
from .faults import Faults, FaultyConnection
from .inbox import Inbox
from .keys import KeyRing, PublishableKey, SecretKey
from .rooms import ConnectionId, Grant, Output, Rooms
from .usage import Usage

logger = logging.getLogger(__name__)

#: A token's connection is closed this long before the token expires.
EXPIRY_MARGIN_S = 0.25
#: Longer timers than this are cut short; the platform's clock cannot be set arbitrarily far ahead.
MAX_LIFETIME_S = 30 * 86_400.0

REST_RATE = RateLimit(per_minute=600, burst=120)

CONNECTIONS = Gauge("voice_agent_hub_connections", "WebSocket connections open at the hub.")
REFUSED = Counter("voice_agent_hub_refused", "Attempts refused, by error or close code.", ["reason"])


@dataclass(frozen=True, slots=True)
class HubOptions:
    """What a hub accepts and how much of it."""

    publishable_keys: tuple[PublishableKey, ...] = ()
    secret_keys: tuple[SecretKey, ...] = ()
    #: Put into the welcome of everyone whose token brings no servers of its own.
    ice_servers: tuple[IceServer, ...] = ()
    #: More than these at a time are closed with 4010.
    max_connections: int = 1000
    #: Publishes and sends of everybody in one calendar month (UTC) since the hub started; more are answered
    #: ``over_message_quota`` and dropped. None: no limit.
    max_messages: int | None = None
    #: Attempts from one source address (IPv6: one /64) in 60 s; more get HTTP 429. None: no limit.
    connects_per_minute: int | None = 60
    #: Connections of one such address at a time; more are closed with 4010. None: no limit.
    connections_per_address: int | None = 200
    #: Peers whose ids begin so, as a token says, are exempt from the limits of addresses: programs of one's
    #: own that share an address with strangers. With a publishable key nobody chooses an id.
    trusted_prefix: str | None = None
    #: Requests to the control plane, from one address and by one key alike. None: no limit.
    rest_rate: RateLimit | None = REST_RATE
    #: Publishes and sends of one connection; more close it with 4011. None: no limit.
    message_rate: MessageRate | None = field(default_factory=MessageRate)
    max_queued_frames: int = MAX_QUEUED_FRAMES
    #: Faults made on purpose, for tests.
    faults: Faults | None = None
    #: Hub processes with the same Redis share their rooms. None: the rooms are this process's alone. Numbers
    #: above are of each process, except `max_messages`.
    redis_url: str | None = field(default=None, repr=False)
    #: How long the others take a process that has died for alive.
    redis_lease_s: float = LEASE_S


class Hub:
    """The room protocol's server. `app.include_router(hub.router)` serves it at ``/v1``.

    Use it as an async context manager, or call `start` before it serves and `close` when the service stops:
    before the HTTP server is told to, because that would cut the sockets off without the notice clients
    wait for.
    """

    def __init__(self, options: HubOptions, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix seconds; tokens are judged by it."""
        self.router = APIRouter()
        self.router.add_api_websocket_route("/v1", self._serve)
        self.rooms = Rooms()
        self.options = options
        self.keys = KeyRing(options.publishable_keys, options.secret_keys)
        self._clock = clock
        self._usage = Usage(
            clock(), max_connections=options.max_connections, max_messages=options.max_messages
        )
        self._door = Door(
            connects_per_minute=options.connects_per_minute,
            connections_per_address=options.connections_per_address,
        )
        self._connections: dict[int, Connection] = {}
        self._ids = itertools.count(1)
        self._cluster = self._make_cluster(options)
        #: Whether `close` has been called.
        self.is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def _make_cluster(self, options: HubOptions) -> Cluster | None:
        if options.redis_url is None:
            return None
        return Cluster(
            options.redis_url,
            self.rooms,
            self._usage,
            deliver=self._deliver,
            kick=self._kick,
            clock=self._clock,
            lease_s=options.redis_lease_s,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Join the other hub processes, if there are to be any. Raises `ClusterError` when that fails."""
        if self._cluster is not None:
            await self._cluster.start()

    async def close(self, *, retry_after_ms: int = 1000) -> None:
        """Tell everyone the hub is going away, close with 1001, refuse newcomers. Idempotent.

        Returns when every connection has ended, at the latest after the close deadline.
        """
        self.is_closed = True
        notice = encode(GoingAway(retry_after_ms))
        for connection in list(self._connections.values()):
            connection.send(notice)
            connection.close(CloseCode.GOING_AWAY, "server shutdown")
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S + 1):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("%d connections did not end in time", len(self._connections))
        if self._cluster is not None:
            await self._cluster.close()

    # ---- for the control plane ----------------------------------------------------------------------

    async def members(self, channel: str) -> tuple[Member, ...]:
        """Who is in `channel`. Raises `LinkLostError` when other hub processes cannot be asked."""
        if self._cluster is not None:
            return await self._cluster.members(channel)
        return self.rooms.members(channel)

    async def publish(
        self, channel: str, sender: str, data: Json, metadata: JsonObject | None = None
    ) -> bool:
        """A message to everybody in `channel`; False when the message quota is used up."""
        if not self._usage.take_message(self._clock()):
            return False
        self._deliver(self.rooms.publish(channel, sender, data, metadata))
        if self._cluster is not None:
            await self._cluster.publish(Message(channel, sender, data, metadata))
        return True

    async def disconnect_peer(self, peer_id: str) -> int:
        """Close every connection of a peer with 4020; returns how many there were.

        Raises `LinkLostError` when other hub processes cannot be told; those here are closed even so.
        """
        closed = self._kick(peer_id)
        if self._cluster is not None:
            closed += await self._cluster.disconnect_peer(peer_id)
        return closed

    async def usage(self) -> JsonObject:
        """Connections and messages of this month, in the words of ``GET /v1/usage``.

        Raises `LinkLostError` when other hub processes share the count and it cannot be read.
        """
        if self._cluster is not None:
            await self._cluster.count()
        return self._usage.report(self._clock())

    def _kick(self, peer_id: str) -> int:
        connections = [self._connections[connection] for connection in self.rooms.connections_of(peer_id)]
        for connection in connections:
            connection.close(CloseCode.ADMIN_DISCONNECT, "disconnected by the application")
        return len(connections)

    # ---- one connection -----------------------------------------------------------------------------

    async def _serve(self, websocket: WebSocket) -> None:
        query = websocket.scope["query_string"].decode("latin-1")
        # The server logs every connection's address, and the credential is part of it.
        websocket.scope["query_string"] = b""
        # Trusted programs have no address here.
        address = client_key(websocket.client.host if websocket.client else "")
        try:
            admission = self._admit(query, websocket.headers.get("origin"), address)
            if self._is_trusted(admission):
                address = ""
            self._check_capacity(address)
        except HttpRefusedError as refused:
            REFUSED.labels(refused.code).inc()
            await websocket.send_denial_response(_denial(refused))
            return
        except CloseRefusedError as refused:
            REFUSED.labels(str(int(refused.code))).inc()
            await websocket.accept()
            await websocket.close(refused.code, str(refused))
            return
        self._door.opened(address)
        try:
            await websocket.accept()
            await self._run(websocket, admission)
        finally:
            self._door.closed(address)

    def _admit(self, query: str, origin: str | None, address: str) -> Admission:
        if self.is_closed:
            raise HttpRefusedError(503, "going_away", "the server is shutting down")
        if self.options.trusted_prefix is not None:
            with suppress(HttpRefusedError, CloseRefusedError):
                admission = admit(query, origin, self.keys, now=self._clock())
                if self._is_trusted(admission):
                    return admission
        self._door.knock(address, time.monotonic())
        return admit(query, origin, self.keys, now=self._clock())

    def _is_trusted(self, admission: Admission) -> bool:
        prefix = self.options.trusted_prefix
        return prefix is not None and admission.grant.peer_id.startswith(prefix)

    def _check_capacity(self, address: str) -> None:
        if len(self._connections) >= self.options.max_connections:
            raise CloseRefusedError(CloseCode.OVER_CONNECTION_LIMIT, "too many connections")
        if address:
            self._door.check_open(address)

    async def _run(self, websocket: WebSocket, admission: Admission) -> None:
        connection = self._connection(websocket)
        self._connections[connection.id] = connection
        self._idle.clear()
        CONNECTIONS.inc()
        self._usage.connected(self._clock())
        grant = admission.grant
        # Written when the connection runs, and before anything that others send it meanwhile.
        connection.send(encode(self._welcome(admission)))
        self.rooms.connect(connection.id, grant)
        expiry = self._arm_expiry(connection, admission)
        try:
            if self._cluster is not None:
                await self._cluster.connected(grant.peer_id)
            if self.is_closed:
                connection.close(CloseCode.GOING_AWAY, "server shutdown")
            if self._cluster is None:
                await connection.run(
                    handle=lambda frame: self._handle(connection, frame),
                    leave=lambda: self._leave(connection, grant),
                )
            else:
                await self._run_clustered(self._cluster, connection, grant)
        finally:
            if expiry is not None:
                expiry.cancel()
            del self._connections[connection.id]
            CONNECTIONS.dec()
            self._usage.disconnected()
            self._leave(connection, grant)
            if not self._connections:
                self._idle.set()

    def _connection(self, websocket: WebSocket) -> Connection:
        options = self.options
        make = Connection if options.faults is None else partial(FaultyConnection, faults=options.faults)
        return make(
            next(self._ids), websocket, options.message_rate, max_queued_frames=options.max_queued_frames
        )

    def _leave(self, connection: Connection, grant: Grant) -> None:
        if self._cluster is not None:
            self._cluster.disconnect(connection.id, grant.peer_id)
        else:
            self._deliver(self.rooms.disconnect(connection.id))

    async def _run_clustered(self, cluster: Cluster, connection: Connection, grant: Grant) -> None:
        inbox = Inbox(lambda frame: cluster.handle(connection.id, grant, frame))
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(inbox.run())
            try:
                await connection.run(
                    handle=lambda frame: self._handle(connection, frame, inbox),
                    leave=lambda: self._leave(connection, grant),
                    drained=inbox.drained,
                )
            finally:
                working.cancel()

    def _handle(self, connection: Connection, frame: ClientFrame, inbox: Inbox | None = None) -> None:
        if isinstance(frame, (Publish, Send)) and not self._usage.take_message(self._clock()):
            message = "this month's messages are used up"
            refusal = ErrorFrame(ErrorCode.OVER_MESSAGE_QUOTA, frame.request_id, message)
            connection.send(encode(refusal))
        elif inbox is not None:
            inbox.put(frame)
        else:
            self._deliver(self.rooms.handle(connection.id, frame), connection.id)

    def _welcome(self, admission: Admission) -> Welcome:
        metadata: JsonObject | None = admission.metadata
        if self.options.ice_servers and (metadata is None or "iceServers" not in metadata):
            servers = [server.to_json() for server in self.options.ice_servers]
            metadata = {**(metadata or {}), "iceServers": servers}
        return Welcome(
            admission.grant.peer_id,
            admission.expires_at,
            int(self._clock()),
            MAX_CLIENT_FRAME_BYTES,
            metadata,
        )

    def _arm_expiry(self, connection: Connection, admission: Admission) -> asyncio.TimerHandle | None:
        if admission.expires_at is None:
            return None
        left_s = admission.expires_at - self._clock() - EXPIRY_MARGIN_S
        delay_s = min(max(left_s, 0.0), MAX_LIFETIME_S)
        loop = asyncio.get_running_loop()
        return loop.call_later(delay_s, connection.close, CloseCode.TOKEN_EXPIRED, "the token has expired")

    def _deliver(self, outputs: Sequence[Output], asker: ConnectionId | None = None) -> None:
        """Send each frame to its connection; presence for the `asker` is the roster it asked for."""
        texts: dict[int, tuple[str, int]] = {}
        for to, frame in outputs:
            # A frame for many is written once; identity is enough, the outputs keep it alive.
            text, size_bytes = texts.get(id(frame)) or texts.setdefault(id(frame), _sized(encode(frame)))
            connection = self._connections.get(to)
            if connection is None:
                continue
            if to == asker and isinstance(frame, Presence):
                connection.send_roster(text, size_bytes)
            else:
                connection.send(text, size_bytes)


def _sized(text: str) -> tuple[str, int]:
    return text, frame_bytes(text)


def _denial(refused: HttpRefusedError) -> JSONResponse:
    wait_s = refused.retry_after_s
    headers = {"retry-after": str(math.ceil(wait_s))} if wait_s is not None else None
    return JSONResponse({"error": refused.code, "message": str(refused)}, refused.status, headers)
