"""Rates, on a clock of our own."""

from __future__ import annotations

from agent.hub.limits import AttemptLimiter


def test_attempts_within_the_window() -> None:
    limiter = AttemptLimiter(max_attempts=3, window_s=60)
    assert [limiter.allow("a", 0) for _ in range(4)] == [True, True, True, False]
    assert limiter.allow("b", 0)
    assert not limiter.allow("a", 59)
    assert limiter.allow("a", 200)


def test_refused_attempts_count_so_hammering_does_not_pay() -> None:
    limiter = AttemptLimiter(max_attempts=2, window_s=60)
    limiter.allow("a", 0)
    limiter.allow("a", 0)
    assert not any(limiter.allow("a", second) for second in range(1, 300))


def test_the_memory_of_sources_is_bounded() -> None:
    limiter = AttemptLimiter(max_attempts=1, window_s=60, max_sources=2)
    for source in ("a", "b", "c"):
        assert limiter.allow(source, 0)
    assert not limiter.allow("c", 1)
    assert not limiter.allow("b", 1)
    assert limiter.allow("a", 1)
