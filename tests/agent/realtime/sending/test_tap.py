"""What was played, at the rate of speech."""

from __future__ import annotations

import numpy as np
import pytest

from agent.realtime.sending.playout import FRAME_SAMPLES
from agent.realtime.sending.tap import ToSpeechRate


def tone(hz: float) -> np.ndarray:
    return (16_384 * np.sin(2 * np.pi * hz * np.arange(50 * FRAME_SAMPLES) / 48_000)).astype(np.int16)


def converted(samples: np.ndarray, frames_at_once: int = 1) -> np.ndarray:
    tap = ToSpeechRate()
    parts = [tap.convert(part) for part in samples.reshape(-1, frames_at_once * FRAME_SAMPLES)]
    assert {(part.dtype, len(part)) for part in parts} == {(np.dtype(np.float32), 320 * frames_at_once)}
    return np.concatenate(parts)


@pytest.mark.parametrize("hz", [100, 1000, 6000])
def test_what_speech_is_made_of_comes_through_whole_and_without_a_seam(hz: float):
    times_s = np.arange(50 * 320) / 16_000 - 71 / 2 / 48_000 + 2 / 48_000
    expected = 0.5 * np.sin(2 * np.pi * hz * times_s)
    assert np.abs(converted(tone(hz)) - expected)[100:].max() < 0.01


@pytest.mark.parametrize("hz", [9000, 12_000, 20_000])
def test_what_is_above_does_not_come_back_as_something_else(hz: float):
    assert np.abs(converted(tone(hz))[100:]).max() < 0.001


def test_several_frames_at_once_are_as_one_after_the_other():
    assert np.array_equal(converted(tone(440), 5), converted(tone(440)))
