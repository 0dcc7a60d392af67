from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.endpoint import Prosody, ProsodyTracker
from pipelines.endpoint.prosody import FRAME_SAMPLES, MAX_FRAMES, MAX_STRETCHES, pitch_hz
from pipelines.options import VadOptions
from pipelines.vad import WINDOW_SAMPLES, SileroVad, SpeechDetector, Windows


def voice(duration_ms: float, from_hz: float, to_hz: float | None = None, level: float = 0.1) -> Samples:
    """A buzz with twelve overtones, gliding by equal steps of the scale."""
    length = int(duration_ms * SPEECH_RATE_HZ / 1000)
    hz = from_hz * ((to_hz or from_hz) / from_hz) ** np.linspace(0, 1, length)
    phase = 2 * np.pi * np.cumsum(hz) / SPEECH_RATE_HZ
    buzz = sum(np.sin(k * phase) / k for k in range(1, 13))
    return (level * buzz).astype(np.float32)


def silence(duration_ms: float) -> Samples:
    return np.zeros(int(duration_ms * SPEECH_RATE_HZ / 1000), np.float32)


def heard(*parts: Samples, tracker: ProsodyTracker | None = None) -> Prosody:
    tracker = tracker or ProsodyTracker()
    for window in Windows().split(np.concatenate(parts)):
        tracker.feed(window, 1.0 if np.any(window) else 0.0)
    return tracker.at_offset()


@pytest.mark.parametrize("hz", [70.0, 90.0, 120.0, 180.0, 250.0, 390.0])
def test_the_pitch_of_low_and_high_voices(hz: float) -> None:
    frame = voice(1000.0 * FRAME_SAMPLES / SPEECH_RATE_HZ, hz)
    assert pitch_hz(frame) == pytest.approx(hz, rel=0.01)


def test_noise_and_silence_have_no_pitch() -> None:
    random = np.random.default_rng(3)
    assert pitch_hz(np.zeros(FRAME_SAMPLES, np.float32)) is None
    assert all(pitch_hz(random.normal(0, 0.1, FRAME_SAMPLES).astype(np.float32)) is None for _ in range(50))
    assert heard(silence(2000)) == Prosody()


@pytest.mark.parametrize("octaves_per_s", [-1.5, -0.5, 0.0, 0.5, 1.5])
@pytest.mark.parametrize("hz", [95.0, 210.0])
def test_glides(hz: float, octaves_per_s: float) -> None:
    slope = heard(voice(320, hz, hz * 2 ** (octaves_per_s * 0.32))).pitch_slope_st_per_s
    assert slope == pytest.approx(12 * octaves_per_s, abs=0.5)


def test_a_silence_after_the_end_changes_nothing() -> None:
    glide = voice(320, 140, 110)
    slope = heard(glide).pitch_slope_st_per_s
    assert heard(glide, silence(150)).pitch_slope_st_per_s == pytest.approx(slope, abs=1.5)


def test_what_was_said_before_a_pause_is_not_part_of_the_end() -> None:
    assert heard(voice(400, 220), silence(600), voice(320, 120)).pitch_slope_st_per_s == pytest.approx(
        0, abs=0.5
    )


def test_all_is_relative_to_the_caller() -> None:
    tracker = ProsodyTracker()
    for _ in range(6):
        heard(voice(192, 150), silence(96), tracker=tracker)
    usual = heard(voice(192, 150), silence(96), tracker=tracker)
    assert usual.pitch_end_st == pytest.approx(0, abs=0.1)
    assert usual.lengthening == pytest.approx(1, abs=0.2)
    assert usual.level_drop_db == pytest.approx(0, abs=1)
    long_low_soft = heard(voice(480, 112.4, level=0.03), silence(96), tracker=tracker)
    assert long_low_soft.pitch_end_st == pytest.approx(-5, abs=0.2)
    assert long_low_soft.lengthening == pytest.approx(2.4, abs=0.4)
    assert long_low_soft.level_drop_db == pytest.approx(10.5, abs=1)


def test_nothing_is_usual_for_a_caller_who_has_hardly_spoken() -> None:
    prosody = heard(voice(400, 150))
    assert prosody.pitch_slope_st_per_s is not None
    assert (prosody.pitch_end_st, prosody.lengthening, prosody.level_drop_db) == (None, None, None)


def test_syllables_are_cut_where_the_voice_dips() -> None:
    """Vowels with a voiced consonant between them: one stretch of pitch, several syllables."""
    vowel, consonant = voice(160, 150), voice(48, 150, level=0.03)
    tracker = ProsodyTracker()
    for _ in range(2):
        heard(vowel, consonant, vowel, consonant, vowel, silence(96), tracker=tracker)
    assert heard(vowel, consonant, voice(400, 150), tracker=tracker).lengthening == pytest.approx(
        2.2, abs=0.6
    )


def test_memory_is_bounded() -> None:
    tracker = ProsodyTracker()
    blip = np.concatenate([voice(96, 150), silence(32)])
    for _ in range(200):
        heard(blip, tracker=tracker)
    assert len(tracker._voiced) <= MAX_FRAMES
    assert len(tracker._stretches_ms) <= MAX_STRETCHES


def last_offset(speech: Samples) -> Prosody:
    vad, detector, tracker = SileroVad(), SpeechDetector(VadOptions()), ProsodyTracker()
    noise = np.random.default_rng(5).normal(0, 1e-4, SPEECH_RATE_HZ // 2).astype(np.float32)
    last, end_ms = Prosody(), 0.0
    for window in Windows().split(np.concatenate([speech, noise])):
        end_ms += 1000.0 * WINDOW_SAMPLES / SPEECH_RATE_HZ
        probability = vad.probability(window)
        tracker.feed(window, probability)
        edge = detector.feed(probability, window, end_ms)
        if edge is not None and not edge.speech:
            last = tracker.at_offset()
    return last


@pytest.mark.parametrize("name", ["lj-0002", "lj-0008", "lj-0013", "lang-de"])
def test_people_end_their_sentences_low_and_falling(recording: Callable[[str], Samples], name: str) -> None:
    prosody = last_offset(recording(f"speech/{name}.wav"))
    assert prosody.pitch_slope_st_per_s is not None
    assert prosody.pitch_slope_st_per_s < -5
    assert prosody.pitch_end_st is not None
    assert prosody.pitch_end_st < -2


def test_a_sentence_cut_in_the_middle_does_not_end_low(recording: Callable[[str], Samples]) -> None:
    """JFK before his long pause: "my fellow Americans, ask not" – and he goes on."""
    prosody = last_offset(recording("speech/jfk.wav")[: int(4.4 * SPEECH_RATE_HZ)])
    assert prosody.pitch_end_st is not None
    assert prosody.pitch_end_st > 0
