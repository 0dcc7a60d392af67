"""One call as the agent has it: on our room layer, on plain aiortc, on the vendor's client.

All say the same at the same times and read what they receive as mono at 16 kHz, each the way it is meant to
be used. Plain aiortc comes off best: there is no room around it, and its voice needs no resampling.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from agent.realtime import AudioSource, Peer, TrackAdded, iter_speech
from agent.realtime.sending.playout import RATE_HZ
from benchmarks.common.sound import FRAME_SAMPLES, Int16
from benchmarks.media.ear import Ear
from benchmarks.media.speech import (
    CLICK_GAP_S,
    FRAME_S,
    SILENCE_S,
    click,
    speech,
    speech_at_16_khz,
    starts_after_s,
)
from pipelines.audio import SPEECH_RATE_HZ, Pcm

SystemName: TypeAlias = Literal["ours", "aiortc", "vendor"]
#: How the agent speaks: not at all, half of the time, without a pause, now and then a click.
Voice: TypeAlias = Literal["none", "half", "always", "clicks"]


@dataclass(frozen=True, slots=True)
class CallSetup:
    """Where a call is: a room on a hub, or the caller's offer."""

    number: int
    voice: Voice
    url: str = ""
    room: str = ""
    token: str = ""
    offer: str = ""


#: Told once the call is set up as far as this side can: the answer to the offer, if there was one.
Opened: TypeAlias = Callable[[str], None]
#: Runs a call until it is cancelled or its other end is gone.
RunCall: TypeAlias = Callable[[CallSetup, Ear, Opened], Awaitable[None]]


# ---- ours


async def ours(call: CallSetup, ear: Ear, opened: Opened) -> None:
    async def provide() -> str:
        return call.token

    async def listen(track: MediaStreamTrack) -> None:
        async for block in iter_speech(track):
            ear.hear(block)

    async def follow() -> None:
        async with asyncio.TaskGroup() as ears:
            async for event in peer.events():
                if isinstance(event, TrackAdded):
                    ears.create_task(listen(event.track))

    async with AudioSource() as source, Peer(call.url, token_provider=provide) as peer:
        # Without anything to send nobody would make an offer; a caller who only speaks declines it.
        peer.add_track(source, stream_id="voice")
        async with in_background(follow(), speak(call, ear, source.push, source.drained)):
            await peer.join(call.room)
            opened("")
            await asyncio.Event().wait()


async def speak(
    call: CallSetup, ear: Ear, push: Callable[[Pcm], Awaitable[None]], drained: Callable[[], Awaitable[None]]
) -> None:
    """As an agent does: push what a voice gives, and nothing while there is nothing to say."""
    if call.voice == "none":
        return
    if call.voice == "clicks":
        await click_now_and_then(call, ear, push)
    pcm = Pcm(speech_at_16_khz(), SPEECH_RATE_HZ)
    if call.voice == "half":
        await asyncio.sleep(starts_after_s(call.number))
    while True:
        await push(pcm)
        if call.voice == "half":
            await drained()
            await asyncio.sleep(SILENCE_S)


async def click_now_and_then(call: CallSetup, ear: Ear, push: Callable[[Pcm], Awaitable[None]]) -> None:
    gaps = random.Random(call.number)
    while True:
        # At any moment between two frames.
        await asyncio.sleep(CLICK_GAP_S + FRAME_S * gaps.random())
        ear.said_s.append(time.monotonic())
        await push(Pcm(click(SPEECH_RATE_HZ), SPEECH_RATE_HZ))


# ---- plain aiortc


class PlainVoice(MediaStreamTrack):
    """Frames that are there already, on the clock of aiortc's tracks; what is pushed comes between."""

    kind = "audio"

    def __init__(self, call: CallSetup) -> None:
        super().__init__()
        self._start_s = 0.0
        self._number = 0
        self._pushed: deque[Int16] = deque()
        spoken = np.zeros(FRAME_SAMPLES, np.int16) if call.voice == "clicks" else speech()
        if call.voice == "half":
            spoken = np.concatenate((spoken, np.zeros(int(SILENCE_S * RATE_HZ), np.int16)))
            # The cycle begins in the silence before the first words.
            spoken = np.roll(spoken, int(starts_after_s(call.number) * RATE_HZ))
        self._frames = spoken[: len(spoken) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)

    async def push(self, frame: Pcm) -> None:
        """20 ms at 48 kHz, behind the frame that is being sent."""
        self._pushed.append(frame.samples)

    async def recv(self) -> av.AudioFrame:
        self._start_s = self._start_s or time.monotonic()
        await asyncio.sleep(self._start_s + self._number * FRAME_S - time.monotonic())
        samples = self._frames[self._number % len(self._frames)]
        if self._pushed:
            samples = self._pushed.popleft()
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = self._number * FRAME_SAMPLES
        self._number += 1
        return frame


async def plain(call: CallSetup, ear: Ear, opened: Opened) -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    arrived: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    pc.on("track", arrived.put_nowait)

    async def listen() -> None:
        await read(await arrived.get(), ear)

    async def push(pcm: Pcm) -> None:
        await voice.push(Pcm(click(RATE_HZ), RATE_HZ) if pcm.rate_hz != RATE_HZ else pcm)

    voice = PlainVoice(call)
    clicking = [click_now_and_then(call, ear, push)] if call.voice == "clicks" else []
    try:
        async with in_background(listen(), *clicking):
            if call.voice != "none":
                pc.addTrack(voice)
            await pc.setRemoteDescription(RTCSessionDescription(call.offer, "offer"))
            await pc.setLocalDescription(await pc.createAnswer())
            opened(pc.localDescription.sdp)
            await asyncio.Event().wait()
    finally:
        await pc.close()


async def read(track: MediaStreamTrack, ear: Ear) -> None:
    """A track of aiortc's as recognisers want it."""
    resampler = av.AudioResampler("s16", "mono", SPEECH_RATE_HZ)
    try:
        while True:
            frame = await track.recv()
            assert isinstance(frame, av.AudioFrame)
            for block in resampler.resample(frame):
                ear.hear(block.to_ndarray()[0])
    except MediaStreamError:
        pass


# ---- the vendor's client


async def vendors(call: CallSetup, ear: Ear, opened: Opened) -> None:
    import metered_realtime as vendor
    from metered_realtime.media_io import AudioSource as VendorSource

    async def provide() -> str:
        return call.token

    source = VendorSource(input_rate=SPEECH_RATE_HZ, max_buffered_seconds=2.0)

    async def push(pcm: Pcm) -> None:
        await source.push(pcm.samples.tobytes())

    async def drained() -> None:
        await asyncio.sleep(source.buffered_seconds)

    async with asyncio.TaskGroup() as ears, vendor.MeteredPeer(token_provider=provide, url=call.url) as peer:

        def arrived(event: Any) -> None:
            ears.create_task(read(event.track, ear))

        def joined(event: Any) -> None:
            event.peer.on(vendor.Track, arrived)

        peer.on(vendor.PeerJoined, joined)
        peer.add_track(source, vendor.MediaStream(id="voice"))
        async with in_background(speak(call, ear, push, drained)):
            await peer.join(call.room)
            opened("")
            await asyncio.Event().wait()


# ---- all of them

RUN: dict[SystemName, RunCall] = {"ours": ours, "aiortc": plain, "vendor": vendors}


@asynccontextmanager
async def in_background(*jobs: Any) -> AsyncIterator[None]:
    """These run while the block does. What one of them raises ends the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(job) for job in jobs]
        try:
            yield
        finally:
            for job in running:
                job.cancel()
