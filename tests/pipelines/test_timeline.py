from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.timeline import Step, Timeline


def test_speculation_behind_the_pause_costs_nothing() -> None:
    timeline = Timeline(1)
    for step, at_ms in zip(Step, [1000, 1200, 1250, 1250, 1350, 1400, 1640, 1660], strict=True):
        timeline.mark(step, at_ms)
    assert timeline.total_ms == 660
    assert timeline.steps_ms() == {
        "pause_ms": 200,
        "stt_ms": 50,
        "llm_ms": 100,
        "tts_ms": 50,
        "endpoint_ms": 240,
        "playout_ms": 20,
    }


def test_thinking_that_waited_for_the_end_of_the_turn_is_no_slow_model() -> None:
    timeline = Timeline(1)
    for step, at_ms in zip(Step, [1000, 1100, 1150, 1600, 1700, 1750, 1600, 1760], strict=True):
        timeline.mark(step, at_ms)
    steps_ms = timeline.steps_ms()
    assert (steps_ms["endpoint_ms"], steps_ms["llm_ms"]) == (450, 100)
    assert sum(steps_ms.values()) == timeline.total_ms == 760


def test_a_typed_turn_has_no_voice_to_voice_time() -> None:
    timeline = Timeline(1)
    timeline.mark(Step.AUDIBLE, 5)
    assert timeline.total_ms is None
    assert timeline.steps_ms() == {}


@given(st.dictionaries(st.sampled_from(list(Step)[1:-1]), st.floats(0, 10_000)), st.floats(0, 10_000))
def test_the_parts_add_up_to_the_total(marks: dict[Step, float], total_ms: float) -> None:
    timeline = Timeline(1, {Step.SPEECH_END: 0.0, Step.AUDIBLE: total_ms, **marks})
    assert sum(timeline.steps_ms().values()) == pytest.approx(total_ms)
