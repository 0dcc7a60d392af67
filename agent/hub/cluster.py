"""Several hub processes that share their rooms through Redis: a layer round the rooms of one process.

What happens here is done here first and then told to the others; what they tell is shown to the clients
here. Each process follows only the rooms that somebody here is in. While Redis is away the process goes on
alone: its own clients are served, who is elsewhere stays as last known, and everything is made good when
Redis is back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from prometheus_client import Counter, Gauge

from agent.realtime.codes import ErrorCode
from agent.realtime.frames import (
    Ack,
    ClientFrame,
    Direct,
    ErrorFrame,
    Member,
    Message,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
)
from agent.realtime.signalling.backoff import Backoff

from .cluster_feeds import Feeds
from .cluster_wire import Kick, Relayed, ToPeer, encode_note, encode_relayed
from .redis_bus import Bus
from .redis_link import TIMEOUT_S, ClusterError, LinkLostError, address, check
from .rooms import ConnectionId, Grant, Output, Rooms
from .usage import Usage

logger = logging.getLogger(__name__)

#: How soon the others see that a process has died; three heartbeats fit into it.
LEASE_S = 6.0
#: A third of the lease, and no more: so soon the death of others is seen, and their forgetting.
MAX_BEAT_S = 2.0
RECONNECT = Backoff(initial_s=0.1, max_s=2.0, max_attempts=None)
#: Peers that are told of at a time when Redis is back.
PARALLEL_PEERS = 256
#: Former stays whose entries are still to be cleared; forgotten ones go with their lease.
MAX_FORMER_STAYS = 8


class Deliver(Protocol):
    def __call__(self, outputs: Sequence[Output], asker: ConnectionId | None = None) -> None: ...


UP = Gauge("voice_agent_hub_cluster_up", "1 while rooms are shared through Redis, 0 while it is away.")
LOST = Counter("voice_agent_hub_cluster_lost", "How often Redis was lost.")
LOCAL_ONLY = Counter(
    "voice_agent_hub_cluster_local_only", "Requests served without the other processes.", ["request"]
)


class Cluster:
    """Use `start`, then put every frame and every disconnection through it, and `close` at the end."""

    def __init__(
        self,
        url: str,
        rooms: Rooms,
        usage: Usage,
        *,
        deliver: Deliver,
        kick: Callable[[str], object],
        clock: Callable[[], float],
        lease_s: float = LEASE_S,
    ) -> None:
        """`deliver` sends frames to connections here, in answer to one of them if given, and `kick` closes
        those of one peer here.

        Raises `ClusterError` when the URL is wrong or a package is missing.
        """
        check(url)
        self._url = url
        self._rooms = rooms
        self._usage = usage
        self._deliver = deliver
        self._clock = clock
        self._lease_s = lease_s
        self._process = secrets.token_hex(8)
        self._stays = itertools.count(1)
        self._former: deque[str] = deque(maxlen=MAX_FORMER_STAYS)
        self._published = itertools.count(1)
        self._feeds = Feeds(self._process, rooms, deliver=deliver, kick=kick)
        #: None while Redis is away.
        self._bus: Bus | None = None
        #: What has been said in this stay: members by (channel, peer id), connections by peer id.
        self._told: dict[tuple[str, str], Member] = {}
        self._told_peers: dict[str, int] = {}
        self._running: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._is_closing = False
        self._was_up = False

    async def start(self) -> None:
        """Join the cluster. Raises `ClusterError` when Redis cannot be had."""
        self._ready = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(self._new_bus()))
        await self._ready

    async def close(self) -> None:
        """Leave the cluster; the others hear at once that nobody is here any more."""
        self._is_closing = True
        if self._bus is not None:
            with suppress(LinkLostError, TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    await self._bus.bury(self._bus.node)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    # ---- clients of this process --------------------------------------------------------------------

    async def connected(self, peer_id: str) -> None:
        """A connection of this peer is in the rooms now; returns when others can reach it."""
        with suppress(LinkLostError):
            await self._settle_peer(peer_id)

    def disconnect(self, connection_id: ConnectionId, peer_id: str) -> None:
        """Take a connection out of the rooms. Idempotent."""
        names = self._rooms.subscriptions(connection_id)
        self._deliver(self._rooms.disconnect(connection_id))
        for name in names:
            self._settle(name, peer_id)
            self._feeds.release(name)
        # Nobody waits for it: a peer that is gone can be told nothing.
        self._settle_peer(peer_id)

    async def handle(self, connection_id: ConnectionId, grant: Grant, frame: ClientFrame) -> None:
        """Carry out what a client asked for."""
        if connection_id not in self._rooms.connections_of(grant.peer_id):
            # It has left while an earlier frame of it took its time.
            return
        match frame:
            case Subscribe(channel):
                await self._subscribe(connection_id, grant, frame)
            case Unsubscribe(channel):
                self._deliver(self._rooms.handle(connection_id, frame))
                self._settle(channel, grant.peer_id)
                self._feeds.release(channel)
            case Publish(channel, data):
                outputs = self._rooms.handle(connection_id, frame)
                self._deliver(outputs)
                if _refusal(outputs) is None:
                    await self.publish(Message(channel, grant.peer_id, data, grant.peer_metadata))
            case Send():
                await self._send(connection_id, grant, frame)
            case _:
                self._deliver(self._rooms.handle(connection_id, frame))

    async def _subscribe(self, connection_id: ConnectionId, grant: Grant, frame: Subscribe) -> None:
        if refused := self._rooms.refuse(connection_id, frame):
            self._deliver(refused)
            return
        if self._bus is None:
            LOCAL_ONLY.labels("subscribe").inc()
        async with self._feeds.following(frame.channel):
            if connection_id not in self._rooms.connections_of(grant.peer_id):
                # It has left while it waited.
                return
            # The others hear of the newcomer after it has heard of them.
            self._deliver(self._rooms.handle(connection_id, frame), connection_id)
            self._settle(frame.channel, grant.peer_id)

    async def _send(self, connection_id: ConnectionId, grant: Grant, frame: Send) -> None:
        outputs = self._rooms.handle(connection_id, frame)
        refused = _refusal(outputs)
        if refused is None:
            self._deliver(outputs)
        elif refused.code != ErrorCode.PEER_NOT_FOUND:
            self._deliver(outputs)
            return
        note = encode_note(ToPeer(frame.to, Direct(grant.peer_id, frame.data, grant.peer_metadata)))
        try:
            reached = await self._notify(frame.to, note)
        except LinkLostError:
            LOCAL_ONLY.labels("send").inc()
            message = "the other processes cannot be reached; try again"
            outputs = [(connection_id, ErrorFrame(ErrorCode.BACKEND_ERROR, frame.request_id, message))]
        else:
            if reached:
                outputs = [(connection_id, Ack(frame.request_id))] if frame.request_id is not None else []
        if refused is not None:
            self._deliver(outputs)

    # ---- for the control plane ----------------------------------------------------------------------

    async def publish(self, message: Message) -> None:
        """Pass a message on to the others' clients. While Redis is away they miss it."""
        try:
            bus = self._require_bus()
            relayed = Relayed(bus.node, next(self._published), message)
            await bus.publish(message.channel, encode_relayed(relayed))
        except LinkLostError:
            LOCAL_ONLY.labels("publish").inc()

    async def members(self, channel: str) -> tuple[Member, ...]:
        """Who is in `channel`, everywhere. Raises `LinkLostError` when Redis is away."""
        bus, members = self._require_bus(), self._rooms.here(channel)
        for _, member in self._feeds.entries(await bus.load(channel)):
            members.setdefault(member.peer_id, member)
        return tuple(members.values())

    async def disconnect_peer(self, peer_id: str) -> int:
        """Close the connections a peer has elsewhere; returns how many. Raises `LinkLostError`."""
        return await self._notify(peer_id, encode_note(Kick(peer_id)))

    async def count(self) -> None:
        """Bring the usage up to date. Raises `LinkLostError`."""
        await self._beat(self._require_bus())

    # ---- telling the others -------------------------------------------------------------------------

    def _require_bus(self) -> Bus:
        if self._bus is None:
            raise LinkLostError("Redis is away")
        return self._bus

    async def _notify(self, peer_id: str, note: str) -> int:
        return await self._require_bus().notify(peer_id, note)

    def _settle(self, channel: str, peer_id: str) -> None:
        """Tell the others whether this peer is in the room here, if they do not know."""
        self._settle_member(channel, peer_id, self._rooms.here(channel).get(peer_id))

    def _settle_member(self, channel: str, peer_id: str, member: Member | None) -> None:
        if self._bus is None:
            return
        told = self._told.get((channel, peer_id))
        if member is not None and member != told:
            self._told[channel, peer_id] = member
            self._bus.join(channel, member)
        elif member is None and told is not None:
            del self._told[channel, peer_id]
            self._bus.leave(channel, peer_id)

    def _settle_all(self, channel: str) -> None:
        for peer_id, member in self._rooms.here(channel).items():
            self._settle_member(channel, peer_id, member)

    def _settle_peer(self, peer_id: str) -> asyncio.Future[None]:
        """Tell the others how many connections this peer has here, if they do not know."""
        count = len(self._rooms.connections_of(peer_id))
        if self._bus is None or self._told_peers.get(peer_id, 0) == count:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        if count:
            self._told_peers[peer_id] = count
        else:
            del self._told_peers[peer_id]
        return self._bus.peer(peer_id, count)

    # ---- one stay after another ---------------------------------------------------------------------

    def _new_bus(self) -> Bus:
        return Bus(self._url, f"{self._process}.{next(self._stays)}", self._lease_s, self._feeds.hear)

    async def _run(self, bus: Bus) -> None:
        assert self._ready is not None
        attempts = 0
        while True:
            why = "unknown"
            try:
                await self._stay(bus)
            except* LinkLostError as errors:
                why = str(_first(errors))
            except* Exception:
                # A stated boundary: a mistake here must not end the sharing for good.
                logger.exception("a stay in the cluster failed")
            if not self._ready.done():
                self._ready.set_exception(self._unreachable(why))
                return
            if self._is_closing:
                return
            attempts = 1 if self._was_up else attempts + 1
            if attempts == 1:
                LOST.inc()
                place = address(self._url)
                logger.warning(
                    "%s at %s: rooms are served by this process alone until it is back", why, place
                )
            await asyncio.sleep(RECONNECT.delay_s(attempts, floor_s=0.0, spread=random.uniform(-1, 1)))
            bus = self._new_bus()

    async def _stay(self, bus: Bus) -> None:
        """One stay, from joining the cluster to losing it."""
        self._was_up = False
        await bus.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(bus.run())
                load = self._usage.load(self._clock())
                self._usage.share(load, await bus.register(load))
                self._told.clear()
                self._told_peers.clear()
                self._bus = bus
                self._feeds.attach(bus, tasks)
                await self._tell_everything(bus)
                await self._keep(bus)
        finally:
            self._bus = None
            self._feeds.detach()
            self._former.append(bus.node)
            if self._was_up:
                UP.dec()

    async def _tell_everything(self, bus: Bus) -> None:
        """Say who is here and read who is elsewhere; then take back what former stays said."""
        for count, peer_id in enumerate(self._rooms.peer_ids(), 1):
            told = self._settle_peer(peer_id)
            if count % PARALLEL_PEERS == 0:
                await told
        await self._feeds.resume(self._settle_all)
        while self._former:
            await bus.bury(self._former[0])
            self._former.popleft()
        self._was_up = True
        UP.inc()
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        else:
            logger.warning("Redis is back: rooms are shared again")

    async def _keep(self, bus: Bus) -> None:
        """Renew the lease for as long as it can be renewed."""
        is_judged = False
        while True:
            await asyncio.sleep(min(self._lease_s / 3, MAX_BEAT_S))
            if bus.is_settled and not is_judged:
                is_judged = True
                self._feeds.settle()
            await self._beat(bus)

    async def _beat(self, bus: Bus) -> None:
        load = self._usage.load(self._clock())
        self._usage.share(load, await bus.beat(load))

    def _unreachable(self, why: str) -> ClusterError:
        return ClusterError(
            f"{why} at {address(self._url)}: start Redis 6 or newer there, correct the URL and its user and "
            "password, or leave the URL out to serve rooms from this process alone"
        )


def _refusal(outputs: Sequence[Output]) -> ErrorFrame | None:
    """The error that the first of these frames is, if it is one."""
    first = outputs[0][1] if outputs else None
    return first if isinstance(first, ErrorFrame) else None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
