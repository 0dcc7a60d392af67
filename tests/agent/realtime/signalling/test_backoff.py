"""When to try again: arithmetic, no waiting."""

from __future__ import annotations

import pytest

from agent.realtime.signalling.backoff import Backoff, floor_s


def test_delays_double_up_to_three_seconds() -> None:
    delays = [Backoff().delay_s(attempt, floor_s=0, spread=0) for attempt in range(1, 8)]
    assert delays == [0.5, 1, 2, 3, 3, 3, 3]


def test_it_is_tried_for_fifty_minutes_even_when_every_delay_is_the_shortest() -> None:
    policy, attempts = Backoff(), 0
    waited_s = 0.0
    while policy.allows(attempts, 1006):
        attempts += 1
        waited_s += policy.delay_s(attempts, floor_s=0, spread=-1)
    assert waited_s + attempts > 50 * 60


def test_two_clients_behind_one_address_stay_below_what_servers_allow_in_a_minute() -> None:
    policy, attempts, now_s = Backoff(), 0, 0.0
    while now_s < 60:
        attempts += 1
        now_s += policy.delay_s(attempts, floor_s=0, spread=-1)
    assert 2 * attempts < 60


def test_the_hundred_thousandth_attempt_does_not_overflow() -> None:
    assert Backoff(max_attempts=None).delay_s(100_000, floor_s=0, spread=0) == 3


@pytest.mark.parametrize(("spread", "expected_s"), [(-1, 0.4), (0, 0.5), (1, 0.6)])
def test_jitter_is_a_fifth_either_way(spread: float, expected_s: float) -> None:
    assert Backoff().delay_s(1, floor_s=0, spread=spread) == pytest.approx(expected_s)


@pytest.mark.parametrize(("spread", "expected_s"), [(-1, 30), (0, 33), (1, 36)])
def test_a_crowd_told_the_same_time_is_spread_out_behind_it(spread: float, expected_s: float) -> None:
    assert Backoff().delay_s(1, floor_s=30, spread=spread) == pytest.approx(expected_s)


def test_a_floor_below_the_delay_changes_nothing() -> None:
    assert Backoff().delay_s(1, floor_s=0.1, spread=0) == 0.5


@pytest.mark.parametrize(
    ("code", "retry_after_ms", "expected_s"),
    [
        (1006, None, 0),
        (1001, 2500, 2.5),
        (4010, None, 30),
        (4010, 60_000, 60),
        (4010, 1000, 30),
        (429, None, 30),
        (429, 90_000, 90),
        (503, None, 0),
        (503, 7000, 7),
    ],
)
def test_floors(code: int, retry_after_ms: int | None, expected_s: float) -> None:
    assert floor_s(code, retry_after_ms) == expected_s


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
def test_terminal_codes(code: int) -> None:
    assert not Backoff(max_attempts=None).allows(0, code)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1009, 4000, 4002, 4010, 4011, 4999, 401, 429])
def test_every_other_code_is_tried_again_until_the_attempts_are_used_up(code: int) -> None:
    assert Backoff().allows(999, code)
    assert not Backoff().allows(1000, code)
    assert Backoff(max_attempts=None).allows(10**6, code)
