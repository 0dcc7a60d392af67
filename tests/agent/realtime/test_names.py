"""Names and channel patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.names import (
    covers,
    is_channel,
    is_minted_peer_id,
    is_peer_id,
    is_request_id,
    is_reserved,
    is_wildcard,
    matches,
)


@pytest.mark.parametrize("name", ["a", "é" * 256, "a/b c", "_other/x"])
def test_channels(name: str) -> None:
    assert is_channel(name)


@pytest.mark.parametrize("name", ["", "a" * 257, "a\x00", "a\x1f", "a\x7f", "a\x80", "a\x9f", "\ud800"])
def test_not_channels(name: str) -> None:
    assert not is_channel(name)


def test_peer_ids() -> None:
    assert is_peer_id("~agent é")
    assert is_peer_id("x" * 128)
    assert not is_peer_id("x" * 129)
    assert is_minted_peer_id("~agent 1")
    assert not is_minted_peer_id("é")


def test_request_ids() -> None:
    assert is_request_id("x" * 128)
    assert not is_request_id("")
    assert not is_request_id("x" * 129)


@pytest.mark.parametrize("name", ["_metered/x", "_internal/", "_SYSTEM/a", "_Metered/**"])
def test_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["_metered", "metered/x", "a/_system/"])
def test_not_reserved(name: str) -> None:
    assert not is_reserved(name)


@pytest.mark.parametrize(
    ("pattern", "channel", "expected"),
    [
        ("app/*", "app/room-1", True),
        ("app/*", "app/sub/deep", False),
        ("app/**", "app/room-1", True),
        ("app/**", "app/sub/deep", True),
        ("app/*", "app/", True),
        ("app/*", "app", False),
        ("room-*", "room-42", True),
        ("room-*", "admin-1", False),
        ("Room", "room", False),
        ("*", "", True),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("***", "a/b", True),
        ("devices/*/events", "devices/7/events", True),
        ("devices/*/events", "devices/7/8/events", False),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\b", r"a\b", True),
        (r"a\\*", r"a\anything", True),
        (r"a\b", r"a\b", True),
        ("a.b", "axb", False),
        ("a.b", "a.b", True),
        ("é*", "éa", True),
    ],
)
def test_patterns(pattern: str, channel: str, expected: bool) -> None:
    assert matches(pattern, channel) is expected


@pytest.mark.parametrize(("name", "expected"), [("a/*", True), ("**", True), (r"a\*", False), ("a", False)])
def test_wildcards(name: str, expected: bool) -> None:
    assert is_wildcard(name) is expected


def test_coverage_is_equality_or_everything() -> None:
    assert covers("a/*", "a/*")
    assert covers("**", "a/*")
    assert not covers("a/**", "a/*")


@given(st.text("ab/*\\", max_size=12), st.text("ab/*\\", max_size=12))
def test_agrees_with_a_regular_expression(pattern: str, channel: str) -> None:
    kinds = {"*": "[^/]*", "**": ".*", r"\*": re.escape("*"), r"\\": re.escape("\\")}
    tokens = re.findall(r"\\[*\\]|\*\*|.", pattern)
    expression = "".join(kinds.get(token, re.escape(token)) for token in tokens)
    assert matches(pattern, channel) is bool(re.fullmatch(expression, channel))


def test_a_hostile_pattern_takes_no_longer_than_a_kind_one() -> None:
    # A backtracking matcher would not come back from this one; the test's own timeout is the limit.
    assert not matches("*a" * 128, "a" * 255 + "b")
