"""Rates, on a clock of our own."""

from __future__ import annotations

from agent.hub.limits import AttemptLimiter


def test_attempts_within_the_window() -> None:
    limiter = AttemptLimiter(max_attempts=3, window_s=60)
    assert [limiter.wait_s("a", now_s) for now_s in (0, 10, 20)] == [0, 0, 0]
    # Of the last three attempts, this one included, the first has to be forgotten.
    assert limiter.wait_s("a", 30) == 40
    assert limiter.wait_s("b", 30) == 0
    assert limiter.wait_s("a", 70) == 0


def test_refused_attempts_count_so_hammering_does_not_pay() -> None:
    limiter = AttemptLimiter(max_attempts=2, window_s=60)
    assert [limiter.wait_s("a", 0) for _ in range(2)] == [0, 0]
    assert all(limiter.wait_s("a", second) > 0 for second in range(1, 300))


def test_the_memory_of_sources_is_bounded() -> None:
    limiter = AttemptLimiter(max_attempts=1, window_s=60, max_sources=2)
    for source in ("a", "b", "c"):
        assert limiter.wait_s(source, 0) == 0
    assert limiter.wait_s("c", 1) > 0
    assert limiter.wait_s("b", 1) > 0
    assert limiter.wait_s("a", 1) == 0
