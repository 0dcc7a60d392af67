from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.stt import whisper_window
from pipelines.stt.segment import AHEAD_SAMPLES
from pipelines.stt.speech_track import PADDING_SAMPLES, SpeechTrack
from pipelines.stt.whisper import WhisperEngine
from pipelines.stt.whisper_window import FULL_WINDOWS, hear, window_s

Recording = Callable[[str], Samples]


@pytest.mark.parametrize(
    ("audio_s", "expected_s"),
    [(0.3, 10), (7.9, 10), (8.0, 10), (8.12, 10.2), (20.0, 22), (28.0, 30), (30.0, 30)],
)
def test_the_window_is_the_speech_and_a_margin(audio_s: float, expected_s: float) -> None:
    assert window_s(audio_s) == expected_s


def test_a_short_window_hears_what_a_full_one_does(
    whisper: WhisperEngine,
    callers: list[dict[str, str]],
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audio = [recording(caller["file"]) for caller in callers[16:28]]
    short = [hear(whisper._model, samples, "en", 1).text for samples in audio]
    monkeypatch.setattr(whisper_window, "MIN_WINDOW_S", 30.0)
    assert short == [hear(whisper._model, samples, "en", 1).text for samples in audio]


def test_a_last_word_with_hardly_any_silence_behind_it_is_heard(
    whisper: WhisperEngine, recording: Recording
) -> None:
    track = SpeechTrack()
    quiet = np.random.default_rng(0).normal(0, 2e-4, SPEECH_RATE_HZ * 2 // 5).astype(np.float32)
    audio = np.concatenate([quiet, recording("callers/send-a-message-to-mary.wav"), quiet])
    track.feed(audio)
    start = (track.start or 0) - PADDING_SAMPLES
    heard = hear(whisper._model, audio[max(0, start) : track.end + AHEAD_SAMPLES], "en", 1)
    assert heard.text == "Send a message to Mary."


def test_more_words_than_anybody_can_speak_are_nonsense(
    whisper: WhisperEngine, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more look at the full window, and if that is no better, nothing was said."""
    monkeypatch.setattr(whisper_window, "EXTRA_TOKENS", 2)
    monkeypatch.setattr(whisper_window, "TOKENS_PER_S", 0)
    repeated = FULL_WINDOWS.labels("too long")
    before = repeated._value.get()
    assert hear(whisper._model, recording("callers/tell-me-a-story.wav"), "en", 1).text == ""
    assert repeated._value.get() == before + 1


def test_what_is_written_ends_at_the_cap(
    whisper: WhisperEngine, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tokens of the six it takes: all of the four are written, and that it was cut is seen."""
    monkeypatch.setattr(whisper_window, "TOKENS_PER_S", 0)
    written: list[tuple[str, bool]] = []

    def looked_at(decoded: whisper_window._Decoded) -> str | None:
        written.append((decoded.text, decoded.is_cut))
        return None

    monkeypatch.setattr(whisper_window._Decoded, "fault", looked_at)
    for cap in (4, 30):
        monkeypatch.setattr(whisper_window, "EXTRA_TOKENS", cap)
        hear(whisper._model, recording("callers/what-is-the-weather-in-berlin.wav"), "en", 1)
    (short, is_cut), _, (whole, is_whole_cut), _ = written
    assert whole == "What is the weather in Berlin?"
    assert whole.startswith(short)
    assert len(short) < len(whole)
    assert (is_cut, is_whole_cut) == (True, False)


def test_an_unlikely_text_gets_a_second_look(
    whisper: WhisperEngine, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlikely and yet speech: it is kept, but only after the full window said no better."""
    monkeypatch.setattr(whisper_window, "UNLIKELY_LOGPROB", 0.0)
    repeated = FULL_WINDOWS.labels("unlikely")
    before = repeated._value.get()
    assert hear(whisper._model, recording("callers/tell-me-a-story.wav"), "en", 1).text == "Tell me a story."
    assert repeated._value.get() == before + 1
