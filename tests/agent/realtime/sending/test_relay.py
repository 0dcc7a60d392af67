"""Tracks of the application's that stand still and run ahead."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest

from agent.realtime.sending import relay
from agent.realtime.sending.relay import EARLY, MAX_EARLY_SAMPLES, MAX_LATE_SAMPLES, Shaper
from tests.agent.realtime.opus_parts import FRAME, RATE_HZ, voice
from tests.agent.realtime.sending_parts import RealTime, speaking

MAX_EARLY_FRAMES = MAX_EARLY_SAMPLES // FRAME


class Clock:
    """Stands for `time` in what places sound."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    @property
    def samples(self) -> int:
        return int(self.now_s * RATE_HZ)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(relay, "time", clock)
    return clock


def frame(rate_hz: int = RATE_HZ, ms: int = 20) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.ones((1, rate_hz * ms // 1000), np.int16), "s16", "mono")
    made.sample_rate, made.pts, made.time_base = rate_hz, 0, Fraction(1, rate_hz)
    return made


def early_s() -> float:
    return float(EARLY._value.get())


@pytest.fixture
def take(clock: Clock) -> Callable[..., list[int]]:
    """So many frames, `every_s`: how far ahead of the clock each is that is sent."""
    shape = Shaper()

    def take(frames: int, every_s: float, **kind: int) -> list[int]:
        ahead = []
        for _ in range(frames):
            ahead += [shaped.pts - clock.samples for shaped in shape(frame(**kind))]
            clock.now_s += every_s
        return ahead

    return take


def test_what_a_stall_held_back_is_left_out_but_for_its_beginning(clock: Clock, take):
    before = early_s()
    assert len(take(20, 0.02)) == 20
    clock.now_s += 1.0
    burst = take(51, 0.0)
    assert len(burst) == MAX_EARLY_FRAMES + 1
    assert burst[0] == 0
    assert early_s() - before == pytest.approx(0.02 * (51 - len(burst)))
    clock.now_s += 0.02
    assert len(take(100, 0.02)) == 100, "what comes in time again"


def test_a_pause_of_a_track_is_one_for_the_listener(clock: Clock, take):
    take(5, 0.02)
    clock.now_s += 1.0
    assert max(map(abs, take(50, 0.02))) <= 1


def test_short_stalls_are_caught_up(clock: Clock, take):
    before = early_s()
    for _ in range(20):
        clock.now_s += MAX_LATE_SAMPLES / RATE_HZ - 0.02
        assert len(take(9, 0.0)) == 9
    assert early_s() == before


@pytest.mark.parametrize("kind", [{"ms": 10}, {"ms": 500}, {"rate_hz": 8000, "ms": 260}])
def test_frames_of_any_length_are_sent_whole_if_they_come_in_time(kind: dict[str, int], take):
    before = early_s()
    sent = take(40, kind["ms"] / 1000, **kind)
    assert len(sent) == pytest.approx(40 * kind["ms"] / 20, abs=2)
    assert early_s() == before


def test_a_track_whose_clock_is_too_fast_does_not_run_away(take):
    before = early_s()
    assert max(take(5000, 0.0199)) <= MAX_EARLY_SAMPLES + FRAME
    assert early_s() - before == pytest.approx(5000 * 0.0001 - MAX_EARLY_SAMPLES / RATE_HZ, abs=0.04)


class Stalled(RealTime):
    """Hands out a second of sound at once, and goes on in real time."""

    async def due(self) -> None:
        if self.taken == 0:
            self.begin_s = time.monotonic()
        if self.taken >= 50:
            await super().due()


async def test_a_track_that_runs_ahead_is_sent_at_the_pace_of_time():
    track = Stalled(voice(1.0).reshape(-1, FRAME))
    async with speaking(track) as speaker:
        sent = 0
        while sent < 2 * MAX_EARLY_FRAMES:
            sent = len(await speaker.sent(sent + 1))
            passed_frames = (time.monotonic() - track.begin_s) * RATE_HZ / FRAME
            assert sent <= MAX_EARLY_FRAMES + 2 + passed_frames
            first, newest = speaker.packets[0].timestamp, speaker.packets[-1].timestamp
            assert (newest - first) % (1 << 32) / FRAME <= MAX_EARLY_FRAMES + 2 + passed_frames
