"""Token buckets, on a clock of our own."""

from __future__ import annotations

import pytest

from agent.ratelimit import TokenBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=100, burst=200, now_s=0)
    assert [bucket.take(0) for _ in range(201)] == [True] * 200 + [False]
    assert bucket.take(0.01)
    assert not bucket.take(0.01)
    assert [bucket.take(1000) for _ in range(201)] == [True] * 200 + [False]


def test_a_bucket_says_when_the_next_is_there() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=2, now_s=0)
    assert bucket.wait_s(0) == 0
    assert bucket.take(0)
    assert bucket.take(0)
    assert bucket.wait_s(0) == pytest.approx(0.1)
    assert bucket.wait_s(0.05) == pytest.approx(0.05)
    assert bucket.wait_s(0.2) == 0


def test_what_costs_more_is_owed() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=2, now_s=0)
    assert bucket.take(0, count=12)
    assert not bucket.take(1.0)
    assert bucket.take(1.2)
