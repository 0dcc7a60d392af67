"""Data channels between peers of ours: through rebuilds, under load, and against those who send too much."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import pytest
from aiortc.rtcsctptransport import DataChunk

from agent.realtime import (
    ChannelClosedError,
    ChannelFullError,
    ChannelOverflowError,
    DataChannel,
    DataChannelOpened,
    PeerJoined,
    PeerLeft,
)
from agent.realtime.connections.aiortc_seam import DATA_ABORTS
from agent.realtime.connections.channels import (
    HIGH_WATER_BYTES,
    MAX_CHANNELS,
    MAX_MESSAGE_BYTES,
    MAX_WAITING_BYTES,
    MAX_WAITING_MESSAGES,
    MAX_WAITING_SENDS,
)
from tests.agent.realtime.peer_parts import Participant, participant
from tests.conftest import RunningHub


async def connect(alice: Participant, abe: Participant, label: str = "data", **properties) -> tuple:
    """The two ends of a channel that alice opens to abe."""
    await alice.event(PeerJoined, remote="abe")
    ours = await alice.peer.remote_peers["abe"].create_data_channel(label, **properties)
    await abe.until(lambda: label in opened(abe))
    return ours, opened(abe)[label]


def opened(someone: Participant) -> dict[str, DataChannel]:
    events = [event for event in someone.seen if isinstance(event, DataChannelOpened)]
    return {event.channel.label: event.channel for event in events}


@pytest.mark.parametrize("opener", ["alice", "abe"])
async def test_messages_both_ways_without_any_track(hub: RunningHub, opener: str):
    """abe < alice: he is the one to wait, and she the one to offer at once."""
    other = "abe" if opener == "alice" else "alice"
    async with (
        participant(hub, opener, sends=False) as one,
        participant(hub, other, sends=False) as two,
    ):
        await one.event(PeerJoined, remote=other)
        ours = await one.peer.remote_peers[other].create_data_channel("data")
        assert (ours.state, ours.label) == ("open", "data")
        theirs = (await two.event(DataChannelOpened, remote=opener)).channel
        for message in ("text", "", "Zoë", b"\x00\xff", b"", "x" * MAX_MESSAGE_BYTES):
            await ours.send(message)
            assert await anext(theirs) == message
            await theirs.send(message)
            assert await anext(ours) == message
        ours.close()
        assert [message async for message in theirs] == []
        assert (ours.state, theirs.state) == ("closed", "closed")
        with pytest.raises(ChannelClosedError):
            await theirs.send("too late")


async def test_a_channel_beside_sound(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "abe", says_hz=1000) as abe,
    ):
        await abe.hears("alice", 440)
        ours, theirs = await connect(alice, abe)
        await theirs.send("over here")
        assert await anext(ours) == "over here"
        second = await abe.peer.remote_peers["alice"].create_data_channel("second", max_retransmits=0)
        await alice.until(lambda: "second" in opened(alice))
        await second.send(b"lossy")
        assert await anext(opened(alice)["second"]) == b"lossy"
        assert opened(alice)["second"].max_retransmits == 0
        await abe.hears("alice", 440)
        await alice.hears("abe", 1000)


@pytest.mark.parametrize("breaker", ["alice", "abe"])
async def test_both_ends_go_on_after_the_connection_was_made_anew(hub: RunningHub, breaker: str):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "abe", says_hz=1000) as abe,
    ):
        await abe.hears("alice", 440)
        ours, theirs = await connect(alice, abe)
        mine = await abe.peer.remote_peers["alice"].create_data_channel("mine")
        await alice.until(lambda: "mine" in opened(alice))
        yours = opened(alice)["mine"]
        for number in range(1):
            someone, other = (alice, "abe") if breaker == "alice" else (abe, "alice")
            await someone.peer.remote_peers[other]._connections.current._pc.close()
            for near, far in itertools.permutations((ours, theirs), 2):
                await near.send(f"after break {number}")
                assert await anext(far) == f"after break {number}"
            for near, far in itertools.permutations((mine, yours), 2):
                await near.send(b"%d" % number)
                assert await anext(far) == b"%d" % number
        assert [len([e for e in s.seen if isinstance(e, DataChannelOpened)]) for s in (alice, abe)] == [
            1,
            1,
        ]
        await abe.hears("alice", 440)


async def test_sending_waits_for_the_network(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "abe", sends=False) as abe,
    ):
        ours, theirs = await connect(alice, abe)
        count = 12
        message = b"x" * MAX_MESSAGE_BYTES
        most = 0

        async def send_all() -> None:
            nonlocal most
            for _ in range(count):
                await ours.send(message)
                most = max(most, ours._raw.bufferedAmount)

        sending = asyncio.create_task(send_all())
        for _ in range(count):
            assert len(await anext(theirs)) == MAX_MESSAGE_BYTES
        await sending
        assert HIGH_WATER_BYTES // 2 < most <= HIGH_WATER_BYTES


async def test_a_reliable_channel_nobody_reads_is_closed_and_says_so(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "abe", sends=False) as abe,
    ):
        ours, theirs = await connect(alice, abe)
        with suppress(ChannelClosedError):
            while True:
                await ours.send("unread")
        for _ in range(MAX_WAITING_MESSAGES):
            assert await anext(theirs) == "unread"
        with pytest.raises(ChannelOverflowError):
            await anext(theirs)
        assert theirs.state == "closed"


async def test_bytes_unread_are_bounded_for_all_channels_of_a_peer(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "abe", sends=False) as abe,
    ):
        pairs = [await connect(alice, abe, f"{n}") for n in range(3)]
        with suppress(ChannelClosedError):
            while True:
                for ours, _ in pairs:
                    await ours.send(b"x" * MAX_MESSAGE_BYTES)
        assert abe.peer.remote_peers["alice"]._channels.waiting_bytes <= MAX_WAITING_BYTES


async def test_a_lossy_channel_nobody_reads_keeps_the_newest(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "abe", sends=False) as abe,
    ):
        ours, theirs = await connect(alice, abe, max_retransmits=3)
        for number in range(MAX_WAITING_MESSAGES + 10):
            await ours.send(str(number))
        control, mark = await connect(alice, abe, "mark")
        await control.send("all sent")
        await anext(mark)
        while (last := await anext(theirs)) != str(MAX_WAITING_MESSAGES + 9):
            assert int(last) >= 10
        assert (ours.state, theirs.state) == ("open", "open")


async def test_what_a_channel_refuses(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "abe", sends=False) as abe,
    ):
        ours, _ = await connect(alice, abe)
        remote = alice.peer.remote_peers["abe"]
        with pytest.raises(ValueError, match=f"this one has {MAX_MESSAGE_BYTES + 1}"):
            await ours.send(b"x" * (MAX_MESSAGE_BYTES + 1))
        for label in ("", "x" * 129, "Zoë", "a\nb"):
            with pytest.raises(ValueError, match="printable ASCII"):
                await remote.create_data_channel(label)
        with pytest.raises(ValueError, match="max_retransmits"):
            await remote.create_data_channel("x", max_retransmits=-1)
        for number in range(MAX_CHANNELS - 1):
            await remote.create_data_channel(str(number))
        with pytest.raises(ValueError, match=f"at most {MAX_CHANNELS}"):
            await remote.create_data_channel("one too many")


async def test_waiting_for_an_open_channel_is_bounded_and_ends_with_the_peer(hub: RunningHub):
    async with participant(hub, "alice", sends=False) as alice:
        async with participant(hub, "abe", sends=False) as abe:
            ours, _ = await connect(alice, abe)
            remote = alice.peer.remote_peers["abe"]
            ours._raw = None
            waiting = [asyncio.create_task(ours.send("x")) for _ in range(MAX_WAITING_SENDS)]
            await asyncio.sleep(0)
            with pytest.raises(ChannelFullError):
                await ours.send("x")
        await alice.event(PeerLeft)
        for send in waiting:
            with pytest.raises(ChannelClosedError):
                await send
        with pytest.raises(ChannelClosedError):
            await remote.create_data_channel("gone")


async def test_who_gives_up_waiting_leaves_no_channel_behind(hub: RunningHub):
    async with participant(hub, "alice", sends=False) as alice, participant(hub, "abe", sends=False):
        await alice.event(PeerJoined)
        remote = alice.peer.remote_peers["abe"]
        opening = asyncio.create_task(remote.create_data_channel("never"))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not remote._channels.wanted


async def test_messages_that_never_end_cost_the_sender_its_data_but_nobody_the_sound(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "abe", says_hz=1000) as abe,
    ):
        _, theirs = await connect(alice, abe)
        sctp = abe.peer.remote_peers["alice"]._connections.current._pc.sctp
        before = DATA_ABORTS._value.get()
        tsn = sctp._last_received_tsn
        while DATA_ABORTS._value.get() == before:
            tsn += 1
            chunk = DataChunk()
            chunk.tsn, chunk.stream_id, chunk.user_data = tsn, 1, b"x" * 1100
            assert sctp._advertised_rwnd >= 0
            await sctp._receive_data_chunk(chunk)
        assert theirs.state != "open"
        await abe.hears("alice", 440)
        await alice.hears("abe", 1000)
