"""Fails when a new aiortc no longer has the private parts that are reached into."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import aiortc.rtcrtpsender
import aiortc.rtp
import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from agent.realtime import aiortc_seam, sdp
from agent.realtime.receive import iter_speech


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
        aiortc_seam.prepare_received_track(receiver, track)
        arrived.put_nowait(track)

    sender.addTrack(noise)
    try:
        await negotiate(sender, receiver)
        yield noise, await arrived.get(), receiver
    finally:
        await asyncio.gather(sender.close(), receiver.close())


async def test_an_unread_track_keeps_a_second_and_drops_the_oldest():
    async with noisy_pair() as (_, track, _):
        dropped = aiortc_seam.DROPPED_FRAMES._value.get()
        while aiortc_seam.DROPPED_FRAMES._value.get() < dropped + 100:
            await asyncio.sleep(0.01)
        assert track._queue.qsize() <= aiortc_seam.MAX_WAITING_FRAMES["audio"]


async def test_packets_go_through_the_shorter_jitter_buffer():
    async with noisy_pair() as (noise, track, receiver):
        await track.recv()
        noise.go.clear()
        buffer = receiver.getReceivers()[0]._RTCRtpReceiver__jitter_buffer
        assert buffer.capacity == aiortc_seam.JITTER_CAPACITY_PACKETS
        assert buffer._prefetch == aiortc_seam.JITTER_PREFETCH_FRAMES
        assert buffer._origin is not None


async def test_reading_ends_cleanly_when_the_connection_closes():
    async with noisy_pair() as (_, track, receiver):
        blocks = iter_speech(track)
        block = await anext(blocks)
        assert (block.dtype, block.shape) == (np.float32, (320,))
        await receiver.close()
        assert len([block async for block in blocks]) <= aiortc_seam.MAX_WAITING_FRAMES["audio"] + 1


async def test_a_track_whose_receiver_never_started_can_be_ended():
    offerer, answerer = new_connection(), new_connection()
    tracks: list[MediaStreamTrack] = []
    answerer.on("track", tracks.append)
    try:
        offerer.addTrack(Noise())
        await offerer.setLocalDescription(await offerer.createOffer())
        await answerer.setRemoteDescription(offerer.localDescription)
        aiortc_seam.prepare_received_track(answerer, tracks[0])
        reading = asyncio.create_task(tracks[0].recv())
        await asyncio.sleep(0)
        aiortc_seam.end_received_track(tracks[0])
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


def test_the_fast_audio_level_is_the_one_used_and_the_same():
    spec = importlib.util.find_spec("aiortc.rtp")
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    aiortc_seam.use_fast_audio_level()
    assert aiortc.rtp.compute_audio_level_dbov is aiortc_seam.audio_level_dbov
    # The sender looks the function up in the module each time; imported by name, ours would not be used.
    assert aiortc.rtcrtpsender.rtp is aiortc.rtp
    assert not hasattr(aiortc.rtcrtpsender, "compute_audio_level_dbov")
    random = np.random.default_rng(1)
    for peak in (0, 1, 2, 50, 3000, 32_767):
        frame = audio_frame(random.integers(-peak, peak + 1, 960))
        assert aiortc_seam.audio_level_dbov(frame) == original.compute_audio_level_dbov(frame)


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
