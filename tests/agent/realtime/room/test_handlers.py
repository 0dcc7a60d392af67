"""What handlers of events may do, and what becomes of those that misbehave."""

from __future__ import annotations

import asyncio
import logging

import pytest

from agent.realtime import DataReceived, Peer, PeerJoined, PeerLeft, StateChanged
from agent.realtime.remote.peer_events import (
    DROPPED_EVENTS,
    MAX_WAITING_DATA,
    MAX_WAITING_EVENTS,
    PeerEvents,
)
from agent.realtime.room.handlers import FAILURES
from tests.agent.realtime.peer_parts import participant
from tests.conftest import RunningHub


async def test_the_first_example_runs(hub: RunningHub):
    async with participant(hub, "bob", sends=False) as bob:
        async with Peer(hub.url, key=hub.key) as peer:

            @peer.on(PeerJoined)
            async def greet(event):
                await peer.send_to(event.remote.id, {"hello": event.remote.id})

            await peer.join("room")
            await peer.send({"type": "chat", "text": "hello"})
            await bob.event(DataReceived, kind="direct", data={"hello": "bob"})
            await bob.event(DataReceived, kind="broadcast", data={"type": "chat", "text": "hello"})
        await bob.event(PeerLeft)


async def test_plain_functions_and_coroutines_once_and_off(hub: RunningHub):
    async with participant(hub, "bob", sends=False) as bob, Peer(hub.url, key=hub.key) as peer:
        plain, coroutine, once, never = [], asyncio.Queue(), [], []
        peer.on(DataReceived, lambda event: plain.append(event.data))
        peer.once(DataReceived, lambda event: once.append(event.data))
        peer.on(DataReceived, never.append)
        peer.off(DataReceived, never.append)

        @peer.on(DataReceived)
        async def take(event):
            await coroutine.put(event.data)

        await peer.join("room")
        await bob.event(PeerJoined)
        for number in range(3):
            await bob.peer.send(number)
            assert await coroutine.get() == number
        assert (plain, once, never) == ([0, 1, 2], [0], [])


async def test_a_handler_that_raises_disturbs_nobody_and_tells_no_secrets(hub: RunningHub, caplog):
    caplog.set_level(logging.DEBUG)
    before = FAILURES.labels("DataReceived")._value.get()
    async with participant(hub, "bob", sends=False) as bob, Peer(hub.url, key=hub.key) as peer:
        heard: asyncio.Queue[object] = asyncio.Queue()

        @peer.on(DataReceived)
        def fails(event):
            raise ValueError(f"secret {event.data}")

        @peer.on(DataReceived)
        async def fails_later(event):
            raise ValueError(f"secret {event.data}")

        peer.on(DataReceived, lambda event: heard.put_nowait(event.data))
        await peer.join("room")
        await bob.event(PeerJoined)
        for number in range(2):
            await bob.peer.send(number)
            assert await heard.get() == number
    assert FAILURES.labels("DataReceived")._value.get() == before + 4
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("agent")]
    assert [text for text in ours if "ValueError" in text]
    assert not [text for text in ours if "secret" in text]


async def test_leaving_gives_handlers_a_moment_and_then_ends_them(hub: RunningHub, monkeypatch):
    monkeypatch.setattr("agent.realtime.room.handlers.GRACE_S", 0.2)
    ended = []
    async with Peer(hub.url, key=hub.key) as peer:
        started = asyncio.Event()

        @peer.on(StateChanged)
        async def quick(event):
            await asyncio.sleep(0.01)
            ended.append("quick")

        @peer.once(StateChanged)
        async def endless(event):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("endless")
                raise

        await peer.join("room")
        await started.wait()
    assert set(ended) == {"quick", "endless"}


async def test_a_handler_may_leave(hub: RunningHub):
    async with participant(hub, "bob", sends=False) as bob, Peer(hub.url, key=hub.key) as peer:

        @peer.on(DataReceived)
        async def goodbye(event):
            await peer.leave()

        await peer.join("room")
        await bob.event(PeerJoined)
        await bob.peer.send("leave")
        async for _ in peer.events():
            pass
        assert peer.state == "closed"


async def test_messages_are_not_handed_to_ever_more_coroutines(hub: RunningHub):
    """Strangers decide how many messages come."""
    async with Peer(hub.url, key=hub.key) as peer:
        calls, go = [], asyncio.Event()

        @peer.on(DataReceived)
        async def slow(event):
            calls.append(event.data)
            await go.wait()

        for number in range(MAX_WAITING_DATA + 10):
            peer._handlers.dispatch(DataReceived("bob", number, "direct", None))
        await asyncio.sleep(0)
        assert len(calls) == MAX_WAITING_DATA
        go.set()
        while peer._handlers._running:
            await asyncio.sleep(0)
        peer._handlers.dispatch(DataReceived("bob", "again", "direct", None))
        await asyncio.sleep(0)
        assert calls[-1] == "again"


def test_events_nobody_reads_are_bounded():
    events, before = PeerEvents(), DROPPED_EVENTS._value.get()
    for number in range(MAX_WAITING_EVENTS + 5):
        events.put(StateChanged(None, str(number)))
    assert DROPPED_EVENTS._value.get() == before + 5
    assert events._waiting[0] == StateChanged(None, "5")
    assert len(events._waiting) == MAX_WAITING_EVENTS


@pytest.mark.parametrize("channel", ["_metered/x", "_System/x"])
async def test_reserved_channels_cannot_be_published_to(hub: RunningHub, channel: str):
    async with Peer(hub.url, key=hub.key) as peer:
        await peer.join("room")
        with pytest.raises(ValueError, match="reserved"):
            await peer.publish(channel, 1)


async def test_another_channel_can_be_published_to(hub: RunningHub):
    async with participant(hub, "bob", sends=False, room="news") as bob, Peer(hub.url, key=hub.key) as peer:
        await peer.join("room")
        await peer.publish("news", {"n": 1})
        assert (await bob.event(DataReceived)).data == {"n": 1}
