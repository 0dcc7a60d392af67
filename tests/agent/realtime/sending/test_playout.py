"""The playout buffer and its clock, without an event loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.sending.playout import (
    FADE_SAMPLES,
    FRAME_S,
    FRAME_SAMPLES,
    GAIN_RAMP_SAMPLES,
    GRID_S,
    Pacer,
    PlayoutBuffer,
)


def ramp(start: int, count: int) -> np.ndarray:
    """`count` samples that are all different, so that order, loss and repetition show."""
    return (np.arange(start, start + count) % 30_000 + 1).astype(np.int16)


def test_an_empty_buffer_gives_silence_that_does_not_count():
    buffer = PlayoutBuffer()
    block = buffer.take()
    assert len(block.samples) == FRAME_SAMPLES
    assert not block.samples.any()
    assert block.audio_samples == buffer.taken_samples == 0


def test_pushes_join_without_a_gap_whatever_their_size():
    buffer = PlayoutBuffer()
    for start, count in ((0, 1), (1, 958), (959, 3), (962, 958)):
        buffer.push(ramp(start, count))
    assert np.array_equal(buffer.take().samples, ramp(0, 960))
    assert np.array_equal(buffer.take().samples, ramp(960, 960))
    assert buffer.queued_samples == 0


def test_a_partial_frame_is_filled_up_with_a_fade_and_silence():
    buffer = PlayoutBuffer()
    buffer.push(np.full(100, 12_000, np.int16))
    block = buffer.take()
    assert block.audio_samples == 100
    steps = np.diff(block.samples[99 : 100 + FADE_SAMPLES].astype(int))
    assert (steps <= 0).all()
    assert np.abs(steps).max() <= 12_000 / FADE_SAMPLES + 1
    assert not block.samples[99 + FADE_SAMPLES :].any()


def test_a_fade_runs_over_into_the_next_frame():
    buffer = PlayoutBuffer()
    buffer.push(np.full(FRAME_SAMPLES - 10, 12_000, np.int16))
    first, second = buffer.take(), buffer.take()
    joined = np.concatenate([first.samples, second.samples]).astype(int)
    assert np.abs(np.diff(joined)).max() <= 12_000 / FADE_SAMPLES + 1
    assert second.audio_samples == 0
    assert not buffer.take().samples.any()


def test_nothing_queued_before_clear_is_in_the_next_frame():
    buffer = PlayoutBuffer()
    buffer.push(np.full(FRAME_SAMPLES, 1000, np.int16))
    buffer.push(np.full(5000, 20_000, np.int16))
    buffer.take()
    buffer.clear()
    block = buffer.take()
    assert block.audio_samples == 0
    assert block.samples.max() <= 1000
    assert not block.samples[FADE_SAMPLES:].any()
    assert buffer.cleared_samples == 5000


def test_a_pause_is_silent_at_once_and_loses_nothing():
    buffer = PlayoutBuffer()
    buffer.push(np.full(3 * FRAME_SAMPLES, 12_000, np.int16))
    buffer.take()
    buffer.paused = True
    paused = [buffer.take() for _ in range(3)]
    assert not any(block.audio_samples for block in paused)
    assert not paused[0].samples[FADE_SAMPLES:].any()
    assert not paused[1].samples.any()
    assert buffer.queued_samples == 2 * FRAME_SAMPLES
    buffer.paused = False
    resumed = [buffer.take() for _ in range(2)]
    assert [block.audio_samples for block in resumed] == [FRAME_SAMPLES] * 2
    assert (resumed[0].samples[GAIN_RAMP_SAMPLES:] == 12_000).all()
    joined = np.concatenate([b.samples for b in (*paused, *resumed)]).astype(int)
    assert np.abs(np.diff(joined)).max() <= 12_000 / FADE_SAMPLES + 1


def test_clear_ends_a_pause():
    buffer = PlayoutBuffer()
    buffer.push(np.full(100, 1000, np.int16))
    buffer.paused = True
    buffer.clear()
    buffer.push(np.full(FRAME_SAMPLES, 1000, np.int16))
    assert buffer.take().audio_samples == FRAME_SAMPLES


def test_clear_before_anything_was_taken_leaves_pure_silence():
    buffer = PlayoutBuffer()
    buffer.push(np.full(5000, 20_000, np.int16))
    buffer.clear()
    assert not buffer.take().samples.any()


def test_what_is_pushed_after_clear_is_played_from_its_first_sample():
    buffer = PlayoutBuffer()
    buffer.push(np.full(2 * FRAME_SAMPLES, 20_000, np.int16))
    buffer.take()
    buffer.clear()
    buffer.push(ramp(0, FRAME_SAMPLES))
    assert np.array_equal(buffer.take().samples, ramp(0, FRAME_SAMPLES))


def test_full_volume_is_bit_exact():
    buffer = PlayoutBuffer()
    loudest = np.array([-32768, 32767] * 480, np.int16)
    buffer.push(loudest)
    assert np.array_equal(buffer.take().samples, loudest)


def test_ducking_ramps_within_the_next_frame_and_back():
    buffer = PlayoutBuffer()
    buffer.push(np.full(4 * FRAME_SAMPLES, 20_000, np.int16))
    buffer.take()
    buffer.gain_db = -12.0
    down = buffer.take().samples.astype(int)
    low = round(20_000 * 10 ** (-12 / 20))
    assert np.abs(np.diff(down)).max() <= 20_000 / GAIN_RAMP_SAMPLES + 1
    assert (down[GAIN_RAMP_SAMPLES:] == low).all()
    assert down[0] > low
    assert (buffer.take().samples == low).all()
    buffer.gain_db = 0.0
    up = buffer.take().samples
    assert up[0] > low
    assert (up[GAIN_RAMP_SAMPLES:] == 20_000).all()


def test_mute_is_minus_infinity():
    buffer = PlayoutBuffer()
    buffer.gain_db = float("-inf")
    buffer.push(np.full(2 * FRAME_SAMPLES, 20_000, np.int16))
    buffer.take()
    assert not buffer.take().samples.any()


@pytest.mark.parametrize("gain_db", [0.1, float("nan"), float("inf")])
def test_amplification_is_refused(gain_db):
    with pytest.raises(ValueError, match="0 or less"):
        PlayoutBuffer().gain_db = gain_db


@given(
    st.lists(
        st.one_of(
            st.integers(0, 3000).map(lambda n: ("push", n)), st.just(("take", 0)), st.just(("clear", 0))
        )
    )
)
def test_nothing_is_lost_doubled_or_reordered(steps):
    buffer = PlayoutBuffer()
    pushed, next_expected, out = 0, 0, []
    expected: list[np.ndarray] = []
    queued = np.zeros(0, np.int16)
    for step, count in steps:
        if step == "push":
            samples = ramp(pushed, count)
            buffer.push(samples)
            pushed += count
            queued = np.concatenate([queued, samples])
        elif step == "take":
            block = buffer.take()
            out.append(block.samples[: block.audio_samples])
            expected.append(queued[:FRAME_SAMPLES])
            queued = queued[FRAME_SAMPLES:]
            next_expected += block.audio_samples
        else:
            buffer.clear()
            queued = queued[:0]
        assert buffer.pushed_samples == pushed
        assert buffer.queued_samples == len(queued)
        assert buffer.taken_samples == next_expected
    assert all(np.array_equal(a, b) for a, b in zip(out, expected, strict=True))


@given(st.lists(st.sampled_from([0.0, -3.0, -12.0, -40.0]), min_size=2, max_size=12))
def test_no_sequence_of_gains_makes_a_click(gains):
    buffer = PlayoutBuffer()
    buffer.push(np.full(len(gains) * FRAME_SAMPLES, 20_000, np.int16))
    out = []
    for gain_db in gains:
        buffer.gain_db = gain_db
        out.append(buffer.take().samples)
    steps = np.abs(np.diff(np.concatenate(out).astype(int)))
    assert steps.max() <= 20_000 / GAIN_RAMP_SAMPLES + 1


def run_pacer(lateness_s: list[float]) -> list[float]:
    """When frames are produced, from 100 s on, if the n-th waking up is late by the given time."""
    pacer, now, produced = Pacer(), 100.0, []
    for late_s in lateness_s:
        produced.append(now)
        now = max(now, pacer.due_s(now)) + late_s
    return produced


def test_frames_lie_on_a_grid_and_lateness_does_not_add_up():
    produced = run_pacer([0.003] * 500)
    assert produced[0] == 100.0
    assert produced[-1] - produced[0] == pytest.approx(499 * FRAME_S + 0.003)


@given(st.lists(st.floats(100.0, 101.0), min_size=1))
def test_any_number_of_clocks_has_to_wake_up_at_four_moments_of_a_frame(starts_s):
    moments = set()
    for start_s in starts_s:
        pacer = Pacer()
        pacer.due_s(start_s)
        due_s = pacer.due_s(start_s)
        assert start_s + 2 * FRAME_S - GRID_S < due_s <= start_s + 2 * FRAME_S + 1e-9
        moments.add(round(due_s % FRAME_S * 1e6) % round(FRAME_S * 1e6))
    assert len(moments) <= 4


def test_a_short_stall_is_caught_up():
    produced = run_pacer([0.0, 0.09, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert produced[-1] == pytest.approx(100.0 + 7 * FRAME_S)


def test_a_long_stall_is_not_answered_with_a_burst():
    produced = run_pacer([0.0, 5.0] + [0.0] * 20)
    after = np.diff(produced[2:])
    assert after == pytest.approx(np.full(len(after), FRAME_S))


@given(st.lists(st.floats(0.0, 0.5), max_size=100))
def test_frames_and_those_left_out_are_as_many_as_there_was_time_for(lateness_s):
    pacer, now = Pacer(), 100.0
    for produced, late_s in enumerate(lateness_s, 1):
        due_s = pacer.due_s(now)
        assert due_s - 100.0 == pytest.approx((produced + pacer.skipped) * FRAME_S)
        now = max(now, due_s) + late_s
    assert pacer.skipped >= 0


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=100))
def test_there_are_never_more_frames_than_the_stall_allows(lateness_s):
    produced = np.array(run_pacer(lateness_s))
    for first in range(len(produced)):
        frames = np.arange(len(produced) - first)
        # A grid 100 ms behind may deliver five frames at once, and one that was due anyway.
        assert (produced[first:] - produced[first] >= frames * FRAME_S - 0.1 - FRAME_S - 1e-6).all()


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8))
def test_what_is_taken_does_not_depend_on_the_chunks_it_was_pushed_in(lengths):
    whole, chunked = PlayoutBuffer(), PlayoutBuffer()
    samples = ramp(0, sum(lengths))
    whole.push(samples)
    for chunk in np.split(samples, np.cumsum(lengths)[:-1]):
        chunked.push(chunk)
    while whole.queued_samples:
        one, other = whole.take(), chunked.take()
        assert np.array_equal(one.samples, other.samples)
        assert one.audio_samples == other.audio_samples
        assert whole.taken_samples == chunked.taken_samples
    assert chunked.queued_samples == 0
