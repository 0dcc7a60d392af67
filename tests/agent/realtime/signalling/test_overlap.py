"""One stream of frames out of two: what came twice is delivered once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.frames import Direct, GoingAway, Member, Message, Presence
from agent.realtime.signalling.overlap import (
    MAX_CHANNELS,
    MAX_MEMBERS,
    MAX_REMEMBERED,
    Overlap,
    Rosters,
    repeated,
)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", 0),
        ("", "ab", 0),
        ("ab", "", 0),
        ("abc", "bcd", 2),
        ("abc", "abc", 3),
        ("abc", "abcdef", 3),
        ("abc", "c", 1),
        ("abc", "xyz", 0),
        # Not where it is, but where it meets, is what counts.
        ("abc", "ab", 0),
    ],
)
def test_what_is_repeated_is_the_end_of_the_one_and_the_beginning_of_the_other(
    old: str, new: str, expected: int
) -> None:
    assert repeated(old, new) == expected


def unseen(old: list[Message | Direct], new: list[Message | Direct | GoingAway]) -> list[object]:
    overlap = Overlap()
    for frame in old:
        overlap.was_delivered(frame)
    for frame in new:
        assert overlap.hold(frame)
    return list(overlap.unseen())


def test_senders_are_compared_one_by_one() -> None:
    a1, a2, a3, b1, b2 = (Direct(name[0], name) for name in ("a1", "a2", "a3", "b1", "b2"))
    assert unseen([a1, b1, a2], [b1, a2, b2, a3]) == [b2, a3]


def test_the_same_words_on_another_way_are_other_words() -> None:
    direct, in_one, in_other = Direct("a", 1), Message("one", "a", 1), Message("other", "a", 1)
    assert unseen([direct, in_one], [direct, in_one, in_other]) == [in_other]
    assert unseen([direct], [in_one]) == [in_one]


def test_what_the_server_itself_says_is_never_taken_for_a_repetition() -> None:
    assert unseen([], [GoingAway(1), GoingAway(1)]) == [GoingAway(1), GoingAway(1)]


@given(
    sent=st.lists(st.sampled_from("abc"), max_size=60),
    joined=st.integers(0, 60),
    ended=st.integers(0, 60),
    order=st.randoms(use_true_random=False),
)
def test_every_numbered_message_comes_once_and_in_order(sent, joined, ended, order) -> None:
    """Whatever the moment the new connection joins, the old one ends, and how senders interleave on each."""
    joined, ended = sorted((min(joined, len(sent)), min(ended, len(sent))))
    numbered = [Direct(sender, number) for number, sender in enumerate(sent)]
    old, new = numbered[:ended], shuffled(numbered[joined:], order)
    delivered = old + unseen(old, new)
    for sender in "abc":
        theirs = [frame for frame in numbered if frame.sender == sender]
        assert [frame for frame in delivered if frame.sender == sender] == theirs


def shuffled(frames: list[Direct], order) -> list[Direct]:
    """Another interleaving, in which each sender's frames keep their order."""
    by_sender = {sender: [f for f in frames if f.sender == sender] for sender in "abc"}
    places = [frame.sender for frame in frames]
    order.shuffle(places)
    return [by_sender[sender].pop(0) for sender in places]


def test_there_is_a_limit_to_what_is_held_back() -> None:
    overlap = Overlap()
    assert all(overlap.hold(Direct("a", number)) for number in range(MAX_REMEMBERED))
    assert not overlap.hold(Direct("a", -1))


# ---- rosters --------------------------------------------------------------------------------------------

ALICE, BOB, CAROL = (Member(name) for name in ("alice", "bob", "carol"))


def roster(*presences: Presence) -> Rosters:
    rosters = Rosters()
    for presence in presences:
        rosters.apply(presence)
    return rosters


def test_only_what_changed_is_news() -> None:
    before = roster(Presence("room", joined=(ALICE, BOB)), Presence("room", left=(ALICE,)))
    after = roster(Presence("room", joined=(BOB, CAROL)))
    assert after.news(before, "me") == ([Presence("room", joined=(CAROL,))], [])
    assert roster(Presence("room", joined=(BOB,))).news(before, "me") == ([], [])
    assert roster(Presence("room")).news(before, "me") == ([], [Presence("room", left=(BOB,))])


def test_other_metadata_is_news_and_we_ourselves_are_not() -> None:
    before = roster(Presence("room", joined=(BOB,)))
    renamed = Member("bob", {"name": "Bob"})
    after = roster(Presence("room", joined=(renamed, Member("me"))))
    assert after.news(before, "me") == ([Presence("room", joined=(renamed,))], [])


def test_a_channel_of_which_nothing_was_told_is_as_it_was() -> None:
    before = roster(Presence("told", joined=(ALICE,)), Presence("untold", joined=(BOB,)))
    after = roster(Presence("told", joined=()))
    after.inherit(before)
    assert after.news(before, "me") == ([], [Presence("told", left=(ALICE,))])
    assert after.inhabited() == {"untold"}


def test_a_strange_server_does_not_fill_the_memory() -> None:
    rosters = Rosters()
    for number in range(MAX_CHANNELS + 10):
        rosters.apply(Presence(f"room-{number}", joined=(ALICE,)))
    assert len(rosters.known()) == MAX_CHANNELS
    rosters.apply(Presence("room-0", joined=tuple(Member(str(n)) for n in range(2 * MAX_MEMBERS))))
    joined, _ = rosters.news(Rosters(), "me")
    assert len(joined[0].joined) == MAX_MEMBERS
