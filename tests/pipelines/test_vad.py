from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audio import Samples, to_float
from pipelines.options import VadOptions
from pipelines.vad import WINDOW_MS, WINDOW_SAMPLES, Edge, SileroVad, SpeechDetector, Windows

JFK = Path(__file__).parents[2] / "samples" / "jfk.wav"
LOUD = np.full(WINDOW_SAMPLES, 0.1, np.float32)


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return to_float(np.frombuffer(file.readframes(file.getnframes()), np.int16))


def test_streamed_probabilities_are_those_of_the_batch() -> None:
    audio = read(JFK)
    audio = audio[: len(audio) - len(audio) % WINDOW_SAMPLES]
    vad = SileroVad()
    streamed = [vad.probability(w) for w in Windows().split(audio)]
    batched = get_vad_model()(audio).reshape(-1)
    # The batch code of the package blanks the end of its very last window.
    np.testing.assert_allclose(streamed[:-1], batched[:-1], atol=1e-4)


def test_a_window_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="512 samples"):
        SileroVad().probability(np.zeros(100, np.float32))


@given(st.lists(st.integers(0, 1500), max_size=20))
def test_windows_lose_and_reorder_nothing(sizes: list[int]) -> None:
    audio = np.arange(sum(sizes), dtype=np.float32)
    windows = Windows()
    out: list[Samples] = []
    for block in np.split(audio, np.cumsum(sizes)):
        out += list(windows.split(block))
    assert all(len(w) == WINDOW_SAMPLES for w in out)
    np.testing.assert_array_equal(np.concatenate([np.zeros(0), *out]), audio[: len(out) * WINDOW_SAMPLES])


def edges(probabilities: list[float], window: Samples = LOUD) -> list[Edge]:
    detector = SpeechDetector(VadOptions(onset_ms=96, threshold=0.5, release_threshold=0.35))
    found = [detector.feed(p, window, (i + 1) * WINDOW_MS) for i, p in enumerate(probabilities)]
    return [edge for edge in found if edge]


def test_speech_begins_where_its_first_window_began_and_ends_with_its_last() -> None:
    assert edges([0.1, 0.9, 0.9, 0.9, 0.4, 0.1, 0.1]) == [Edge(True, WINDOW_MS), Edge(False, 5 * WINDOW_MS)]


def test_whoever_just_spoke_goes_on_with_the_first_window() -> None:
    found = edges([0.9] * 4 + [0.1] * 10 + [0.9] + [0.1] * 40 + [0.9, 0.1])
    assert [edge.speech for edge in found] == [True, False, True, False]
    assert found[2].at_ms == 14 * WINDOW_MS


def test_a_click_is_not_speech() -> None:
    assert edges([0.9, 0.9, 0.1, 0.9, 0.9, 0.1]) == []


def test_a_long_undecided_sound_is_no_early_onset() -> None:
    found = edges([0.9] + [0.4] * 50 + [0.9] * 3)
    assert [edge.at_ms for edge in found] == [51 * WINDOW_MS]


def test_what_is_too_quiet_is_not_speech() -> None:
    assert edges([0.9] * 10, LOUD * 0.001) == []


def test_a_real_sentence_has_edges_and_silence_has_none() -> None:
    vad, detector = SileroVad(), SpeechDetector(VadOptions())
    audio = np.concatenate([np.zeros(8000, np.float32), read(JFK), np.zeros(16000, np.float32)])
    found = []
    for i, window in enumerate(Windows().split(audio)):
        if edge := detector.feed(vad.probability(window), window, (i + 1) * WINDOW_MS):
            found.append(edge)
    assert len(found) >= 4, "the pauses of the speech are heard"
    assert [e.speech for e in found] == [True, False] * (len(found) // 2)
    assert found[0].at_ms >= 400, "the silence before it is silence"
