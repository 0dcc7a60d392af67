"""Tracks that change, between our peer and the vendor's Python client."""

from __future__ import annotations

import asyncio

import metered_realtime as vendor
import pytest
from metered_realtime.media_io import AudioSource as VendorSource

from agent.realtime import AudioSource, TrackAdded, TrackEnded, iter_speech
from tests.agent.realtime.peer_parts import participant, speak, tone
from tests.agent.realtime.test_vendor_sdk import OUR_HZ, VENDOR_HZ, VendorParticipant, vendor_participant
from tests.conftest import RunningHub

BOTH_ROLES = pytest.mark.parametrize("our_id", ["~agent", "!agent"], ids=["impolite", "polite"])


async def stream_removed(they: VendorParticipant, our_id: str) -> str:
    """The id of the next stream of ours that ends; only who reads a track is told."""
    ended: asyncio.Queue[str] = asyncio.Queue()
    remote = next(peer for peer in they.peer.remote_peers if peer.id == our_id)
    remote.on(vendor.StreamRemoved, lambda event: ended.put_nowait(event.stream.id))
    async for _ in iter_speech(they.heard):
        pass
    return await ended.get()


@BOTH_ROLES
async def test_the_vendor_sees_our_track_end_and_hears_the_next(hub: RunningHub, our_id: str):
    async with participant(hub, our_id, says_hz=OUR_HZ) as we, vendor_participant(hub, "caller") as they:
        await they.hears(OUR_HZ)
        we.peer.remove_track(we.source)
        assert await stream_removed(they, our_id) == f"{our_id}-voice"
        we.peer.add_track(we.source, stream_id="second", metadata={"role": "second"})
        streams, metadata = await they.hears(OUR_HZ)
        assert (streams, metadata) == (["second"], {"role": "second"})
        await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")


async def test_the_vendor_hears_what_replaces_our_track(hub: RunningHub):
    async with (
        participant(hub, "agent", says_hz=OUR_HZ) as we,
        vendor_participant(hub, "caller") as they,
        AudioSource() as other,
        asyncio.TaskGroup() as tasks,
    ):
        await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
        saying = tasks.create_task(speak(other, tone(2000)))
        sent, waiting = we.source, other
        for _ in range(21):
            we.peer.replace_track(sent, waiting)
            sent, waiting = waiting, sent
        await they.hears(2000)
        saying.cancel()


@BOTH_ROLES
async def test_we_see_the_vendors_tracks_come_and_go(hub: RunningHub, our_id: str):
    async with participant(hub, our_id, says_hz=OUR_HZ) as we, vendor_participant(hub, "caller") as they:
        await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
        second = VendorSource(input_rate=16_000, max_buffered_seconds=0.5)
        they.peer.add_track(second, vendor.MediaStream(id="second"), metadata={"n": 2})
        added = await we.event(TrackAdded, stream_id="second")
        assert added.metadata == {"n": 2}
        they.peer.remove_track(second)
        ended = await we.event(TrackEnded)
        assert ended.track is added.track
        assert [track.stream_id for track in added.remote.tracks] == ["vendor-voice"]
        await they.hears(OUR_HZ)
