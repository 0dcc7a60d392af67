"""Choices and bounds of the peer layer that need no connection."""

from __future__ import annotations

import asyncio

import pytest

from agent.realtime import IceServer
from agent.realtime.early import MAX_AGE_S, MAX_MESSAGES, EarlyMessages
from agent.realtime.frames import Direct, Member
from agent.realtime.ice_choice import configuration
from agent.realtime.peer_events import (
    DROPPED_DATA,
    MAX_WAITING_DATA,
    DataReceived,
    PeerEvents,
    PeerJoined,
    StateChanged,
)
from agent.realtime.roster import MAX_PEERS, Roster
from agent.realtime.surroundings import Surroundings


def urls(servers: list[IceServer], attempt: int = 0) -> list[str]:
    return [server.urls for server in configuration(servers, attempt).iceServers]


def test_without_servers_nobody_is_asked():
    assert configuration([], 0).iceServers == []


def test_urls_aiortc_would_choke_on_are_passed_over():
    servers = [
        IceServer(("stun:a?transport=udp", "stuns:a", "STUN:b:3478")),
        IceServer(("turn:c",)),
        IceServer(("turns:d?transport=udp", "turn:e?transport=sctp", "turn:f:99:9"), "user", "secret"),
    ]
    assert urls(servers) == ["stun:b:3478"]


def test_each_attempt_takes_the_next_turn_url():
    servers = [
        IceServer(("stun:s:80",)),
        IceServer(("turn:t:80",), "user", "secret"),
        IceServer(("turn:t:80?transport=tcp", "turns:t:443?transport=tcp"), "user", "secret"),
    ]
    assert [urls(servers, attempt)[1] for attempt in range(4)] == [
        "turn:t:80",
        "turn:t:80?transport=tcp",
        "turns:t:443?transport=tcp",
        "turn:t:80",
    ]
    chosen = configuration(servers, 0).iceServers[1]
    assert (chosen.username, chosen.credential) == ("user", "secret")


@pytest.mark.parametrize("url", ["turn:[2001:db8::1]:3478", "TURN:host", "turn:1.2.3.4:80?transport=TCP"])
def test_addresses_of_all_kinds(url: str):
    assert len(urls([IceServer((url,), "user", "secret")])) == 1


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
                is_online=lambda: True,
                ice_servers=lambda: (),
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
        roster.close()
    assert not roster.remotes
