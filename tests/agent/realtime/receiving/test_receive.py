"""A remote track as blocks for recognition."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from agent.realtime.receiving.receive import iter_audio, iter_speech


def audio_frame(samples: np.ndarray, rate_hz: int = 48_000, layout: str = "mono") -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout=layout)
    frame.sample_rate = rate_hz
    return frame


class Frames(MediaStreamTrack):
    """A track that gives these frames and ends."""

    kind = "audio"

    def __init__(self, frames: list[av.AudioFrame]) -> None:
        super().__init__()
        self._frames = iter(frames)

    async def recv(self) -> av.AudioFrame:
        try:
            return next(self._frames)
        except StopIteration:
            raise MediaStreamError from None


def sine(hz: float, rate_hz: int, frames: int, *, channels: int = 1) -> list[av.AudioFrame]:
    step = rate_hz // 50
    wave = 16_000 * np.sin(2 * np.pi * hz * np.arange(step * frames) / rate_hz)
    layout = "stereo" if channels == 2 else "mono"
    parts = wave.reshape(frames, step)
    return [audio_frame(np.repeat(part, channels), rate_hz, layout) for part in parts]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
async def test_blocks_are_20_ms_mono_float_at_the_rate_asked_for(rate_hz: int):
    track = Frames(sine(400, 48_000, 100, channels=2))
    blocks = [block async for block in iter_audio(track, rate_hz=rate_hz)]
    assert {block.shape for block in blocks} == {(rate_hz // 50,)}
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    assert len(blocks) in (99, 100)
    sound = np.concatenate(blocks)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * rate_hz / len(sound) == pytest.approx(400, abs=1)
    assert np.abs(sound).max() == pytest.approx(16_000 / 32_768, rel=0.1)


async def test_a_codec_change_in_the_middle_is_followed():
    track = Frames(sine(400, 48_000, 50, channels=2) + sine(400, 8000, 50))
    blocks = [block async for block in iter_speech(track)]
    assert len(blocks) >= 97
    assert {block.shape for block in blocks} == {(320,)}


async def test_gaps_and_jumps_in_the_time_stamps_do_not_matter():
    frames = sine(400, 48_000, 50)
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * 960 + (number // 10) * 96_000, Fraction(1, 48_000)
    frames[30].pts = 0
    assert len([block async for block in iter_speech(Frames(frames))]) in (49, 50)


async def test_a_track_that_gave_nothing_gives_nothing():
    assert [block async for block in iter_speech(Frames([]))] == []


async def test_full_scale_on_both_channels_does_not_overflow():
    loudest = [audio_frame(np.full(1920, -32_768), layout="stereo") for _ in range(10)]
    blocks = [block async for block in iter_audio(Frames(loudest), rate_hz=48_000)]
    assert np.concatenate(blocks).min() == -1.0


async def test_one_channel_alone_is_heard_at_half_its_level():
    left_only = [audio_frame(np.tile([16_384, 0], 960), layout="stereo") for _ in range(10)]
    blocks = [block async for block in iter_audio(Frames(left_only), rate_hz=48_000)]
    assert np.concatenate(blocks).max() == pytest.approx(0.25)
