"""Our peer and the vendor's Python client in one room, through our hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import metered_realtime as vendor
import numpy as np
import pytest
from metered_realtime.media_io import AudioSource as VendorSource

from agent.realtime import DataReceived, PeerLeft, TrackAdded, iter_speech
from tests.agent.realtime.peer_parts import (
    EAR_BLOCKS,
    participant,
    pitch_hz,
    same_pitch,
    token_provider,
    tone,
)
from tests.conftest import RunningHub

VENDOR_HZ = 1000

#: Without any servers the vendor's client asks a public one; aiortc has no use for this one and asks nobody.
NO_SERVER = {"iceServers": [{"urls": "stuns:localhost"}]}
OUR_HZ = 440


class VendorParticipant:
    """The vendor's peer, saying a tone; what it hears is judged with our ears."""

    def __init__(self, peer: vendor.MeteredPeer) -> None:
        self.peer = peer
        #: The track listened to last.
        self.heard: object = None
        self.tracks: asyncio.Queue[tuple[object, list[str], object]] = asyncio.Queue()
        self.data: asyncio.Queue[vendor.Data] = asyncio.Queue()
        peer.on(vendor.PeerJoined, self._joined)
        peer.on(vendor.Data, self.data.put_nowait)

    def _joined(self, event: vendor.PeerJoined) -> None:
        event.peer.on(vendor.Track, self._track)

    def _track(self, event: vendor.Track) -> None:
        self.tracks.put_nowait((event.track, [stream.id for stream in event.streams], event.metadata))

    async def hears(self, hz: float) -> tuple[list[str], object]:
        """Wait for a track with this tone; returns its stream ids and metadata."""
        self.heard, streams, metadata = await self.tracks.get()
        window: list[np.ndarray] = []
        async for block in iter_speech(self.heard):
            window.append(block)
            if len(window) == EAR_BLOCKS:
                if same_pitch(pitch_hz(np.concatenate(window)), hz):
                    return streams, metadata
                window.clear()
        raise AssertionError("the track ended before the tone was heard")


@asynccontextmanager
async def vendor_participant(
    hub: RunningHub, peer_id: str, *, speaks: bool = True
) -> AsyncIterator[VendorParticipant]:
    source = VendorSource(input_rate=16_000, max_buffered_seconds=0.5)
    url = hub.url.replace("127.0.0.1", "localhost")
    provider = token_provider(hub, peer_id, metadata=NO_SERVER)
    async with vendor.MeteredPeer(token_provider=provider, url=url) as peer:
        someone = VendorParticipant(peer)
        if speaks:
            peer.add_track(source, vendor.MediaStream(id="vendor-voice"), metadata={"role": "caller"})

        async def speak() -> None:
            while True:
                await source.push(tone(VENDOR_HZ).samples.tobytes())

        speaking = asyncio.create_task(speak())
        try:
            await peer.join("room")
            yield someone
        finally:
            speaking.cancel()


@pytest.mark.parametrize("our_id", ["~agent", "!agent"], ids=["impolite", "polite"])
@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_audio_both_ways(hub: RunningHub, our_id: str, first: str):
    ours = participant(hub, our_id, says_hz=OUR_HZ)
    theirs = vendor_participant(hub, "caller")
    if first == "ours":
        async with ours as we, theirs as they:
            await hear_each_other(we, they, our_id)
    else:
        async with theirs as they, ours as we:
            await hear_each_other(we, they, our_id)


async def hear_each_other(we, they, our_id: str) -> None:
    await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
    assert (await we.event(TrackAdded, remote="caller")).metadata == {"role": "caller"}
    streams, metadata = await they.hears(OUR_HZ)
    assert streams == [f"{our_id}-voice"]
    assert metadata == {"role": "test"}


async def test_a_caller_without_a_microphone_hears_us(hub: RunningHub):
    async with participant(hub, "agent", says_hz=OUR_HZ), vendor_participant(hub, "x", speaks=False) as they:
        await they.hears(OUR_HZ)


async def test_data_both_ways(hub: RunningHub):
    async with participant(hub, "agent") as we, vendor_participant(hub, "caller") as they:
        await we.connected_to("caller")
        await we.peer.send({"n": 1})
        await we.peer.send_to("caller", {"n": 2})
        received = [await they.data.get(), await they.data.get()]
        assert sorted((event.kind, event.data["n"]) for event in received) == [
            ("broadcast", 1),
            ("direct", 2),
        ]
        assert {event.sender_peer_id for event in received} == {"agent"}
        await they.peer.send({"n": 3})
        await they.peer.send_to("agent", {"n": 4})
        assert (await we.event(DataReceived, kind="broadcast")).data == {"n": 3}
        assert (await we.event(DataReceived, kind="direct")).data == {"n": 4}


async def test_the_vendors_leaving_and_returning_is_followed(hub: RunningHub):
    async with participant(hub, "agent", says_hz=OUR_HZ) as we:
        for _ in range(2):
            we.seen.clear()
            async with vendor_participant(hub, "caller") as they:
                await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
                await they.hears(OUR_HZ)
            await we.event(PeerLeft, remote="caller")


async def test_a_rebuild_of_our_connection_is_followed_by_the_vendor(hub: RunningHub):
    """Only if our id is the greater: otherwise its client takes the offer for a collision, and ignores it."""
    async with (
        participant(hub, "~agent", says_hz=OUR_HZ) as we,
        vendor_participant(hub, "caller") as they,
    ):
        await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
        await they.hears(OUR_HZ)
        we.seen.clear()
        await we.peer.remote_peers["caller"]._connections.current._pc.close()
        await we.connected_to("caller")
        await we.hears("caller", VENDOR_HZ, stream_id="vendor-voice")
        await they.hears(OUR_HZ)
