"""Millions of bytes of nonsense: nothing crashes, nobody hears what is not theirs, nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agent.hub import ALL_ACTIONS, HubOptions, PublishableKey
from agent.hub.keys import DEFAULT_ACTIONS
from agent.hub.rooms import Grant, Output, Rooms
from agent.realtime.codes import Action, ErrorCode
from agent.realtime.frames import (
    Ack,
    ClientFrame,
    Direct,
    ErrorFrame,
    FrameError,
    Message,
    Pong,
    Presence,
    Send,
    Subscribe,
    Unsubscribe,
    encode,
    parse_client_frame,
)
from agent.realtime.names import is_wildcard, matches
from tests.agent.hub.garbage import SNIPPETS, TYPES, Garbage, size_bytes
from tests.agent.hub.hub_parts import client, token
from tests.conftest import RunningHub, StartHub

MEGABYTE = 1_000_000
NAMES = ("fuzz", "fuzz/1", "pair", "pair/1", "alice", "eve")


class Witness:
    """What every connection may do and has asked for, kept apart from the hub's own books; says what each
    of them may be sent."""

    def __init__(self) -> None:
        self.grants: dict[int, Grant] = {}
        self.subscriptions: dict[int, set[str]] = {}

    def connected(self, connection: int, grant: Grant) -> None:
        self.grants[connection] = grant
        self.subscriptions[connection] = set()

    def disconnected(self, connection: int) -> None:
        del self.grants[connection], self.subscriptions[connection]

    def asked(self, connection: int, frame: ClientFrame, outputs: list[Output]) -> None:
        if any(to == connection and isinstance(answer, ErrorFrame) for to, answer in outputs):
            return
        if isinstance(frame, Subscribe):
            self.subscriptions[connection].add(frame.channel)
        elif isinstance(frame, Unsubscribe):
            self.subscriptions[connection].discard(frame.channel)

    def judge(self, outputs: list[Output], asker: int | None, asked: ClientFrame | None) -> None:
        for to, frame in outputs:
            grant, own = self.grants[to], self.subscriptions[to]
            match frame:
                case Ack() | ErrorFrame() | Pong():
                    assert to == asker
                case Direct():
                    assert isinstance(asked, Send)
                    assert asked.to == grant.peer_id
                case Message(channel):
                    heard_as = {name for name in own if name == channel or matches(name, channel)}
                    assert heard_as
                    assert any(is_wildcard(name) or grant.allows(name) for name in heard_as)
                    assert grant.allows(channel)
                    assert to != asker
                case Presence(channel):
                    assert channel in own
                    assert grant.allows(channel)
                    assert not is_wildcard(channel)
                    assert Action.PRESENCE in grant.actions
                case _:
                    raise AssertionError(frame)
            # Everything can be written, and read by the other end as what it is.
            json.loads(encode(frame).encode())

    def members(self, channel: str) -> set[str]:
        return {self.grants[c].peer_id for c, own in self.subscriptions.items() if channel in own}


def handle(rooms: Rooms, witness: Witness, connection: int, text: str) -> bool:
    """Let a connection say something; returns whether it was a frame at all."""
    try:
        frame = parse_client_frame(text)
    except FrameError as error:
        refusal = error
    else:
        outputs = rooms.handle(connection, frame)
        witness.asked(connection, frame, outputs)
        witness.judge(outputs, connection, frame)
        return True
    assert refusal.code in set(ErrorCode) - {ErrorCode.INTERNAL_ERROR, ErrorCode.BACKEND_ERROR}
    encode(ErrorFrame(refusal.code, refusal.request_id, str(refusal))).encode()
    return False


# ---- the pure part, step by step ------------------------------------------------------------------------

RIGHTS = [ALL_ACTIONS, DEFAULT_ACTIONS, frozenset({Action.SUBSCRIBE, Action.SEND}), frozenset()]
PATTERNS = [(("**",),), (("fuzz",),), (("fuzz/*", "pair"),), (("**",), ("pair",)), (("*",), ("**",))]
GRANTS = st.builds(
    Grant,
    st.sampled_from(["alice", "bob", "eve"]),
    st.sampled_from(RIGHTS),
    st.sampled_from(PATTERNS),
    st.sampled_from([None, {}, {"name": "\ud83d"}]),
)
CHANNELS = st.sampled_from(["fuzz", "fuzz/1", "pair", "*", "**", "fuzz/*", "_system/x", "\\*", "a\\"])
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES[:5])},
    optional={
        "channel": CHANNELS,
        "to": st.sampled_from(["alice", "bob", "nobody"]),
        "data": st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=5),
        "requestId": st.text(max_size=130) | st.none(),
        "includeSenderMetadata": st.booleans() | st.none(),
    },
).map(json.dumps)
JUNK = st.lists(
    st.sampled_from([*SNIPPETS, '{"type":"publish"', ',"channel":', *"{}:,"]) | st.text(max_size=5),
    max_size=12,
).map("".join)


class HubMachine(RuleBasedStateMachine):
    """Several connections with different rights say whatever they like."""

    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.rooms, self.witness, self.count = Rooms(), Witness(), 0

    @rule(target=connections, grant=GRANTS)
    def connect(self, grant: Grant) -> int:
        self.count += 1
        self.rooms.connect(self.count, grant)
        self.witness.connected(self.count, grant)
        return self.count

    @rule(connection=consumes(connections))
    def disconnect(self, connection: int) -> None:
        outputs = self.rooms.disconnect(connection)
        self.witness.disconnected(connection)
        self.witness.judge(outputs, None, None)

    @rule(connection=connections, text=FRAMES)
    def says(self, connection: int, text: str) -> None:
        handle(self.rooms, self.witness, connection, text)

    @rule(connection=connections, text=JUNK)
    def babbles(self, connection: int, text: str) -> None:
        handle(self.rooms, self.witness, connection, text)

    @rule(channel=CHANNELS.filter(lambda name: not is_wildcard(name)))
    def somebody_outside_publishes(self, channel: str) -> None:
        self.witness.judge(self.rooms.publish(channel, "system", 1, {"a": 1}), None, None)

    @invariant()
    def rosters_are_right(self) -> None:
        for channel in ("fuzz", "fuzz/1", "pair"):
            members = [member.peer_id for member in self.rooms.members(channel)]
            assert len(members) == len(set(members))
            assert set(members) == self.witness.members(channel)

    def teardown(self) -> None:
        for connection in list(self.witness.grants):
            self.disconnect(connection)
        assert self.rooms.is_empty()


TestHubMachine = HubMachine.TestCase
TestHubMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# ---- the pure part, in bulk -----------------------------------------------------------------------------


def pour_into_rooms(total_bytes: int, seed: int) -> Counter[str]:
    rooms, witness = Rooms(), Witness()
    garbage, count = Garbage(seed, NAMES), 0
    thrown: Counter[str] = Counter()
    rights = [ALL_ACTIONS, DEFAULT_ACTIONS, frozenset({Action.SUBSCRIBE, Action.PRESENCE})]
    patterns: list[Any] = [(("**",),), (("fuzz", "fuzz/*"),), (("**",), ("pair*",))]
    while thrown["bytes"] < total_bytes:
        if len(witness.grants) < 6:
            count += 1
            pick = garbage.random.choice
            grant = Grant(pick(NAMES[-2:]), pick(rights), pick(patterns), pick([None, {"name": "x"}]))
            rooms.connect(count, grant)
            witness.connected(count, grant)
        connection = garbage.random.choice(list(witness.grants))
        if garbage.random.random() < 0.01:
            outputs = rooms.disconnect(connection)
            witness.disconnected(connection)
            witness.judge(outputs, None, None)
            continue
        item = garbage.one()
        text = item if isinstance(item, str) else item.decode("latin-1")
        thrown["bytes"] += size_bytes(item)
        thrown["frames"] += 1
        thrown["understood"] += handle(rooms, witness, connection, text)
    for connection in list(witness.grants):
        rooms.disconnect(connection)
    assert rooms.is_empty()
    return thrown


def test_megabytes_into_the_rooms() -> None:
    thrown = pour_into_rooms(20 * MEGABYTE, seed=1)
    assert thrown["frames"] > 2000
    assert 0.1 < thrown["understood"] / thrown["frames"] < 0.9


@pytest.mark.network
@pytest.mark.timeout(300)
def test_hundreds_of_megabytes_into_the_rooms() -> None:
    for seed in range(2, 12):
        print(seed, pour_into_rooms(40 * MEGABYTE, seed))


# ---- over real sockets ----------------------------------------------------------------------------------


async def read_on(websocket: ClientConnection, allowed: Any, seen: Counter[str]) -> None:
    """Read what a hostile client is sent, as fast as it comes, and judge it."""
    with suppress(ConnectionClosed):
        async for text in websocket:
            frame = json.loads(text)
            seen[frame["type"]] += 1
            assert allowed(frame), frame


async def attack(hub: RunningHub, query: str, seed: int, budget: Counter[str], allowed: Any) -> None:
    """Throw garbage at the hub on one connection after another until the budget is used up."""
    garbage = Garbage(seed, NAMES)
    while budget["bytes"] > 0:
        async with client(hub, query, max_queue=None) as raw:
            assert (await raw.read())["type"] == "welcome"
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_on(raw.websocket, allowed, budget))
                with suppress(ConnectionClosed):
                    for _ in range(300):
                        item = garbage.one()
                        budget["bytes"] -= size_bytes(item)
                        budget["frames"] += 1
                        pieces = garbage.random.random() < 0.1 and len(item) > 1
                        half = len(item) // 2
                        await raw.websocket.send([item[:half], item[half:]] if pieces else item)
                        if garbage.random.random() < 0.02:
                            await raw.websocket.ping(garbage.bytes()[:125])
                    await raw.websocket.send('{"type":"farewell","requestId":"the last"}')
                match garbage.random.randrange(3):
                    case 0:
                        raw.websocket.transport.abort()
                    case 1:
                        raw.websocket.transport.write_eof()
                    case 2:
                        await raw.websocket.close()
                await reading
        budget["connections"] += 1


async def converse(hub: RunningHub, done: asyncio.Event) -> int:
    """Two well-behaved clients in a room of their own: each message arrives, in order, and nothing else."""
    async with (
        client(hub, token(hub, peer_id="quiet-1", channels=["quiet"])) as one,
        client(hub, token(hub, peer_id="quiet-2", channels=["quiet"])) as two,
    ):
        for raw in (one, two):
            await raw.read()
            await raw.subscribe("quiet")
        assert (await one.read())["joined"] == [{"peerId": "quiet-2"}]
        number = 0
        while not done.is_set():
            number += 1
            await two.write(type="publish", channel="quiet", data=number)
            message = {"type": "message", "channel": "quiet", "from": "quiet-2", "data": number}
            assert await one.read() == message
            await one.write(type="send", to="quiet-2", data=number, requestId=str(number))
            assert await one.read() == {"type": "ack", "requestId": str(number)}
            assert await two.read() == {"type": "direct", "from": "quiet-1", "data": number}
        assert len(hub.hub.rooms.members("quiet")) == 2
    return number


def narrow(frame: dict[str, Any]) -> bool:
    """What one may hear who is let into fuzz/ alone."""
    return "channel" not in frame or frame["channel"] == "fuzz" or frame["channel"].startswith("fuzz/")


def no_rosters(frame: dict[str, Any]) -> bool:
    """One who may do everything hears everything by asking for ``**``; but no room's presence that way."""
    return frame["type"] != "presence" or frame["channel"] != "quiet"


async def pour_into_hub(hub: RunningHub, total_bytes: int, seed: int) -> tuple[Counter[str], int]:
    done = asyncio.Event()
    budget: Counter[str] = Counter(bytes=total_bytes)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        talking = tasks.create_task(converse(hub, done))
        async with asyncio.TaskGroup() as attackers:
            attack_with = (
                (f"key={quote(hub.key, safe='')}", no_rosters),
                ("key=pk_narrow", narrow),
                (token(hub, peer_id="eve", channels=["fuzz", "fuzz/*"]), narrow),
            )
            for number, (query, allowed) in enumerate(attack_with):
                attackers.create_task(attack(hub, query, seed + number, budget, allowed))
        done.set()
        await talking
    return budget, talking.result()


def fuzz_options() -> HubOptions:
    key = PublishableKey("pk_narrow", ("fuzz", "fuzz/*"), ALL_ACTIONS)
    return HubOptions(publishable_keys=(key,), connects_per_minute=None, message_rate=None)


async def test_megabytes_over_sockets(start_hub: StartHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with start_hub(fuzz_options()) as hub:
        thrown, exchanged = await pour_into_hub(hub, 20 * MEGABYTE, seed=100)
        assert exchanged > 10
        assert thrown["error"] > 100
        await hub.hub.close()
        assert hub.hub.rooms.is_empty()
        assert not hub.hub._connections
    assert not caplog.records


@pytest.mark.network
@pytest.mark.timeout(300)
async def test_many_megabytes_over_sockets(start_hub: StartHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with start_hub(fuzz_options()) as hub:
        for seed in (200, 300, 400):
            print(seed, await pour_into_hub(hub, 20 * MEGABYTE, seed))
        await hub.hub.close()
        assert hub.hub.rooms.is_empty()
    assert not caplog.records
