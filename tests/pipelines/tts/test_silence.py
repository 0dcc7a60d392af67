"""The silence round real voices is cut, also under noise, and no sound is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from piper import PiperVoice

from pipelines.audio import level_dbfs, to_float
from pipelines.tts.silence import (
    CLAUSE_TAIL_MS,
    LEAD_MS,
    SENTENCE_TAIL_MS,
    spoken_span,
    trimmed_span,
)

#: Words with soft beginnings and ends.
TEXTS = ("Five.", "Thanks.", "Hello.", "Very good.", "She left.", "Half of this.", "Fish.")


@pytest.fixture(scope="module", params=["piper-slt-9mb.onnx", "piper-rms-30mb.onnx"])
def spoken(request: pytest.FixtureRequest, models_folder: Path) -> list[NDArray[np.int16]]:
    voice = PiperVoice.load(models_folder / request.param)
    assert voice.config.sample_rate == 16_000
    return [chunk.audio_int16_array for text in TEXTS for chunk in voice.synthesize(text)]


def noisy(samples: NDArray[np.int16], dbfs: float) -> NDArray[np.int16]:
    noise = np.random.default_rng(1).normal(0, 32768 * 10 ** (dbfs / 20), len(samples))
    return np.clip(samples + noise, -32768, 32767).astype(np.int16)


def ms(samples: int) -> float:
    return samples / 16


def test_what_is_cut_off_a_clean_voice_cannot_be_heard(spoken: list[NDArray[np.int16]]) -> None:
    for samples in spoken:
        start, stop = trimmed_span(samples, 16_000, sentence=True)
        for cut in (samples[:start], samples[stop:]):
            assert not len(cut) or 20 * np.log10(np.abs(cut).max() / 32768 + 1e-9) < -45
        assert level_dbfs(to_float(samples[start : start + 16 * (LEAD_MS + 10)])) > -60, (
            "no more silence than wanted"
        )
        assert ms(stop - int(np.flatnonzero(np.abs(samples) > 300)[-1])) <= SENTENCE_TAIL_MS + 15


@pytest.mark.parametrize("dbfs", [-70, -60, -52])
def test_noise_of_the_voice_is_no_sound(spoken: list[NDArray[np.int16]], dbfs: float) -> None:
    for samples in spoken:
        clean, found = spoken_span(samples, 16_000), spoken_span(noisy(samples, dbfs), 16_000)
        assert clean
        assert found
        assert ms(clean[0] - found[0]) <= 10
        assert ms(found[1] - clean[1]) <= 10
        for hidden in (samples[clean[0] : found[0]], samples[found[1] : clean[1]]):
            # Only what the noise covers is lost.
            assert level_dbfs(to_float(hidden)) < dbfs + 8


def test_inside_a_sentence_the_pause_is_shorter(spoken: list[NDArray[np.int16]]) -> None:
    for samples in spoken:
        long, short = (trimmed_span(samples, 16_000, sentence=sentence)[1] for sentence in (True, False))
        assert ms(long - short) == SENTENCE_TAIL_MS - CLAUSE_TAIL_MS


@pytest.mark.parametrize("length", [0, 1, 80, 16_000])
def test_silence_is_left_alone(length: int) -> None:
    samples = np.zeros(length, np.int16)
    assert spoken_span(samples, 16_000) is None
    assert trimmed_span(samples, 16_000, sentence=True) == (0, length)
