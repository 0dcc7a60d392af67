"""Tracks that change, between our peer and the vendor's Python client."""

from __future__ import annotations

import asyncio

import metered_realtime as vendor
import pytest
from metered_realtime.media_io import AudioSource as VendorSource

from agent.realtime import AudioSource, TrackAdded, TrackEnded
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
