"""What callers say: a remote track as blocks of mono float samples, ready for recognition."""

from __future__ import annotations

from collections.abc import AsyncIterator

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from pipelines.audio import SPEECH_RATE_HZ, Samples

BLOCK_MS = 20


def iter_speech(track: MediaStreamTrack) -> AsyncIterator[Samples]:
    """`iter_audio` at the rate the recognisers work at, 16 kHz: blocks of 320 samples."""
    return iter_audio(track, rate_hz=SPEECH_RATE_HZ)


async def iter_audio(track: MediaStreamTrack, *, rate_hz: int) -> AsyncIterator[Samples]:
    """Yield the track's sound as 20 ms blocks, mono float32 in [-1, 1), until the track ends.

    Reads as fast as it is read from. A track from `Peer` keeps at most one second for a slow reader; what is
    older is dropped and counted in ``voice_agent_received_frames_dropped_total``. Packets lost on the way are
    missing from the stream, nothing is put in their place. The last, incomplete block is not yielded.
    """
    resampler: av.AudioResampler | None = None
    layout: tuple[str, str, int] | None = None
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if not isinstance(frame, av.AudioFrame):
            continue
        if layout != (frame.format.name, frame.layout.name, frame.sample_rate):
            layout = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(
                format="flt", layout="mono", rate=rate_hz, frame_size=rate_hz * BLOCK_MS // 1000
            )
        assert resampler is not None
        # A gap in the time stamps is a lost packet, which the resampler must not fill or complain about.
        frame.pts = None
        for block in resampler.resample(frame):
            yield block.to_ndarray()[0]
