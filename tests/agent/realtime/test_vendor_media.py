"""Tracks that change, between our peer and the vendor's Python client."""

from __future__ import annotations

import asyncio

import metered_realtime as vendor
import pytest
from aiortc import RTCDataChannel
from metered_realtime.media_io import AudioSource as VendorSource

from agent.realtime import (
    AudioSource,
    DataChannel,
    DataChannelOpened,
    PeerJoined,
    TrackAdded,
    TrackEnded,
)
from tests.agent.realtime.peer_parts import speak, tone
from tests.conftest import RunningHub
from tests.interop.sides import ours, vendor_python

BOTH_ROLES = pytest.mark.parametrize("our_id", ["~agent", "!agent"], ids=["impolite", "polite"])


@BOTH_ROLES
async def test_the_vendor_sees_our_track_end_and_hears_the_next(hub: RunningHub, our_id: str):
    async with ours(hub, our_id, 440) as we, vendor_python(hub, "caller", 1000) as they:
        await they.hears(we)
        ended: asyncio.Queue[str] = asyncio.Queue()
        they.remote(our_id).on(vendor.StreamRemoved, lambda event: ended.put_nowait(event.stream.id))
        we.inner.peer.remove_track(we.inner.source)
        assert await ended.get() == f"{our_id}-voice"
        we.inner.peer.add_track(we.inner.source, stream_id="second", metadata={"role": "second"})
        await they.hears(we)
        assert they.tracks[-1] == (our_id, ["second"], {"role": "second"})
        await we.hears(they)


async def test_the_vendor_hears_what_replaces_our_track(hub: RunningHub):
    async with (
        ours(hub, "agent", 440) as we,
        vendor_python(hub, "caller", 1000) as they,
        AudioSource() as other,
        asyncio.TaskGroup() as tasks,
    ):
        await we.hears(they)
        saying = tasks.create_task(speak(other, tone(2000)))
        sent, waiting = we.inner.source, other
        for _ in range(21):
            we.inner.peer.replace_track(sent, waiting)
            sent, waiting = waiting, sent
        we.says_hz = 2000
        await they.hears(we)
        saying.cancel()


@BOTH_ROLES
async def test_we_see_the_vendors_tracks_come_and_go(hub: RunningHub, our_id: str):
    async with ours(hub, our_id, 440) as we, vendor_python(hub, "caller", 1000) as they:
        await we.hears(they)
        second = VendorSource(input_rate=16_000, max_buffered_seconds=0.5)
        they.peer.add_track(second, vendor.MediaStream(id="second"), metadata={"n": 2})
        added = await we.inner.event(TrackAdded, stream_id="second")
        assert added.metadata == {"n": 2}
        they.peer.remove_track(second)
        ended = await we.inner.event(TrackEnded)
        assert ended.track is added.track
        assert [track.stream_id for track in added.remote.tracks] == ["vendor-voice"]
        await they.hears(we)


@BOTH_ROLES
@pytest.mark.parametrize("sound", [True, False], ids=["with-sound", "data-only"])
async def test_data_channels_opened_by_either_side_work_both_ways(hub: RunningHub, our_id: str, sound: bool):
    async with (
        ours(hub, our_id, 440 if sound else None) as we,
        vendor_python(hub, "caller", 1000 if sound else None) as they,
    ):
        remote = (await we.inner.event(PeerJoined, remote="caller")).remote
        opened: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        await they.until(lambda: any(peer.id == our_id for peer in they.peer.remote_peers))
        they.remote(our_id).on(vendor.DataChannelOpened, lambda event: opened.put_nowait(event.channel))
        await both_ways(await remote.create_data_channel("ours"), await opened.get())
        theirs = they.remote(our_id).create_data_channel("theirs")
        await both_ways((await we.inner.event(DataChannelOpened)).channel, theirs)
        if sound:
            await we.hears(they)


async def test_a_channel_we_opened_goes_on_after_a_rebuild(hub: RunningHub):
    async with ours(hub, "~agent", 440) as we, vendor_python(hub, "caller", 1000) as they:
        await they.hears(we)
        opened: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        they.remote("~agent").on(vendor.DataChannelOpened, lambda event: opened.put_nowait(event.channel))
        remote = we.inner.peer.remote_peers["caller"]
        channel = await remote.create_data_channel("ours")
        await both_ways(channel, await opened.get())
        await remote._connections.current._pc.close()
        await both_ways(channel, await opened.get())
        await they.hears(we)


async def both_ways(here: DataChannel, there: RTCDataChannel) -> None:
    received: asyncio.Queue[str | bytes] = asyncio.Queue()
    there.on("message", received.put_nowait)
    for message in ("text", b"bytes", ""):
        await here.send(message)
        assert await received.get() == message
        there.send(message)
        assert await anext(here) == message
