"""What is counted, and when counting starts again."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.hub.usage import Usage


def unix(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


def test_now_and_peak() -> None:
    now = unix(2025, 6, 15)
    usage = Usage(now, max_connections=7)
    for _ in range(3):
        usage.connected(now)
    usage.disconnected()
    report = usage.report(now)
    assert (report["concurrentNow"], report["peakConcurrent"]) == (2, 3)
    assert report["plan"]["maxConcurrentConnections"] == 7


def test_the_quota_is_used_up_and_attempts_beyond_it_still_count() -> None:
    now = unix(2025, 6, 15)
    usage = Usage(now, max_connections=1, max_messages=2)
    assert [usage.take_message(now) for _ in range(4)] == [True, True, False, False]
    report = usage.report(now)
    assert (report["messagesUsed"], report["overageMessages"]) == (4, 0)
    assert report["plan"]["maxMessagesPerPeriod"] == 2
    assert not report["plan"]["overagesEnabled"]


def test_without_a_quota_every_message_is_allowed() -> None:
    now = unix(2025, 6, 15)
    usage = Usage(now, max_connections=1)
    assert all(usage.take_message(now) for _ in range(1000))
    report = usage.report(now)
    assert report["messagesUsed"] == report["overageMessages"] == 1000
    assert report["plan"]["overagesEnabled"]


def test_a_new_month_starts_from_zero_with_those_who_are_there() -> None:
    usage = Usage(unix(2024, 12, 31, 23, 59, 59), max_connections=9, max_messages=1)
    for _ in range(2):
        usage.connected(unix(2024, 12, 31, 23, 59, 59))
    usage.disconnected()
    assert usage.take_message(unix(2024, 12, 31, 23, 59, 59))
    assert not usage.take_message(unix(2024, 12, 31, 23, 59, 59))
    report = usage.report(unix(2025, 1, 1))
    assert (report["periodStartUnix"], report["periodEndUnix"]) == (unix(2025, 1, 1), unix(2025, 2, 1))
    assert (report["messagesUsed"], report["peakConcurrent"]) == (0, 1)
    assert usage.take_message(unix(2025, 1, 1))
