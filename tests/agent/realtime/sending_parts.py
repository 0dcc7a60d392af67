"""A sender of ours and whoever receives, as two connections on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from itertools import count
from typing import Never

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket, is_rtcp

from agent.realtime.connections.connection_media import ConnectionMedia
from agent.realtime.sending.encoding import FedTrack, Sink, SoundStream
from agent.realtime.sending.playout import Pacer
from agent.realtime.sending.sending_seam import Mouth
from agent.realtime.sending.tracks import Outgoing, Sendable
from tests.agent.realtime.connections.test_aiortc_seam import new_connection

#: Makes of a remote track, as the receiver announces it, the one to be read.
Prepare = Callable[[RTCPeerConnection, MediaStreamTrack], MediaStreamTrack]


def plain(_: RTCPeerConnection, track: MediaStreamTrack) -> MediaStreamTrack:
    """As aiortc made it."""
    return track


class Speaking:
    """`pc` is our end of a connection, `other` and `track` the receiver's; what left us is in `packets`."""

    def __init__(self, given: Sendable, prepare: Prepare = plain) -> None:
        self.pc, self.other = new_connection(), new_connection()
        self.packets: list[RtpPacket] = []
        #: Those whose number in `packets` is told here get lost.
        self.is_lost: Callable[[int], bool] = lambda _: False
        self._more = asyncio.Event()
        self._media = ConnectionMedia(
            self.pc, on_track=lambda _: None, on_track_ended=lambda _: None, receive_video=False
        )
        self._outgoing = Outgoing(given, "voice", None, None, asyncio.create_task)
        self._arrived: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        self.other.on("track", lambda track: self._arrived.put_nowait(prepare(self.other, track)))

    @property
    def mouth(self) -> Mouth:
        (mouth,) = self._media._mouths.values()
        return mouth

    async def offer(self) -> str:
        self._media.send([self._outgoing])
        self._media.place()
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self._watch()
        return self.pc.localDescription.sdp

    def send_instead(self, given: Sendable) -> None:
        """Something else, in the same section if that can be."""
        self._media.send([])
        self._outgoing.close()
        self._outgoing = Outgoing(given, "another", None, None, asyncio.create_task)
        self._media.send([self._outgoing])
        self._media.place()

    async def answered(self, answer: str) -> None:
        self._media.described(answer)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self._media.agreed()

    async def connect(self, fmtp: str | None) -> None:
        await self.other.setRemoteDescription(RTCSessionDescription(await self.offer(), "offer"))
        await self.other.setLocalDescription(await self.other.createAnswer())
        answer = self.other.localDescription.sdp
        await self.answered(answer if fmtp is None else asking_for(answer, fmtp))
        self.track = await self._arrived.get()

    def _watch(self) -> None:
        transport = self.pc.getSenders()[0].transport
        send = transport._send_rtp

        async def send_rtp(data: bytes) -> None:
            if not is_rtcp(data):
                self.packets.append(RtpPacket.parse(data))
                self._more.set()
                if self.is_lost(len(self.packets) - 1):
                    return
            await send(data)

        transport._send_rtp = send_rtp

    async def sent(self, packets: int) -> list[RtpPacket]:
        """Wait until so many have left."""
        while len(self.packets) < packets:
            self._more.clear()
            await self._more.wait()
        return self.packets

    async def close(self) -> None:
        self._media.stop_sending()
        self._outgoing.close()
        await asyncio.gather(self.pc.close(), self.other.close())


@asynccontextmanager
async def speaking(
    given: Sendable,
    *,
    fmtp: str | None = None,
    prepare: Prepare = plain,
) -> AsyncIterator[Speaking]:
    """We send `given` to somebody who asks for `fmtp`."""
    speaker = Speaking(given, prepare)
    try:
        await speaker.connect(fmtp)
        yield speaker
    finally:
        await speaker.close()


def asking_for(description: str, fmtp: str) -> str:
    """The same with these format parameters of Opus."""
    lines = [line for line in description.split("\r\n") if not line.startswith("a=fmtp:96 ")]
    place = next(number for number, line in enumerate(lines) if line.startswith("a=rtpmap:96 "))
    return "\r\n".join([*lines[: place + 1], f"a=fmtp:96 {fmtp}", *lines[place + 1 :]])


class Frames:
    """A source for one connection: these frames again and again, a few times as fast as real ones."""

    kind = "audio"

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames

    def new_track(self) -> MediaStreamTrack:
        return _FedFast(self._frames)


class _FedFast(FedTrack):
    kind = "audio"

    def __init__(self, frames: np.ndarray) -> None:
        super().__init__()
        self._frames = frames
        self._feeding: asyncio.Task[None] | None = None

    def feed(self, sink: Sink | None) -> None:
        super().feed(sink)
        if sink is not None and self._feeding is None:
            self._feeding = asyncio.create_task(self._feed())

    def stop(self) -> None:
        super().stop()
        if self._feeding is not None:
            self._feeding.cancel()

    async def recv(self) -> Never:
        raise AssertionError("it is fed")

    async def _feed(self) -> None:
        stream = SoundStream()
        for number in count():
            if self.sink is not None:
                samples = self._frames[number % len(self._frames)]
                self.sink(stream.sound(samples, number * len(samples)))
            await asyncio.sleep(0.004)


class RealTime(MediaStreamTrack):
    """A track of somebody's own: these frames again and again, as fast as they last."""

    kind = "audio"

    def __init__(self, frames: np.ndarray) -> None:
        super().__init__()
        self._frames = frames
        self._pacer = Pacer()
        self.taken = 0

    async def due(self) -> None:
        """Wait until the next one may be taken."""
        now_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._pacer.due_s(now_s) - now_s))

    async def recv(self) -> av.AudioFrame:
        await self.due()
        samples = self._frames[self.taken % len(self._frames)]
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
        frame.pts = self.taken * len(samples)
        self.taken += 1
        return frame


class Hasty(RealTime):
    """The same a few times as fast, for those who let it: ours do not send what runs ahead of time."""

    async def due(self) -> None:
        await asyncio.sleep(0.004)
