"""Choices and bounds of the peer layer that need no connection."""

from __future__ import annotations

import asyncio

from agent.realtime.frames import Direct, Member
from agent.realtime.negotiation.signals import Candidate
from agent.realtime.remote.early import (
    MAX_AGE_S,
    MAX_CANDIDATE_AGE_S,
    MAX_EARLY_CANDIDATES,
    MAX_MESSAGES,
    EarlyCandidates,
    EarlyMessages,
)
from agent.realtime.remote.peer_events import (
    DROPPED_DATA,
    MAX_WAITING_DATA,
    DataReceived,
    PeerEvents,
    PeerJoined,
    StateChanged,
)
from agent.realtime.remote.surroundings import Surroundings
from agent.realtime.room.pacing import Pacer
from agent.realtime.room.roster import MAX_PEERS, Roster


def test_early_messages_wait_for_their_sender_only_and_in_order():
    early = EarlyMessages()
    for sender, data in (("a", 1), ("b", 2), ("a", 3)):
        early.keep(Direct(sender, data), 0.0)
    assert [message.data for message in early.take("a", 1.0)] == [1, 3]
    assert early.take("a", 1.0) == []
    assert [message.data for message in early.take("b", 1.0)] == [2]


def test_early_messages_are_few_and_soon_forgotten():
    early = EarlyMessages()
    for number in range(MAX_MESSAGES + 10):
        early.keep(Direct("a", number), 0.0)
    assert len(early) == MAX_MESSAGES
    assert early.take("a", 0.0)[0].data == 10
    early.keep(Direct("a", "old"), 0.0)
    assert early.take("a", MAX_AGE_S + 0.01) == []


def test_early_candidates_wait_for_their_description_and_in_order():
    early, at = EarlyCandidates(), "candidate:{}".format
    for number, ufrag in enumerate(("new", "other", "new", None)):
        early.keep(Candidate(at(number), "0", 0, ufrag), 0.0)
    # The end of the candidates of an offer that was given up is not the end of those of the next.
    early.keep(Candidate(None), 0.0)
    assert [candidate.text for candidate in early.take("new", 1.0)] == [at(0), at(2)]
    assert early.take("new", 1.0) == []
    assert [candidate.text for candidate in early.take("other", 1.0)] == [at(1)]


def test_early_candidates_are_few_and_soon_forgotten():
    early = EarlyCandidates()
    for number in range(MAX_EARLY_CANDIDATES + 10):
        early.keep(Candidate(str(number), "0", 0, "u"), 0.0)
    assert early.take("u", 0.0)[0].text == "10"
    early.keep(Candidate("old", "0", 0, "u"), 0.0)
    assert early.take("u", MAX_CANDIDATE_AGE_S + 0.01) == []


async def test_data_nobody_takes_is_dropped_but_what_happens_to_peers_is_not():
    events, dropped = PeerEvents(), DROPPED_DATA._value.get()
    for number in range(MAX_WAITING_DATA + 5):
        events.put(DataReceived("a", number, "direct", None))
    events.put(StateChanged(None, "reconnecting"))
    events.finish()
    events.put(StateChanged(None, "never"))
    seen = [event async for event in events]
    assert [event.data for event in seen[:-1]] == list(range(MAX_WAITING_DATA))
    assert seen[-1] == StateChanged(None, "reconnecting")
    assert DROPPED_DATA._value.get() == dropped + 5


async def test_a_room_of_thousands_costs_no_more_than_the_limit():
    async def unsent(_peer_id: str, _data: object) -> bool:
        return False

    events: list[object] = []
    async with asyncio.TaskGroup() as tasks:
        roster = Roster(
            tasks,
            Surroundings(
                send=unsent,
                turn=Pacer().turn,
                is_online=lambda: True,
                check_line=lambda: None,
                ice_servers=lambda: (),
                relay_only=False,
                outgoing=lambda _: (),
                receive_video=False,
                emit=events.append,
                spawn=tasks.create_task,
            ),
        )
        roster.own_id_is("me")
        roster.here(Member("me"))
        for number in range(2000):
            roster.here(Member(f"peer-{number}"))
        roster.here(Member("peer-1", {"name": "again"}))
        assert len(roster.remotes) == MAX_PEERS
        assert sum(isinstance(event, PeerJoined) for event in events) == MAX_PEERS
        assert roster.remotes["peer-1"].metadata == {"name": "again"}
        roster.gone("peer-1")
        roster.gone("peer-1")
        roster.here(Member("peer-1999"))
        assert "peer-1999" in roster.remotes
        roster.own_id_is("me-again")
        roster.gone("peer-2")
        roster.here(Member("me"))
        assert "me" not in roster.remotes, "our own ghost is not a peer"
        roster.gone("peer-3")
        for impossible in ("x" * 129, "line\nbreak", "half \ud800"):
            roster.here(Member(impossible))
            assert impossible not in roster.remotes, "nothing can be sent there"
        roster.close()
    assert not roster.remotes
