from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.events import Offset, Quiet
from pipelines.interruption import PlayedLevels
from pipelines.listener import MAX_LAG_MS, AudioClock, Listener, SpeechEvent
from pipelines.options import VadOptions


def test_blocks_that_come_on_time_were_said_just_now() -> None:
    clock = AudioClock()
    assert [clock.advance(20, at) for at in (100, 120, 140)] == [100, 120, 140]


def test_blocks_that_come_in_a_bunch_were_said_one_after_the_other() -> None:
    clock = AudioClock()
    clock.advance(20, 100)
    bunch = [clock.advance(20, 400) for _ in range(15)]
    assert bunch[0] == pytest.approx(120, abs=2)
    assert bunch[-1] == 400
    assert max(b - a for a, b in itertools.pairwise(bunch)) <= 21


def test_a_caller_who_sent_nothing_for_long_starts_anew() -> None:
    clock = AudioClock()
    clock.advance(20, 100)
    assert clock.advance(20, 200 + MAX_LAG_MS) == 200 + MAX_LAG_MS


def test_a_lost_packet_is_made_good() -> None:
    clock = AudioClock()
    times = [clock.advance(20, at) for at in (100, *range(160, 1160, 20))]
    assert times[1] < 130
    assert times[-1] == 1140


@given(st.lists(st.floats(0, 700), max_size=50))
def test_time_never_runs_ahead_or_back(gaps: list[float]) -> None:
    clock, now_ms, last_ms = AudioClock(), 0.0, 0.0
    for gap in gaps:
        now_ms += gap
        at_ms = clock.advance(20, now_ms)
        assert last_ms <= at_ms <= now_ms
        last_ms = at_ms


async def test_a_line_that_goes_dead_in_mid_word_ends_the_speech() -> None:
    events: list[SpeechEvent] = []
    listener = Listener(
        "ann",
        VadOptions(onset_ms=32),
        played=PlayedLevels(),
        now_ms=lambda: 0.0,
        on_event=events.append,
        on_heard=lambda: None,
    )
    listener._detector.speaking = True

    async def nothing():  # type: ignore[no-untyped-def]
        for _ in range(3):
            yield np.zeros(320, np.float32)

    await listener.run(nothing())
    assert [type(event) for event in events if not isinstance(event, Quiet)] == [Offset]
