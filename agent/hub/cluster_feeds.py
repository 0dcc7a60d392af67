"""The rooms that clients of this process are in, as the other processes tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import Counter

from agent.realtime.frames import Member
from agent.realtime.names import is_wildcard

from .cluster_wire import (
    Kick,
    ToPeer,
    WireError,
    parse_change,
    parse_channel,
    parse_entry,
    parse_note,
    parse_relayed,
)
from .mirror import Mirror
from .redis_bus import Bus, Room, redis_glob
from .rooms import Output, Rooms

#: Rooms that are read again at the same time when Redis is back.
PARALLEL_ROOMS = 32
#: Changes of one room that may come while it is being read.
MAX_EARLY_CHANGES = 10_000

FRAMES = Counter("voice_agent_hub_cluster_frames", "What came from other processes.", ["kind"])
MALFORMED = Counter("voice_agent_hub_cluster_malformed", "What came from Redis and was refused.")


@dataclass(slots=True)
class _Feed:
    """A room or wildcard that somebody here is subscribed to, or about to be."""

    mirror: Mirror = field(default_factory=Mirror)
    #: Who is about to subscribe.
    openers: int = 0
    #: Nobody has to wait any longer: it is followed, or Redis is away.
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Feeds:
    """Follows rooms and wildcards for as long as somebody here is subscribed, and shows what is heard.

    Between `attach` and `detach` there is a bus to follow them on; without one, what was last known stays.
    """

    def __init__(
        self,
        process: str,
        rooms: Rooms,
        *,
        deliver: Callable[[Sequence[Output]], None],
        kick: Callable[[str], object],
    ) -> None:
        """`process` is what the names of this process's own nodes begin with."""
        self._process = process
        self._rooms = rooms
        self._deliver = deliver
        self._kick = kick
        self._feeds: dict[str, _Feed] = {}
        self._bus: Bus | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._last_relayed = ("", 0)

    def attach(self, bus: Bus, tasks: asyncio.TaskGroup) -> None:
        """Follow new rooms on this bus; `resume` has to bring in those that are there already."""
        self._bus, self._tasks = bus, tasks

    async def resume(self, tell: Callable[[str], None]) -> None:
        """Read every room again; `tell` is called with each before."""
        bus = self._bus
        assert bus is not None
        feeds = list(self._feeds.items())
        for start in range(0, len(feeds), PARALLEL_ROOMS):
            some = feeds[start : start + PARALLEL_ROOMS]
            for name, _ in some:
                tell(name)
                # A large room is some milliseconds of work.
                await asyncio.sleep(0)
            await asyncio.gather(*(self._follow(bus, name, feed) for name, feed in some))

    def settle(self) -> None:
        """Whoever was held for those who might come back, and has not come back, is gone."""
        for name, feed in self._feeds.items():
            if feed.mirror.release():
                self._show(name, feed)

    def detach(self) -> None:
        """Redis is away."""
        self._bus = self._tasks = None
        for feed in self._feeds.values():
            feed.ready.set()

    # ---- following rooms ----------------------------------------------------------------------------

    @asynccontextmanager
    async def following(self, name: str) -> AsyncIterator[None]:
        """Inside, everything that happens in this room elsewhere is known, unless Redis is away."""
        feed = self._feeds.get(name)
        if feed is None:
            feed = self._feeds[name] = _Feed()
            if self._bus is not None and self._tasks is not None:
                self._tasks.create_task(self._follow(self._bus, name, feed))
        feed.openers += 1
        try:
            if self._bus is not None:
                await feed.ready.wait()
            yield
        finally:
            feed.openers -= 1
            self.release(name)

    async def _follow(self, bus: Bus, name: str, feed: _Feed) -> None:
        if self._feeds.get(name) is not feed:
            return
        if is_wildcard(name):
            await bus.follow_wildcard(name)
        else:
            feed.mirror.expect_snapshot()
            await bus.follow(name)
            room = await bus.load(name)
            if self._feeds.get(name) is feed:
                feed.mirror.load(room.seq, room.alive, self.entries(room))
                self._show(name, feed)
        feed.ready.set()

    def release(self, name: str) -> None:
        """Stop following what nobody here is in."""
        feed = self._feeds.get(name)
        if feed is None or feed.openers or self._rooms.is_used(name):
            return
        del self._feeds[name]
        self._rooms.elsewhere(name, {})
        if self._bus is None:
            return
        if not is_wildcard(name):
            self._bus.unfollow(name)
        elif redis_glob(name) not in {redis_glob(other) for other in self._feeds if is_wildcard(other)}:
            self._bus.unfollow_wildcard(name)

    def _show(self, channel: str, feed: _Feed) -> None:
        self._deliver(self._rooms.elsewhere(channel, feed.mirror.members()))

    def entries(self, room: Room) -> list[tuple[str, Member]]:
        """What other living processes say about a room."""
        entries = []
        for name, value in room.entries:
            try:
                node, member = parse_entry(name, value)
            except WireError:
                MALFORMED.inc()
                continue
            if node in room.alive and not self._is_own(node):
                entries.append((node, member))
        return entries

    def _is_own(self, node: str) -> bool:
        return node.startswith(self._process)

    # ---- hearing from the others --------------------------------------------------------------------

    def hear(self, kind: str, channel: bytes, payload: bytes) -> None:
        try:
            match kind:
                case "p":
                    self._hear_change(parse_channel(channel), payload)
                case "m":
                    self._hear_message(parse_channel(channel), payload)
                case "n":
                    self._hear_note(payload)
        except WireError:
            MALFORMED.inc()

    def _hear_change(self, channel: str, payload: bytes) -> None:
        change, feed = parse_change(payload), self._feeds.get(channel)
        if self._is_own(change.node) or feed is None:
            return
        FRAMES.labels("presence").inc()
        feed.mirror.apply(change)
        if feed.mirror.early == 0:
            self._show(channel, feed)
        elif feed.mirror.early > MAX_EARLY_CHANGES and self._bus is not None:
            self._bus.lose("a room changes faster than it can be read")

    def _hear_message(self, channel: str, payload: bytes) -> None:
        relayed = parse_relayed(channel, payload)
        stamp = (relayed.node, relayed.seq)
        # A message comes once for its channel and once for each pattern, one right after the other.
        if self._is_own(relayed.node) or stamp == self._last_relayed:
            return
        self._last_relayed = stamp
        FRAMES.labels("message").inc()
        message = relayed.message
        self._deliver(self._rooms.publish(channel, message.sender, message.data, message.from_metadata))

    def _hear_note(self, payload: bytes) -> None:
        match parse_note(payload):
            case ToPeer(to, direct):
                FRAMES.labels("direct").inc()
                self._deliver([(connection, direct) for connection in self._rooms.connections_of(to)])
            case Kick(peer_id):
                FRAMES.labels("kick").inc()
                self._kick(peer_id)
