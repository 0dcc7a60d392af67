"""What callers say: a remote track as blocks of mono float samples, ready for recognition."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from prometheus_client import Counter

from agent.realtime import opus
from agent.realtime.receiving.received_audio import ReceivedAudio
from pipelines.audio import SPEECH_RATE_HZ, Samples

DROPPED_FRAMES = Counter(
    "voice_agent_iterated_frames_dropped_total", "Frames of a track dropped for a slow reader", ["kind"]
)

BLOCK_MS = 20


def iter_speech(track: MediaStreamTrack) -> AsyncIterator[Samples]:
    """`iter_audio` at the rate the recognisers work at, 16 kHz: blocks of 320 samples."""
    return iter_audio(track, rate_hz=SPEECH_RATE_HZ)


async def iter_audio(track: MediaStreamTrack, *, rate_hz: int) -> AsyncIterator[Samples]:
    """Yield the track's sound as 20 ms blocks, mono float32 in [-1, 1), until the track ends.

    Reads as fast as it is read from. A track from `Peer` keeps at most a second while it is not read, and
    while it is what comes at once after a stall, up to 10 s; what is older is dropped and counted in
    ``voice_agent_received_frames_dropped_total``. In the place of packets lost on the way is what the next
    one tells of them or what can be made up, then silence; only of a gap of more than `jitter.MAX_FILL_MS`
    all but the ends is left out. The last, incomplete block is not yielded.
    """
    block_samples = rate_hz * BLOCK_MS // 1000
    if isinstance(track, ReceivedAudio) and rate_hz in opus.RATES_HZ:
        parts = _read(track, rate_hz)
    else:
        parts = _resampled(track, rate_hz, block_samples)
    rest: Samples = np.zeros(0, np.float32)
    async for part in parts:
        # Nearly every part is a block.
        rest = np.concatenate((rest, part)) if len(rest) else part
        while len(rest) >= block_samples:
            yield rest[:block_samples]
            rest = rest[block_samples:]


async def _read(track: ReceivedAudio, rate_hz: int) -> AsyncIterator[Samples]:
    while True:
        try:
            samples = await track.read(rate_hz)
        except MediaStreamError:
            return
        yield samples.astype(np.float32) / np.float32(32_768)


async def _resampled(track: MediaStreamTrack, rate_hz: int, block_samples: int) -> AsyncIterator[Samples]:
    resampler: av.AudioResampler | None = None
    source_rate_hz = 0
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if not isinstance(frame, av.AudioFrame):
            continue
        if resampler is None or frame.sample_rate != source_rate_hz:
            # The codec, and the rate with it, may change in the middle of a call.
            source_rate_hz = frame.sample_rate
            resampler = av.AudioResampler("flt", "mono", rate_hz, frame_size=block_samples)
        mono = av.AudioFrame.from_ndarray(_mono(frame)[None], format="flt", layout="mono")
        mono.sample_rate = source_rate_hz
        for block in resampler.resample(mono):
            yield block.to_ndarray()[0]


async def iter_frames(
    track: MediaStreamTrack, *, max_queued: int = 50
) -> AsyncIterator[av.AudioFrame | av.VideoFrame]:
    """Yield the track's frames as they are until it ends.

    The track is read all the time; at most `max_queued` frames wait for a slow reader, the oldest goes, and
    is counted in ``voice_agent_iterated_frames_dropped_total``. Close the iterator (`contextlib.aclosing`) to
    stop reading before the end. `ValueError` unless `max_queued` is positive.
    """
    if max_queued < 1:
        raise ValueError(f"max_queued must be at least 1, got {max_queued}")
    waiting: deque[av.AudioFrame | av.VideoFrame] = deque()
    changed = asyncio.Event()

    async def read() -> None:
        try:
            while True:
                frame = await track.recv()
                if not isinstance(frame, av.AudioFrame | av.VideoFrame):
                    continue
                if len(waiting) >= max_queued:
                    DROPPED_FRAMES.labels(track.kind).inc()
                    waiting.popleft()
                waiting.append(frame)
                changed.set()
        except MediaStreamError:
            pass
        finally:
            changed.set()

    reading = asyncio.create_task(read(), name="frame-reader")
    try:
        while waiting or not reading.done():
            if waiting:
                yield waiting.popleft()
            else:
                changed.clear()
                await changed.wait()
                if not waiting:
                    # The end is announced from inside the task, just before it is done.
                    await asyncio.wait([reading])
        reading.result()
    finally:
        reading.cancel()
        await asyncio.wait([reading])


def _mono(frame: av.AudioFrame) -> Samples:
    """The mean of the channels; a resampler would make them 3 dB too loud, beyond full scale."""
    channels = len(frame.layout.channels)
    samples = frame.to_ndarray()
    if frame.format.is_packed:
        samples = samples.reshape(-1, channels).T
    mono: Samples = samples.mean(axis=0, dtype=np.float32)
    return mono / np.float32(32_768) if samples.dtype == np.int16 else mono
