"""Fails when a new aiortc no longer has the private parts that are reached into."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from agent.realtime.connections import aiortc_seam
from agent.realtime.negotiation import sdp
from agent.realtime.receiving.jitter import MAX_AHEAD_MS
from agent.realtime.receiving.receive import iter_speech
from agent.realtime.receiving.received_audio import DROPPED_FRAMES, MAX_WAITING_MS, ReceivedAudio


class Noise(MediaStreamTrack):
    """As much audio as is asked for, without waiting, until told to stop."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.go = asyncio.Event()
        self.go.set()

    async def recv(self) -> av.AudioFrame:
        await self.go.wait()
        await asyncio.sleep(0)
        frame = audio_frame(np.random.default_rng(self.frames).integers(-9000, 9000, 960))
        frame.pts, frame.time_base = self.frames * 960, Fraction(1, 48_000)
        self.frames += 1
        return frame


def audio_frame(samples: np.ndarray, rate_hz: int = 48_000, layout: str = "mono") -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout=layout)
    frame.sample_rate = rate_hz
    return frame


def new_connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def negotiate(offerer: RTCPeerConnection, answerer: RTCPeerConnection) -> None:
    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(answerer.localDescription)


@asynccontextmanager
async def noisy_pair() -> AsyncIterator[tuple[Noise, MediaStreamTrack, RTCPeerConnection]]:
    """A sender in full flood and the prepared track at the other end."""
    sender, receiver, noise = new_connection(), new_connection(), Noise()
    arrived: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()

    @receiver.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        arrived.put_nowait(aiortc_seam.prepare_received_track(receiver, track))

    sender.addTrack(noise)
    try:
        await negotiate(sender, receiver)
        yield noise, await arrived.get(), receiver
    finally:
        await asyncio.gather(sender.close(), receiver.close())


async def test_an_unread_track_keeps_a_second_and_drops_the_oldest():
    async with noisy_pair() as (_, track, _):
        dropped = DROPPED_FRAMES._value.get()
        while DROPPED_FRAMES._value.get() < dropped + 100:
            await asyncio.sleep(0.01)
        track.end()
        frames = await frames_of(track)
        assert sum(frame.samples for frame in frames) <= 48 * MAX_WAITING_MS


async def test_sound_takes_our_way_through_the_receiver_and_no_thread():
    async with noisy_pair() as (noise, track, receiver):
        frame = await track.recv()
        noise.go.clear()
        assert isinstance(track, ReceivedAudio)
        assert receiver.getReceivers()[0].track is track
        assert (frame.samples, frame.sample_rate, frame.layout.name) == (960, 48_000, "mono")
        assert track.counts.received > 0
        assert not [thread for thread in threading.enumerate() if thread.name == "audio-decoder"]


async def test_reading_ends_cleanly_when_the_connection_closes():
    async with noisy_pair() as (_, track, receiver):
        blocks = iter_speech(track)
        block = await anext(blocks)
        assert (block.dtype, block.shape) == (np.float32, (320,))
        await receiver.close()
        assert len([block async for block in blocks]) <= MAX_AHEAD_MS / 20
        assert track.readyState == "ended"


async def test_a_track_that_takes_over_gets_what_comes_from_then_on():
    async with noisy_pair() as (_, track, receiver):
        await track.recv()
        aiortc_seam.end_received_track(track)
        renewed = aiortc_seam.renew_received_track(receiver.getReceivers()[0])
        await renewed.recv()
        await frames_of(track)
        assert (track.readyState, renewed.readyState) == ("ended", "live")


async def frames_of(track: MediaStreamTrack) -> list[av.AudioFrame]:
    """All there are until it ends."""
    frames = []
    with suppress(MediaStreamError):
        while True:
            frames.append(await track.recv())
    return frames


async def test_every_description_asks_for_fec():
    aiortc_seam.ask_for_fec()
    offerer, answerer = new_connection(), new_connection()
    try:
        offerer.addTrack(Noise())
        await negotiate(offerer, answerer)
        for pc in (offerer, answerer):
            assert "useinbandfec=1" in pc.localDescription.sdp
    finally:
        await asyncio.gather(offerer.close(), answerer.close())


async def test_a_track_whose_receiver_never_started_can_be_ended():
    offerer, answerer = new_connection(), new_connection()
    tracks: list[MediaStreamTrack] = []
    answerer.on("track", tracks.append)
    try:
        offerer.addTrack(Noise())
        await offerer.setLocalDescription(await offerer.createOffer())
        await answerer.setRemoteDescription(offerer.localDescription)
        track = aiortc_seam.prepare_received_track(answerer, tracks[0])
        reading = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        aiortc_seam.end_received_track(track)
        with pytest.raises(MediaStreamError):
            await reading
    finally:
        await asyncio.gather(offerer.close(), answerer.close())


async def test_stream_and_track_are_called_as_wanted():
    pc = new_connection()
    try:
        track = Noise()
        aiortc_seam.set_track_id(track, "the-track")
        aiortc_seam.set_stream_id(pc.addTrack(track), "the-stream")
        offer = (await pc.createOffer()).sdp
        assert sdp.msids_by_mid(offer)["0"] == sdp.Msid("the-stream", "the-track")
    finally:
        await pc.close()


async def test_an_offer_without_a_place_for_our_track_can_be_answered():
    offerer, answerer = new_connection(), new_connection()
    try:
        offerer.createDataChannel("only")
        answerer.addTrack(Noise())
        await offerer.setLocalDescription(await offerer.createOffer())
        await answerer.setRemoteDescription(offerer.localDescription)
        answer = await answerer.createAnswer()
        aiortc_seam.decline_unoffered(answerer, sdp.mids(offerer.localDescription.sdp))
        await answerer.setLocalDescription(RTCSessionDescription(answer.sdp, "answer"))
        assert answerer.getTransceivers()[0].currentDirection == "inactive"
    finally:
        await asyncio.gather(offerer.close(), answerer.close())


async def test_an_offer_can_be_taken_back_and_the_other_side_answered_on_the_same_connection():
    async with noisy_pair() as (_, track, receiver):
        before = receiver.localDescription.sdp
        restorable = aiortc_seam.Restorable(receiver)
        receiver.addTrack(Noise())
        receiver.addTransceiver("video")
        await receiver.setLocalDescription(await receiver.createOffer())
        assert receiver.signalingState == "have-local-offer"
        restorable.restore()
        assert receiver.signalingState == "stable"
        assert receiver.localDescription.sdp == before
        assert [transceiver.mid for transceiver in receiver.getTransceivers()] == ["0", None]
        offer = receiver.remoteDescription
        await receiver.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        answer = await receiver.createAnswer()
        aiortc_seam.decline_unoffered(receiver, sdp.mids(offer.sdp))
        await receiver.setLocalDescription(answer)
        assert sdp.ice_ufrag(receiver.localDescription.sdp) == sdp.ice_ufrag(before)
        assert receiver.getTransceivers()[0].currentDirection == "sendrecv"
        await track.recv()


async def test_whoever_takes_its_first_offer_back_lets_the_other_side_control():
    one, other = new_connection(), new_connection()
    try:
        for pc in (one, other):
            pc.addTrack(Noise())
        restorable = aiortc_seam.Restorable(one)
        await one.setLocalDescription(await one.createOffer())
        restorable.restore()
        await negotiate(other, one)
        for pc, role in ((one, "controlled"), (other, "controlling")):
            assert pc.getSenders()[0].transport.transport.role == role
            while pc.connectionState != "connected":
                await asyncio.sleep(0.01)
    finally:
        await asyncio.gather(one.close(), other.close())
