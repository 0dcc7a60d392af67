"""Several hubs behind one address are to their clients what one hub is."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.hub import HubOptions
from tests.agent.hub.cluster_parts import Barrier, Frame, Seat, seat, start_cluster
from tests.conftest import RunningHub, StartHub
from tests.redis_server import redis_server

#: One peer at two hubs, and others who see it at one of them and at a third.
FIRST = [
    *(("connect", slot, *who) for slot, who in enumerate((("p", 0), ("q", 0), ("p", 2), ("r", 1)))),
    *(("subscribe", slot, "x/a", True) for slot in range(4)),
]
SLOTS = st.integers(0, 3)
PEERS = st.sampled_from(["p", "q", "r"])
NAMES = st.sampled_from(["x/a", "x/b", "x/*", "x/**", "x/a/deep"])
CHANNELS = st.sampled_from(["x/a", "x/b", "x/a/deep"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), SLOTS, PEERS, st.integers(0, 2)),
        st.tuples(st.just("drop"), SLOTS),
        st.tuples(st.just("subscribe"), SLOTS, NAMES, st.booleans()),
        st.tuples(st.just("unsubscribe"), SLOTS, NAMES),
        st.tuples(st.just("publish"), SLOTS, CHANNELS),
        st.tuples(st.just("send"), SLOTS, PEERS),
    ),
    min_size=5,
    max_size=15,
)


class World:
    """One hub or several, in which the same steps are taken; says what each client was told at each."""

    def __init__(self, hubs: list[RunningHub], barrier: Barrier) -> None:
        self._hubs = hubs
        self._barrier = barrier
        self._runs = 0

    async def play(self, steps: list[tuple[Any, ...]]) -> list[dict[int, list[Frame]]]:
        # Every run has rooms and peers of its own: nothing of the one before may be seen.
        self._runs += 1
        told = []
        async with AsyncExitStack() as stack:
            seats: dict[int, tuple[Seat, AsyncExitStack]] = {}
            for step in [*FIRST, *steps]:
                await self._take(step, seats, stack)
                present = [someone for someone, _ in seats.values()]
                await self._barrier(*present)
                told.append({slot: _news(someone, self._runs) for slot, (someone, _) in seats.items()})
        return told

    async def _take(
        self, step: tuple[Any, ...], seats: dict[int, tuple[Seat, AsyncExitStack]], stack: AsyncExitStack
    ) -> None:
        match step:
            case "connect", slot, peer, at if slot not in seats:
                own = await stack.enter_async_context(AsyncExitStack())
                hub, peer_id = self._hubs[at % len(self._hubs)], f"{self._runs}-{peer}"
                someone = await own.enter_async_context(seat(hub, peer_id, peer_metadata={"name": peer}))
                seats[slot] = someone, own
            case "drop", slot if slot in seats:
                someone, own = seats.pop(slot)
                rooms, peer_id = someone.hub.hub.rooms, someone.peer_id
                count = len(rooms.connections_of(peer_id))
                await own.aclose()
                while len(rooms.connections_of(peer_id)) == count:
                    await asyncio.sleep(0.0005)
            case "subscribe", slot, name, flag if slot in seats:
                channel = f"{self._runs}/{name}"
                await seats[slot][0].ask(type="subscribe", channel=channel, includeSenderMetadata=flag)
            case "unsubscribe", slot, name if slot in seats:
                await seats[slot][0].ask(type="unsubscribe", channel=f"{self._runs}/{name}")
            case "publish", slot, channel if slot in seats:
                await seats[slot][0].ask(type="publish", channel=f"{self._runs}/{channel}", data=[None, "ü"])
            case "send", slot, peer if slot in seats:
                await seats[slot][0].ask(type="send", to=f"{self._runs}-{peer}", data={"to": peer})


def _news(someone: Seat, run: int) -> list[Frame]:
    """What a client was told since it was last asked, without what differs between runs."""
    news = [frame for frame in someone.frames if frame["type"] != "pong"]
    someone.frames.clear()
    for frame in news:
        for which in ("joined", "left"):
            if which in frame:
                frame[which].sort(key=lambda member: str(member["peerId"]))
    return news


def test_clients_of_three_hubs_are_told_what_clients_of_one_are(start_hub: StartHub) -> None:
    @settings(max_examples=8)
    @given(STEPS)
    def compare(steps: list[tuple[Any, ...]]) -> None:
        alone, together = runner.run(play(steps))
        assert together == alone

    async def play(steps: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
        return await worlds[0].play(steps), await worlds[1].play(steps)

    async def open_worlds(stack: AsyncExitStack) -> list[World]:
        redis = await stack.enter_async_context(redis_server())
        options = HubOptions(connects_per_minute=None, message_rate=None)
        one = [await stack.enter_async_context(start_hub(options))]
        three = await stack.enter_async_context(start_cluster(start_hub, redis, 3))
        made = []
        for hubs in (one, three):
            watchers = [
                await stack.enter_async_context(seat(hub, f"watch-{index}")) for index, hub in enumerate(hubs)
            ]
            barrier = Barrier(watchers)
            await barrier.join()
            made.append(World(hubs, barrier))
        return made

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        worlds = runner.run(open_worlds(stack))
        try:
            compare()
        finally:
            runner.run(stack.aclose())


async def test_those_who_come_at_the_same_moment_all_learn_of_one_another(start_hub: StartHub) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        hubs = await stack.enter_async_context(start_cluster(start_hub, redis, 3))
        watchers = [
            await stack.enter_async_context(seat(hub, f"watch-{index}")) for index, hub in enumerate(hubs)
        ]
        barrier = Barrier(watchers)
        await barrier.join()
        seats = [
            await stack.enter_async_context(seat(hubs[index % 3], f"peer-{index}")) for index in range(6)
        ]
        # A room that no hub follows yet is read while others enter it.
        channels = [f"room-{number}" for number in range(20)]
        for channel in channels:
            await asyncio.gather(*(someone.write(type="subscribe", channel=channel) for someone in seats))
        for someone in seats:
            await someone.until(lambda someone=someone: channels[-1] in someone.rosters)  # type: ignore[misc]
            await someone.settle()
        await barrier(*seats)
        everybody = {someone.peer_id for someone in seats}
        for someone in seats:
            for channel in channels:
                assert set(someone.rosters[channel]) == everybody - {someone.peer_id}


async def test_when_everybody_acts_at_once_rosters_agree_and_senders_stay_in_order(
    start_hub: StartHub,
) -> None:
    dice = random.Random(7)
    channels = ("x", "y")

    async def live(someone: Seat, held: set[str]) -> None:
        numbers = iter(range(1000))
        for _ in range(60):
            channel = dice.choice(channels)
            match dice.randrange(4):
                case 0:
                    held.add(channel)
                    await someone.write(type="subscribe", channel=channel)
                case 1:
                    held.discard(channel)
                    await someone.write(type="unsubscribe", channel=channel)
                case 2:
                    data = [id(someone), next(numbers)]
                    await someone.write(type="publish", channel=channel, data=data)
                case 3:
                    data = [id(someone), next(numbers)]
                    await someone.write(type="send", to=f"peer-{dice.randrange(6)}", data=data)
            if dice.random() < 0.3:
                await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        hubs = await stack.enter_async_context(start_cluster(start_hub, redis, 3))
        watchers = [
            await stack.enter_async_context(seat(hub, f"watch-{index}")) for index, hub in enumerate(hubs)
        ]
        barrier = Barrier(watchers)
        await barrier.join()
        # Six peers at nine connections: three of them are at two hubs.
        peers = (0, 1, 2, 3, 4, 5, 1, 3, 5)
        seats = [
            await stack.enter_async_context(seat(hubs[index % 3], f"peer-{peer}"))
            for index, peer in enumerate(peers)
        ]
        held: list[set[str]] = [set() for _ in seats]
        async with asyncio.TaskGroup() as tasks:
            for someone, channels_held in zip(seats, held, strict=True):
                tasks.create_task(live(someone, channels_held))
        for someone in seats:
            await someone.settle()
        await barrier(*seats)
        for someone, own in zip(seats, held, strict=True):
            for channel in own:
                others = {
                    other.peer_id for other, theirs in zip(seats, held, strict=True) if channel in theirs
                }
                assert set(someone.rosters[channel]) == others - {someone.peer_id}
            by_sender: dict[int, list[int]] = defaultdict(list)
            for sender, number in someone.data():
                by_sender[sender].append(number)
            assert by_sender
            for numbers in by_sender.values():
                assert numbers == sorted(set(numbers))
