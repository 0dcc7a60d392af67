"""When a line is asked for a sign of life, and when it counts as dead: arithmetic, no waiting."""

from __future__ import annotations

import math

import pytest

from agent.realtime.signalling.liveness import Liveness, ping_after_s


def line(inactivity_s: float | None = 60.0) -> Liveness:
    return Liveness(0.0, inactivity_s=inactivity_s, alive_s=5.0)


def play(liveness: Liveness, until_s: float) -> list[tuple[float, str]]:
    """What becomes due when nothing is heard."""
    seen: list[tuple[float, str]] = []
    now_s = liveness.heard_s
    while now_s <= until_s:
        due = liveness.due(now_s)
        if due is not None:
            seen.append((now_s, due))
        if due == "dead":
            break
        now_s = max(now_s, liveness.next_s)
    return seen


@pytest.mark.parametrize(("timeout_s", "expected_s"), [(60, 20), (3, 1), (0.5, 1)])
def test_a_quiet_line_is_asked_after_a_third_of_the_timeout(timeout_s: float, expected_s: float) -> None:
    assert ping_after_s(timeout_s) == expected_s


def test_silence_is_asked_about_twice_and_then_is_death() -> None:
    assert play(line(), 100) == [(20, "ping"), (40, "ping"), (60, "dead")]


def test_whatever_is_heard_starts_the_time_afresh() -> None:
    liveness = line()
    liveness.heard(19)
    assert liveness.due(20) is None
    assert play(liveness, 100) == [(39, "ping"), (59, "ping"), (79, "dead")]


@pytest.mark.parametrize("off", [None, 0, 0.0])
def test_the_watch_can_be_off(off: float | None) -> None:
    liveness = line(off)
    assert liveness.next_s == math.inf
    assert liveness.due(1e9) is None


@pytest.mark.parametrize("inactivity_s", [None, 60.0])
def test_a_doubted_line_is_asked_at_once_and_has_five_seconds(inactivity_s: float | None) -> None:
    liveness = line(inactivity_s)
    assert liveness.doubt(7)
    assert liveness.due(7) == "ping"
    assert liveness.due(7) is None
    assert liveness.next_s == 12
    assert liveness.due(11.9) is None
    assert liveness.due(12) == "dead"


def test_anything_heard_settles_the_doubt() -> None:
    liveness = line()
    liveness.doubt(7)
    assert liveness.due(7) == "ping"
    liveness.heard(7.5)
    assert liveness.due(13) is None
    assert liveness.next_s == 27.5


def test_what_was_heard_before_the_doubt_settles_nothing() -> None:
    liveness = line()
    liveness.heard(6.9)
    liveness.doubt(7)
    assert liveness.dead_s == 12


def test_doubting_again_does_not_put_the_end_off() -> None:
    liveness = line()
    assert liveness.doubt(7)
    assert not liveness.doubt(9)
    assert not liveness.doubt(11.9)
    assert liveness.dead_s == 12


def test_the_line_is_not_asked_more_than_once_a_second() -> None:
    liveness = line()
    assert liveness.doubt(7)
    assert liveness.due(7) == "ping"
    liveness.heard(7.01)
    assert not liveness.doubt(7.9)
    assert liveness.due(7.9) is None
    assert liveness.doubt(8)
    assert liveness.due(8) == "ping"


def test_a_doubt_shortly_before_the_end_does_not_put_it_off() -> None:
    liveness = line()
    liveness.doubt(59)
    assert liveness.dead_s == 60
