"""A cluster of hubs in one event loop, and clients that keep a roster and notice what must not be."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from websockets.exceptions import ConnectionClosed

from agent.hub import HubOptions, SecretKey
from tests.agent.hub.hub_parts import Raw, client, token
from tests.conftest import RunningHub, StartHub
from tests.redis_server import RedisServer

#: So that a busy machine ends no lease; tests of crashes take a shorter one.
LONG_LEASE_S = 60.0

Frame = dict[str, Any]


class Seat:
    """A connected client that reads all the time. `frames` is everything so far but the welcome."""

    def __init__(self, raw: Raw, peer_id: str, hub: RunningHub) -> None:
        self.raw = raw
        self.peer_id = peer_id
        self.hub = hub
        self.frames: list[Frame] = []
        #: Peer id → metadata, by channel.
        self.rosters: dict[str, dict[str, Any]] = {}
        #: What no client should ever be told.
        self.faults: list[str] = []
        self.is_closed = False
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)
        #: Subscribes that were acknowledged and whose snapshot has to come next.
        self._expecting: set[str] = set()
        self._subscribes: dict[str, str] = {}

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def ask(self, **frame: Any) -> Frame:
        """Send a request and wait for its answer."""
        number = await self.write(**frame)
        await self.until(lambda: any(answer.get("requestId") == number for answer in self.frames))
        return next(answer for answer in self.frames if answer.get("requestId") == number)

    async def write(self, **frame: Any) -> str:
        number = f"{frame['type']}-{next(self._numbers)}"
        if frame["type"] == "subscribe":
            self._subscribes[number] = frame["channel"]
        await self.raw.write(**frame, requestId=number)
        return number

    async def join(self, channel: str = "room", **options: Any) -> None:
        """Subscribe, and wait for the snapshot."""
        assert (await self.ask(type="subscribe", channel=channel, **options))["type"] == "ack"
        if "*" not in channel:
            await self.until(lambda: channel in self.rosters)

    async def sees(self, *peer_ids: str, channel: str = "room") -> None:
        """Wait until exactly these others are in the room."""
        await self.until(lambda: set(self.rosters.get(channel, ())) == set(peer_ids))

    def of_type(self, *types: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] in types]

    def data(self) -> list[Any]:
        """What was said in messages and directs."""
        return [frame["data"] for frame in self.of_type("message", "direct")]

    async def settle(self) -> None:
        """Wait until everything that the hub has for this client is here."""
        count = len(self.of_type("pong"))
        await self.raw.write(type="ping")
        await self.until(lambda: len(self.of_type("pong")) > count)

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                frame = await self.raw.read()
                self._note(frame)
                self.frames.append(frame)
                self._changed.set()
        self.is_closed = True
        self._changed.set()

    def _note(self, frame: Frame) -> None:
        channel = self._subscribes.get(frame.get("requestId", "")) if frame["type"] == "ack" else None
        if channel is not None and "*" not in channel:
            self._expecting.add(channel)
        if frame["type"] != "presence":
            return
        channel = frame["channel"]
        joined = {member["peerId"]: member.get("metadata") for member in frame["joined"]}
        left = {member["peerId"] for member in frame["left"]}
        if channel in self._expecting:
            self._expecting.discard(channel)
            self.rosters[channel] = joined
            if left:
                self.faults.append(f"a snapshot of {channel} says who left")
            return
        roster = self.rosters.get(channel)
        if roster is None:
            self.faults.append(f"news of {channel} before its snapshot")
            return
        self.faults += [f"{peer} joined {channel} twice" for peer in joined if peer in roster]
        self.faults += [f"{peer} left {channel} without having been there" for peer in left - {*roster}]
        roster.update(joined)
        for peer in left:
            roster.pop(peer, None)


@asynccontextmanager
async def seat(hub: RunningHub, peer_id: str, **claims: Any) -> AsyncIterator[Seat]:
    """A client of `hub` that may do everything everywhere unless `claims` say otherwise."""
    query = token(hub, **({"peer_id": peer_id, "channels": ["**"]} | claims))
    async with client(hub, query) as raw:
        assert (await raw.read())["type"] == "welcome"
        someone = Seat(raw, peer_id, hub)
        reading = asyncio.create_task(someone.read())
        try:
            yield someone
            assert someone.faults == []
        finally:
            await raw.websocket.close()
            await reading


@asynccontextmanager
async def start_cluster(
    start_hub: StartHub, redis: RedisServer, count: int = 2, *, lease_s: float = LONG_LEASE_S, **options: Any
) -> AsyncIterator[list[RunningHub]]:
    pair = SecretKey("sk_id_" + secrets.token_hex(4), "sk_secret_" + secrets.token_urlsafe(32))
    settings = HubOptions(
        secret_keys=(pair,),
        connects_per_minute=None,
        message_rate=None,
        redis_url=redis.url,
        redis_lease_s=lease_s,
        **options,
    )
    async with AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(start_hub(settings)) for _ in range(count)]
        # One application: the same pair everywhere.
        yield [replace(hub, key_id=pair.key_id, secret=pair.secret) for hub in hubs]


class Barrier:
    """Waits until everything that was done before has reached everybody.

    Each hub tells the others what happens in order, and so does Redis: when a message of every hub has come
    to every hub, so has all that was told before it.
    """

    def __init__(self, seats: list[Seat]) -> None:
        """`seats`: one at each hub, used for nothing else."""
        self._seats = seats
        self._numbers = itertools.count()

    async def join(self) -> None:
        for one in self._seats:
            await one.join("_barrier")

    async def __call__(self, *others: Seat) -> None:
        number = next(self._numbers)
        for one in self._seats:
            one.frames.clear()
            await one.write(type="publish", channel="_barrier", data=number)
        for one in self._seats:
            await one.until(lambda one=one: one.data().count(number) == len(self._seats) - 1)  # type: ignore[misc]
        for other in others:
            await other.settle()
