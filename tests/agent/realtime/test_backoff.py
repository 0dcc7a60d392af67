"""When to try again: arithmetic, no waiting."""

from __future__ import annotations

import pytest

from agent.realtime.backoff import Backoff, floor_s, ping_after_s


def test_delays_double_up_to_half_a_minute() -> None:
    delays = [Backoff().delay_s(attempt, floor_s=0, spread=0) for attempt in range(1, 10)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_hundred_thousandth_attempt_does_not_overflow() -> None:
    assert Backoff(max_attempts=None).delay_s(100_000, floor_s=0, spread=0) == 30


@pytest.mark.parametrize(("spread", "expected_s"), [(-1, 0.4), (0, 0.5), (1, 0.6)])
def test_jitter_is_a_fifth_either_way(spread: float, expected_s: float) -> None:
    assert Backoff().delay_s(1, floor_s=0, spread=spread) == pytest.approx(expected_s)


def test_jitter_comes_after_the_floor() -> None:
    assert Backoff().delay_s(1, floor_s=30, spread=-1) == pytest.approx(24)
    assert Backoff().delay_s(1, floor_s=0.1, spread=0) == 0.5


@pytest.mark.parametrize(
    ("code", "retry_after_ms", "expected_s"),
    [(1006, None, 0), (1001, 2500, 2.5), (4010, None, 30), (4010, 60_000, 60), (4010, 1000, 30)],
)
def test_floors(code: int, retry_after_ms: int | None, expected_s: float) -> None:
    assert floor_s(code, retry_after_ms) == expected_s


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
def test_terminal_codes(code: int) -> None:
    assert not Backoff(max_attempts=None).allows(0, code)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1009, 4000, 4002, 4010, 4011, 4999, 401, 429])
def test_every_other_code_is_tried_again_until_the_attempts_are_used_up(code: int) -> None:
    assert Backoff().allows(99, code)
    assert not Backoff().allows(100, code)
    assert Backoff(max_attempts=None).allows(10**6, code)


@pytest.mark.parametrize(("timeout_s", "expected_s"), [(60, 20), (3, 1), (0.5, 1)])
def test_a_quiet_line_is_asked_after_a_third_of_the_timeout(timeout_s: float, expected_s: float) -> None:
    assert ping_after_s(timeout_s) == expected_s
