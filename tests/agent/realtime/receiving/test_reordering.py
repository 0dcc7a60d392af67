"""How long a missing packet is waited for, by what became of those before it."""

from __future__ import annotations

import random

import pytest

from agent.realtime.receiving.reordering import MAX_WAIT_MS, STEP_MS, ReorderingWait


def learned(late_ms: list[float | None]) -> ReorderingWait:
    wait = ReorderingWait()
    for late in late_ms:
        if late is None:
            wait.never_came()
        else:
            wait.came(late)
    return wait


def test_at_first_it_waits_for_a_packet_that_was_overtaken_by_one_other():
    assert ReorderingWait().wait_ms == 20.0


def test_where_packets_are_only_lost_waiting_is_in_vain():
    assert learned([None] * 100).wait_ms == 0.0


@pytest.mark.parametrize("late_ms", [1.0, 12.0, 37.0, 80.0])
def test_where_packets_come_late_it_waits_just_long_enough(late_ms: float):
    wait_ms = learned([late_ms, None] * 200).wait_ms
    assert late_ms < wait_ms <= late_ms + STEP_MS


def test_few_packets_that_come_very_late_are_not_worth_the_delay_of_all():
    assert learned([*[None] * 9, 150.0] * 30).wait_ms == 0.0
    assert learned([2.0, None, None, 2.0, None, 150.0] * 50).wait_ms == STEP_MS
    # Nobody pays for waiting where every packet comes.
    assert learned([*[2.0] * 9, 150.0] * 30).wait_ms > 150


def test_it_forgets():
    wait = learned([60.0] * 100)
    assert wait.wait_ms > 60
    for _ in range(200):
        wait.never_came()
    assert wait.wait_ms == 0.0
    for _ in range(20):
        wait.came(30.0)
    assert wait.wait_ms == 35.0


def test_what_comes_after_the_longest_wait_is_as_good_as_lost():
    assert learned([MAX_WAIT_MS, 10_000.0] * 100).wait_ms == 0.0


def test_it_costs_less_than_any_wait_that_never_changes():
    """The promise of choosing by expected cost, on a path that reorders and loses."""
    draw = random.Random(3)
    fates = [None if draw.random() < 0.4 else draw.expovariate(1 / 12) for _ in range(3000)]

    def cost(fate: float | None, wait_ms: float) -> float:
        late = fate is not None and fate >= wait_ms
        return min(wait_ms, fate if fate is not None else wait_ms) + (200.0 if late else 0.0)

    adaptive, total = ReorderingWait(), 0.0
    for fate in fates:
        total += cost(fate, adaptive.wait_ms)
        adaptive.never_came() if fate is None else adaptive.came(fate)
    fixed = min(sum(cost(fate, wait_ms) for fate in fates) for wait_ms in range(0, 201, 5))
    assert total < 1.1 * fixed
    assert total < 0.7 * sum(cost(fate, 0.0) for fate in fates)
