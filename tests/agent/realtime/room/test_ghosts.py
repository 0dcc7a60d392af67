"""Who is taken for the predecessor of whom."""

from __future__ import annotations

from dataclasses import dataclass

from agent.realtime.frames import Member
from agent.realtime.negotiation.sdp import Msid
from agent.realtime.room.ghosts import MAX_GHOSTS, MIN_UNIQUE_CHARS, Ghosts, predecessors

VOICE = Msid("voice", "t" * MIN_UNIQUE_CHARS)
SCREEN = Msid("screen", "s" * MIN_UNIQUE_CHARS)


@dataclass
class Somebody:
    id: str
    state: str = "reconnecting"
    announces: frozenset[Msid] = frozenset({VOICE})


def test_whoever_sends_the_same_track_has_been_the_one_from_whom_nothing_comes():
    ghosts = [Somebody("a"), Somebody("b", announces=frozenset({SCREEN})), Somebody("c", "connecting")]
    assert predecessors(Somebody("new"), ghosts) == ["a", "c"]


def test_one_who_is_connected_is_nobodys_predecessor():
    assert predecessors(Somebody("stranger"), [Somebody("a", "connected")]) == []


def test_names_that_two_peers_may_well_have_prove_nothing():
    for msid in (Msid("voice", "microphone"), Msid(None, VOICE.track_id), Msid("voice", None)):
        same = frozenset({msid})
        assert predecessors(Somebody("new", announces=same), [Somebody("a", announces=same)]) == []


def test_ghosts_are_forgotten_when_they_are_gone_or_many():
    ghosts = Ghosts()
    for number in range(MAX_GHOSTS + 1):
        ghosts.add(Member(str(number)))
    assert "0" not in ghosts
    assert ghosts.pop("1") == Member("1")
    assert ghosts.pop("1") is None
    ghosts.keep_only(["2", "elsewhere"])
    assert "2" in ghosts
    assert "3" not in ghosts
