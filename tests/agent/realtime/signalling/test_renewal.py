"""Before a token runs out there is a new connection, and nobody notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from agent.hub import HubOptions
from agent.realtime import DataReceived
from agent.realtime.frames import Direct, Member, Message, Presence, Welcome, encode
from agent.realtime.ice_servers import IceServer
from agent.realtime.signalling import renewal
from agent.realtime.signalling.client import SignallingClient, SignallingState
from agent.realtime.signalling.events import Connected, Disconnected, Event, Renewed
from agent.realtime.signalling.renewal import renew_after_s
from tests.agent.realtime.peer_parts import participant, token_provider
from tests.agent.realtime.signalling_parts import Prompt, Script, expect, scripted
from tests.conftest import RunningHub, StartHub


@pytest.fixture
async def hub(start_hub: StartHub) -> AsyncIterator[RunningHub]:
    """Takes as much as these tests have to say."""
    async with start_hub(HubOptions(connects_per_minute=None, message_rate=None)) as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of four seconds are replaced after a third of a second."""
    monkeypatch.setattr(renewal, "MIN_AGE_S", 0.1)
    monkeypatch.setattr(renewal, "MAX_LEAD_SHARE", 0.9)


class Follower:
    """Reads what a client tells, to its end."""

    def __init__(self, client: SignallingClient) -> None:
        self.client = client
        self.seen: list[Event] = []
        self._changed = asyncio.Event()

    async def run(self) -> None:
        async for event in self.client.events():
            self.seen.append(event)
            self._changed.set()

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    async def until(self, kind: type[Any], count: int) -> None:
        while len(self.all(kind)) < count:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def following(client: SignallingClient) -> AsyncIterator[Follower]:
    follower = Follower(client)
    async with asyncio.TaskGroup() as tasks, client:
        tasks.create_task(follower.run())
        yield follower


# ---- when -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime_s", "spread", "expected_s"),
    [
        # A fifth is left, and who joined together does not come back together.
        (3601, -1, 2880),
        (3601, 1, 2700),
        (601, -1, 480),
        # Half a minute is left for another attempt.
        (101, -1, 70),
        (101, 1, 65),
        # Half the lifetime, where that is less.
        (11, -1, 5),
        # Not at once, however short.
        (5, -1, 3),
        # Too short to be replaced: it runs out, and is replaced then.
        (3, -1, None),
        (1, -1, None),
        (0, -1, None),
        (-3600, -1, None),
        # Timers do not reach that far.
        (10**12, -1, 30 * 86_400),
    ],
)
def test_when_a_token_is_replaced(lifetime_s: int, spread: float, expected_s: float | None) -> None:
    for server_time in (0, 1_700_000_000, -5):
        welcome = Welcome("me", server_time + lifetime_s, server_time, 65536)
        assert renew_after_s(welcome, spread) == pytest.approx(expected_s)


def test_a_key_does_not_run_out() -> None:
    assert renew_after_s(Welcome("me", None, 1, 65536), 0) is None


# ---- against the hub ------------------------------------------------------------------------------------


async def test_what_others_say_meanwhile_comes_once_and_in_order(hub: RunningHub, hurried: None) -> None:
    provider = token_provider(hub, "~agent", expires_in_s=4)
    async with (
        following(SignallingClient(hub.url, key=hub.key)) as caller,
        following(SignallingClient(hub.url, token_provider=provider)) as agent,
    ):
        await caller.client.subscribe("room")
        await agent.client.subscribe("room")

        async def talk() -> int:
            number = 0
            while len(agent.all(Renewed)) < 4:
                await asyncio.gather(
                    caller.client.send("~agent", number), caller.client.publish("room", number)
                )
                number += 1
            return number

        count = await talk()
        await agent.until(Message, count)
        await agent.until(Direct, count)
        assert [event.data for event in agent.all(Direct)] == list(range(count))
        assert [event.data for event in agent.all(Message)] == list(range(count))
        # There was always one of us in the room, and nobody saw more than that.
        assert caller.all(Presence) == [Presence("room"), Presence("room", joined=(Member("~agent"),))]
        assert [type(event) for event in agent.seen if not isinstance(event, Message | Direct | Renewed)] == [
            Connected,
            Presence,
        ]
        assert len(hub.hub._connections) <= 3


async def test_what_we_say_meanwhile_arrives_once_and_in_order(hub: RunningHub, hurried: None) -> None:
    provider = token_provider(hub, "~agent", expires_in_s=4)
    async with (
        following(SignallingClient(hub.url, token_provider=token_provider(hub, "caller"))) as caller,
        following(SignallingClient(hub.url, token_provider=provider)) as agent,
    ):
        sending: list[asyncio.Task[None]] = []
        while len(agent.all(Renewed)) < 4:
            # Not one after the other: some wait for the switch, some for their answer.
            sending.append(asyncio.create_task(agent.client.send("caller", len(sending))))
            await asyncio.sleep(0.001)
        await asyncio.gather(*sending)
        await caller.until(Direct, len(sending))
        assert [event.data for event in caller.all(Direct)] == list(range(len(sending)))


async def test_who_comes_and_goes_meanwhile_is_told_once(hub: RunningHub, hurried: None) -> None:
    provider = token_provider(hub, "~agent", expires_in_s=4)
    async with following(SignallingClient(hub.url, token_provider=provider)) as agent:
        await agent.client.subscribe("room")
        number = 0

        async def visit(name: str) -> None:
            async with following(
                SignallingClient(hub.url, token_provider=token_provider(hub, name))
            ) as guest:
                await guest.client.subscribe("room")

        async with following(SignallingClient(hub.url, token_provider=token_provider(hub, "host"))) as host:
            await host.client.subscribe("room")
            while len(agent.all(Renewed)) < 4:
                await asyncio.gather(visit(f"guest-{number}"), visit(f"guest-{number + 1}"))
                number += 2
            present: set[str] = set()
            for presence in agent.all(Presence):
                joined = {member.peer_id for member in presence.joined}
                left = {member.peer_id for member in presence.left}
                assert not joined & present
                assert left <= present
                present = (present | joined) - left
            assert present == {"host"}


async def test_channels_are_those_of_the_moment(hub: RunningHub, hurried: None) -> None:
    provider = token_provider(hub, "~agent", expires_in_s=4)
    async with (
        following(SignallingClient(hub.url, key=hub.key)) as caller,
        following(SignallingClient(hub.url, token_provider=provider)) as agent,
    ):
        await agent.client.subscribe("kept")
        await agent.client.subscribe("left")
        await agent.client.unsubscribe("left")
        await agent.until(Renewed, 1)
        await agent.client.subscribe("late")
        await agent.until(Renewed, 2)
        for channel in ("left", "late", "kept"):
            await caller.client.publish(channel, channel)
        await agent.until(Message, 2)
        assert [event.channel for event in agent.all(Message)] == ["late", "kept"]


async def test_another_name_in_the_token_is_no_replacement(hub: RunningHub, hurried: None) -> None:
    names = iter(["one", "other", "third"])

    async def provider() -> str:
        return await token_provider(hub, next(names), expires_in_s=2)()

    client = SignallingClient(hub.url, token_provider=provider, reconnect=Prompt())
    async with client:
        assert (await expect(client, Connected)).peer_id == "one"
        assert (await expect(client, Disconnected)).code == 4002
        # The second token was tried, and given back.
        assert (await expect(client, Connected)).peer_id == "third"


async def test_nothing_is_left_when_the_client_is_closed_meanwhile(hub: RunningHub, hurried: None) -> None:
    before = asyncio.all_tasks()
    asked = asyncio.Event()

    async def provider() -> str:
        if agent.state is SignallingState.CONNECTED:
            asked.set()
        return await token_provider(hub, "~agent", expires_in_s=4)()

    agent = SignallingClient(hub.url, token_provider=provider)
    for turns in range(8):
        agent = SignallingClient(hub.url, token_provider=provider)
        asked.clear()
        await agent.connect()
        await agent.subscribe("room")
        await asked.wait()
        # Every step of the renewal is some turns of the loop away.
        for _ in range(2**turns % 97):
            await asyncio.sleep(0)
        await agent.close()
    await hub.hub.close()
    assert not {task for task in asyncio.all_tasks() - before if "signalling" in repr(task)}


async def test_a_call_does_not_notice(hub: RunningHub, hurried: None) -> None:
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "~agent", says_hz=1000, expires_in_s=4) as agent,
    ):
        await alice.hears("~agent", 1000)
        await agent.hears("alice", 440)
        seen_by_alice, seen_by_agent = len(alice.seen), len(agent.seen)
        first = set(hub.hub._connections)
        while first & set(hub.hub._connections) == first:
            await alice.hears("~agent", 1000)
        await alice.hears("~agent", 1000)
        await agent.hears("alice", 440)
        await agent.peer.send({"still": "here"})
        await alice.event(DataReceived, data={"still": "here"})
        assert [type(event) for event in alice.seen[seen_by_alice:]] == [DataReceived]
        assert agent.seen[seen_by_agent:] == []


# ---- against servers that do not play along -------------------------------------------------------------


async def no_secret() -> str:
    return "token"


def lasting(lifetime_s: int = 5, **metadata: Any) -> str:
    return encode(Welcome("me", 1_700_000_000 + lifetime_s, 1_700_000_000, 65536, metadata or None))


def obliging(greeting: str, heard: list[Any], *then: str) -> Script:
    """Answers every request; says `then` after the first."""

    async def script(websocket: ServerConnection) -> None:
        await websocket.send(greeting)
        first = True
        async for text in websocket:
            frame = json.loads(text)
            heard.append(frame)
            await websocket.send(json.dumps({"type": "ack", "requestId": frame["requestId"]}))
            for line in then if first else ():
                await websocket.send(line)
            first = False

    return script


def saying_nothing(greeting: str) -> Script:
    async def script(websocket: ServerConnection) -> None:
        await websocket.send(greeting)
        await websocket.wait_closed()

    return script


async def refusing(websocket: ServerConnection) -> None:
    await websocket.close(1013, "try again later")


async def test_a_failed_attempt_leaves_the_old_connection_and_is_repeated(
    hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "SWITCH_S", 0.1)
    old: list[Any] = []
    new: list[Any] = []
    scripts = [obliging(lasting(), old), refusing, saying_nothing(lasting()), obliging(lasting(3600), new)]
    async with (
        scripted(*scripts) as url,
        following(SignallingClient(url, token_provider=no_secret)) as agent,
    ):
        await agent.client.subscribe("room", include_sender_metadata=True)
        publishing = 0
        while not agent.all(Renewed):
            # While the third server says nothing, this waits, and then goes the old way.
            await agent.client.publish("room", publishing)
            publishing += 1
        await agent.client.publish("room", "last")
        said = [frame["data"] for frame in old + new if frame["type"] == "publish"]
        assert said == [*range(publishing), "last"]
        assert new[0]["type"] == "subscribe"
        assert new[0]["includeSenderMetadata"] is True
        assert not agent.all(Disconnected)


async def test_servers_for_media_come_with_the_new_token(hurried: None) -> None:
    def offer(url: str, lifetime_s: int) -> Script:
        return obliging(lasting(lifetime_s, iceServers=[{"urls": url}]), [])

    async with (
        scripted(offer("turn:old.example", 4), offer("turn:new.example", 3600)) as url,
        following(SignallingClient(url, token_provider=no_secret)) as agent,
    ):
        await agent.until(Renewed, 1)
        assert agent.all(Connected)[0].ice_servers == (IceServer(("turn:old.example",)),)
        assert agent.all(Renewed)[0].ice_servers == (IceServer(("turn:new.example",)),)


async def test_a_server_without_snapshots_does_not_empty_the_room(
    hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "ROSTERS_S", 0.05)
    snapshot = encode(Presence("room", joined=(Member("bob"),)))
    async with (
        scripted(obliging(lasting(), [], snapshot), obliging(lasting(3600), [])) as url,
        following(SignallingClient(url, token_provider=no_secret)) as agent,
    ):
        await agent.client.subscribe("room")
        await agent.until(Renewed, 1)
        await agent.client.publish("room", 1)
        assert agent.all(Presence) == [Presence("room", joined=(Member("bob"),))]


async def test_a_server_that_takes_us_for_gone_is_joined_again_and_not_renewed_at(hurried: None) -> None:
    gone = encode(Presence("room", left=(Member("me"),)))
    connections: list[list[Any]] = [[], [], []]

    async def mistaken(websocket: ServerConnection) -> None:
        # It tells when the first connection has ended, which is after the second's subscription.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(obliging(lasting(), connections[1])(websocket), tell(websocket))

    async def tell(websocket: ServerConnection) -> None:
        await ended.wait()
        await websocket.send(gone)

    ended = asyncio.Event()

    async def first(websocket: ServerConnection) -> None:
        await obliging(lasting(), connections[0])(websocket)
        ended.set()

    async with (
        scripted(first, mistaken, obliging(lasting(), connections[2])) as url,
        following(SignallingClient(url, token_provider=no_secret, reconnect=Prompt())) as agent,
    ):
        await agent.client.subscribe("room")
        await agent.until(Connected, 2)
        assert agent.all(Disconnected) == [Disconnected(4000, "taken for gone", True)]
        while not connections[2]:
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)
        assert len(agent.all(Renewed)) == 1
