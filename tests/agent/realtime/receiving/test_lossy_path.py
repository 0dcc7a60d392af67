"""Sound over a real connection that loses and reorders packets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.rtp import RtpPacket, is_rtcp

from agent.realtime.connections import aiortc_seam
from agent.realtime.receiving.jitter import MAX_FILL_MS
from agent.realtime.receiving.received_audio import ReceivedAudio
from tests.agent.realtime.connections.test_aiortc_seam import audio_frame, negotiate, new_connection
from tests.netlab.tones import TONE_MS, TONES_HZ, cycle, which

FRAMES_PER_TONE = TONE_MS // 20

#: What becomes of a packet: how many packets later it is sent; empty for never.
Fate = Callable[[int], tuple[int, ...]]


class Tones(MediaStreamTrack):
    """The tones in turn, as soon as `go` is set and as fast as they are taken."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._frames = cycle(48_000).reshape(-1, 960)
        self.sent = 0
        self.go = asyncio.Event()

    async def recv(self) -> av.AudioFrame:
        await self.go.wait()
        await asyncio.sleep(0.001)
        frame = audio_frame(self._frames[self.sent % len(self._frames)])
        frame.pts, frame.time_base = self.sent * 960, Fraction(1, 48_000)
        self.sent += 1
        return frame


@asynccontextmanager
async def tones_over(fate: Fate) -> AsyncIterator[tuple[ReceivedAudio, Tones]]:
    """The receiving and the sending end of a path on which all packets of sound suffer `fate`."""
    sender, receiver, tones = new_connection(), new_connection(), Tones()
    arrived: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    receiver.on("track", lambda t: arrived.put_nowait(aiortc_seam.prepare_received_track(receiver, t)))
    transport = sender.addTrack(tones).transport
    try:
        await negotiate(sender, receiver)
        while sender.connectionState != "connected":
            await asyncio.sleep(0.01)
        transport._send_rtp = spoilt(transport._send_rtp, fate)
        tones.go.set()
        track = await arrived.get()
        assert isinstance(track, ReceivedAudio)
        yield track, tones
    finally:
        await asyncio.gather(sender.close(), receiver.close())


def spoilt(send: Callable[[bytes], Awaitable[None]], fate: Fate) -> Callable[[bytes], Awaitable[None]]:
    first: list[int] = []
    waiting: dict[int, list[bytes]] = {}

    async def send_rtp(data: bytes) -> None:
        if is_rtcp(data):
            await send(data)
            return
        sequence = RtpPacket.parse(data).sequence_number
        first.append(sequence)
        number = (sequence - first[0]) & 0xFFFF
        for later in fate(number):
            waiting.setdefault(number + later, []).append(data)
        for due in waiting.pop(number, []):
            await send(due)

    return send_rtp


async def hear(track: ReceivedAudio, frames: int) -> list[int | None]:
    """Which tone there was in each of so many frames from the first on, by their places in time."""
    heard: dict[int, int | None] = {}
    while not heard or max(heard) < frames - 1:
        frame = await asyncio.wait_for(track.recv(), 10)
        place, rest = divmod(frame.pts, 960)
        assert (rest, frame.samples) == (0, 960)
        assert place not in heard
        assert place == len(heard), "time goes on without a hole"
        heard[place] = which(frame.to_ndarray()[0].reshape(-1, 3).mean(axis=1))
    return list(heard.values())


def share_right(heard: list[int | None]) -> float:
    """The part of the frames with the tone that was sent then. Those at its ends have two."""
    inner = [place for place in range(len(heard)) if 0 < place % FRAMES_PER_TONE < FRAMES_PER_TONE - 1]
    right = [heard[place] == place // FRAMES_PER_TONE % len(TONES_HZ) for place in inner]
    return float(np.mean(right))


async def test_packets_that_are_lost_leave_neither_holes_nor_shifts():
    async with tones_over(lambda number: () if number % 10 in (3, 7) or 60 <= number < 64 else (0,)) as (
        track,
        _,
    ):
        heard = await hear(track, 120)
    assert share_right(heard) > 0.9
    assert track.counts.lost_ms >= 27 * 20
    assert track.counts.silent_ms == 0


async def test_packets_out_of_order_are_put_in_order():
    async with tones_over(lambda number: (2,) if number % 10 == 4 else (0,)) as (track, _):
        heard = await hear(track, 120)
    assert share_right(heard) > 0.97
    assert track.counts.lost == 0
    # A busy machine may take longer to send two packets than the first wait is.
    assert track.counts.late <= 8


async def test_the_last_packets_before_the_end_are_heard_even_if_one_before_them_is_missing():
    async with tones_over(lambda number: (0,) if number < 50 and number != 48 else ()) as (track, _):
        await hear(track, 50)


@pytest.mark.parametrize("lost", [20, 60])
async def test_after_a_burst_of_losses_nothing_is_held_back(lost: int):
    """Once the sender falls silent, all it sent has been heard, as before."""
    async with tones_over(lambda number: () if 50 <= number < 50 + lost else (0,)) as (track, tones):
        newest = 0
        while newest < 120 * 960:
            newest = (await asyncio.wait_for(track.recv(), 10)).pts
        tones.go.clear()
        # One frame may wait in the encoder, and one be on its way into it.
        while newest < (tones.sent - 2) * 960:
            newest = (await asyncio.wait_for(track.recv(), 10)).pts
        counts = track.counts
        assert counts.lost_ms + counts.silent_ms + counts.skipped_ms == lost * 20
        assert (counts.skipped_ms > 0) == (lost * 20 > MAX_FILL_MS)
