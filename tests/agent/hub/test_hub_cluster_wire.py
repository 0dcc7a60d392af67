"""What hub processes write to one another, and one room as the others tell of it: no Redis, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hub.cluster_wire import (
    MAX_PAYLOAD_BYTES,
    Beat,
    Change,
    Kick,
    Relayed,
    ToPeer,
    WireError,
    encode_member,
    encode_note,
    encode_relayed,
    parse_change,
    parse_channel,
    parse_entry,
    parse_note,
    parse_relayed,
)
from agent.hub.mirror import Mirror
from agent.hub.redis_bus import redis_glob
from agent.realtime.frames import Direct, Member, Message

NAMES = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
METADATA = st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=3)


@given(NAMES, NAMES, JSON, METADATA, st.integers(0, 2**53))
def test_what_is_written_is_read(
    name: str, sender: str, data: object, metadata: dict[str, object] | None, seq: int
) -> None:
    relayed = Relayed("node.1", seq, Message(name, sender, data, metadata))
    assert parse_relayed(name, encode_relayed(relayed).encode()) == relayed
    for note in (ToPeer(sender, Direct(name, data, metadata)), Kick(sender), Beat()):
        assert parse_note(encode_note(note).encode()) == note
    member = Member(sender, metadata)
    change = f"node.1\n{seq}\n-{encode_member(member)}".encode()
    assert parse_change(change) == Change("node.1", seq, False, member)
    assert parse_entry(f"node.1\n{sender}".encode(), encode_member(member).encode()) == ("node.1", member)
    assert parse_channel(name.encode()) == name


PIECES = st.sampled_from(
    [
        *("node.1", "1", "+", "-", "\n", "direct", "kick", "beat", "peer", "{", "}", "[", "null", "9" * 30),
        *('{"peerId":"a"}', '{"peerId":"a","metadata":1}', "[" * 5000, "NaN", "1e999", "\ud7ff"),
        *('{"type":"message","channel":"room","from":"a","data":1}', '{"type":"welcome"}'),
        '{"type":"direct","from":"a","data":1}',
    ]
)


@given(st.binary(max_size=50) | st.lists(PIECES, max_size=8).map(lambda pieces: "".join(pieces).encode()))
def test_anything_else_is_refused(payload: bytes) -> None:
    for parse in (parse_change, parse_note, parse_channel, lambda payload: parse_relayed("room", payload)):
        try:
            parsed = parse(payload)
        except WireError:
            continue
        assert isinstance(parsed, (Change, Relayed, ToPeer, Kick, Beat, str))


@pytest.mark.parametrize("extra", [0, 1])
def test_a_payload_has_a_limit(extra: int) -> None:
    head = 'node.1\n1\n{"type":"message","channel":"room","from":"a","data":"'
    payload = (head + "x" * (MAX_PAYLOAD_BYTES - len(head) - 2 + extra) + '"}').encode()
    if extra:
        with pytest.raises(WireError):
            parse_relayed("room", payload)
    else:
        assert parse_relayed("room", payload).seq == 1


def test_an_entry_under_another_name_is_refused() -> None:
    with pytest.raises(WireError):
        parse_entry(b"node.1\na", b'{"peerId":"b"}')


@pytest.mark.parametrize(
    ("wildcard", "glob"),
    [
        ("*", "*"),
        ("a/**", "a/*"),
        ("a/*/b/**/c", "a/*/c"),
        (r"a\*[?]*\\", r"a\*\[\?\]*\\"),
    ],
)
def test_redis_is_asked_for_what_begins_and_ends_like_the_wildcard(wildcard: str, glob: str) -> None:
    assert redis_glob(wildcard) == glob


# ---- one room elsewhere ---------------------------------------------------------------------------------

A, B, C = (Member(name) for name in "abc")


def joined(node: str, seq: int, member: Member) -> Change:
    return Change(node, seq, True, member)


def left(node: str, seq: int, member: Member) -> Change:
    return Change(node, seq, False, member)


def test_changes_before_the_snapshot_count_if_it_does_not_contain_them() -> None:
    mirror = Mirror()
    for change in (joined("n1", 4, A), joined("n1", 6, B), left("n2", 7, C)):
        mirror.apply(change)
    assert mirror.members() == {}
    mirror.load(5, {"n1", "n2"}, [("n2", C)])
    assert mirror.members() == {"b": B}


def test_changes_after_the_snapshot_count_unless_it_contains_them() -> None:
    mirror = Mirror()
    mirror.load(5, {"n1"}, [("n1", B)])
    # Somebody came and went before the snapshot was made: that is news to nobody.
    for change, there in ((joined("n1", 4, A), {"b"}), (left("n1", 5, A), {"b"}), (left("n1", 6, B), set())):
        mirror.apply(change)
        assert set(mirror.members()) == there


def test_a_peer_at_two_nodes_is_there_until_it_left_both() -> None:
    mirror = Mirror()
    mirror.load(0, {"n1", "n2"}, [("n1", A), ("n2", A)])
    mirror.apply(left("n1", 1, A))
    assert mirror.members() == {"a": A}
    mirror.apply(left("n1", 2, A))
    mirror.apply(left("n2", 3, A))
    assert mirror.members() == {}


def test_what_dead_nodes_left_behind_does_not_count() -> None:
    mirror = Mirror()
    mirror.load(0, {"n1"}, [("n1", A), ("dead", B)])
    assert mirror.members() == {"a": A}


def test_those_of_nodes_that_vanished_with_redis_memory_stay_for_a_while() -> None:
    mirror = Mirror()
    mirror.load(0, {"n1", "n2"}, [("n1", A), ("n1", B), ("n2", C)])
    mirror.expect_snapshot()
    mirror.load(0, {"n1"}, [("n1", B)])
    # n1 is alive and says that A left; n2 may come back, under another name.
    assert set(mirror.members()) == {"b", "c"}
    mirror.apply(joined("n3", 1, C))
    mirror.release()
    assert set(mirror.members()) == {"b", "c"}
    mirror.expect_snapshot()
    mirror.load(9, set(), [])
    mirror.release()
    assert mirror.members() == {}
