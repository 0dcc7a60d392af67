from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.stt.speech_track import MAX_PIECE_SAMPLES, MIN_PIECE_SAMPLES, Span, SpeechTrack, pieces
from pipelines.vad import WINDOW_SAMPLES

Recording = Callable[[str], Samples]


def at_s(*seconds: float) -> tuple[int, ...]:
    return tuple(int(second * SPEECH_RATE_HZ) for second in seconds)


def test_speech_between_silence_is_found(recording: Recording) -> None:
    speech = recording("callers/yes.wav")
    quiet = np.zeros(SPEECH_RATE_HZ // 2, np.float32)
    track = SpeechTrack()
    track.feed(quiet)
    assert (track.start, track.end) == (None, 0)
    track.feed(speech)
    track.feed(quiet)
    assert track.start == pytest.approx(len(quiet), abs=SPEECH_RATE_HZ // 8)
    assert track.end == pytest.approx(len(quiet) + len(speech), abs=SPEECH_RATE_HZ // 5)
    assert not track.speaking
    assert track.pauses == ()


def test_pauses_in_speech_are_found(recording: Recording) -> None:
    track = SpeechTrack()
    speech, pause = recording("callers/what-is-your-name.wav"), np.zeros(SPEECH_RATE_HZ // 2, np.float32)
    for part in (speech, pause, speech, pause):
        track.feed(part)
    middle = len(speech) + len(pause) // 2
    assert [one for one in track.pauses if one.start < middle < one.end]


@pytest.mark.parametrize("word", ["yes", "no", "stop", "hello", "goodbye"])
def test_one_word_is_speech(recording: Recording, word: str) -> None:
    track = SpeechTrack()
    track.feed(recording(f"callers/{word}.wav"))
    assert track.has_speech


@pytest.mark.parametrize(("noise", "before"), [("car_horn", 6736), ("ringing_phone", 6656)])
def test_noise_that_is_taken_for_speech_once_is_none(recording: Recording, noise: str, before: int) -> None:
    """With so many samples before it, one window of it is more likely speech than not."""
    quiet = np.random.default_rng(0).normal(0, 2e-4, before).astype(np.float32)
    track = SpeechTrack()
    taken = []
    for window in np.split(
        np.concatenate([quiet, recording(f"noise/{noise}.wav")])[: 93 * WINDOW_SAMPLES], 93
    ):
        track.feed(window)
        taken.append(track.speaking)
    assert sum(taken) == 1
    assert (track.start, track.end) == (None, 0)


@pytest.mark.parametrize("quiet_s", [0.421, 0.55])
def test_a_tune_that_is_hardly_taken_for_speech_is_none(quiet_s: float) -> None:
    quiet = np.random.default_rng(0).normal(0, 2e-4, int(quiet_s * SPEECH_RATE_HZ))
    time_s = np.arange(SPEECH_RATE_HZ // 2) / SPEECH_RATE_HZ
    notes = [0.2 * np.sin(2 * np.pi * hz * time_s) for hz in (262, 294, 330, 349)]
    track = SpeechTrack()
    track.feed(np.concatenate([quiet, *notes, quiet]).astype(np.float32))
    assert track.end
    assert not track.has_speech


def test_speech_begins_with_the_first_of_the_windows_it_takes(recording: Recording) -> None:
    track = SpeechTrack()
    speaking_since = None
    for window in np.split(recording("callers/yes.wav")[: 20 * WINDOW_SAMPLES], 20):
        track.feed(window)
        if track.speaking and speaking_since is None:
            speaking_since = track.silence - WINDOW_SAMPLES
            assert track.start is None
    assert track.start == speaking_since


def test_what_fits_is_not_cut() -> None:
    assert pieces(0, MAX_PIECE_SAMPLES, (Span(*at_s(4, 5)),)) == [Span(0, MAX_PIECE_SAMPLES)]


def test_the_longest_pause_in_reach_is_where_it_is_cut() -> None:
    start, end = at_s(1, 15)
    short, long, late = (Span(*at_s(*times)) for times in ((5, 5.3), (8, 8.6), (13.5, 14.5)))
    assert pieces(start, end, (short, long, late)) == [Span(start, long.start), Span(long.end, end)]


def test_a_piece_is_not_too_short() -> None:
    start, end = at_s(0, 14)
    assert pieces(start, end, (Span(*at_s(2, 2.9)),)) == [Span(start, end)]


def test_without_a_pause_in_reach_the_next_one_will_do() -> None:
    start, end = at_s(0, 20)
    late = Span(*at_s(16, 16.3))
    assert pieces(start, end, (late,)) == [Span(start, late.start), Span(late.end, end)]


@given(st.lists(st.integers(1, 3 * SPEECH_RATE_HZ), min_size=2, max_size=60), st.data())
def test_more_speech_changes_no_piece_but_the_last(lengths: list[int], data: st.DataObject) -> None:
    """`lengths` are stretches of speech and of silence in turn."""
    edges = [0, *np.cumsum(lengths).tolist()]
    talk = [Span(edges[i], edges[i + 1]) for i in range(0, len(edges) - 1, 2)]
    pauses = tuple(Span(one.end, two.start) for one, two in pairwise(talk))
    earlier = data.draw(st.integers(1, len(talk)))
    before = pieces(0, talk[earlier - 1].end, pauses[: earlier - 1])
    after = pieces(0, talk[-1].end, pauses)
    assert after[: len(before) - 1] == before[:-1]
    assert all(piece.end - piece.start >= MIN_PIECE_SAMPLES for piece in after[:-1])
