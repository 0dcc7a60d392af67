"""The room logic, frame by frame, without a socket."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hub.keys import ALL_ACTIONS
from agent.hub.rooms import (
    MAX_CHANNELS_PER_CONNECTION,
    MAX_PEERS_PER_ROOM,
    Grant,
    Output,
)
from agent.realtime.codes import Action
from agent.realtime.frames import (
    Ack,
    ClientFrame,
    Direct,
    ErrorFrame,
    Member,
    Message,
    Ping,
    Pong,
    Presence,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
)
from tests.agent.hub.rooms_parts import error, make_rooms

# ---- subscribing and presence ---------------------------------------------------------------------------


def test_the_first_one_gets_an_ack_and_an_empty_roster() -> None:
    rooms = make_rooms("a")
    assert rooms.handle(1, Subscribe("room", "r")) == [(1, Ack("r")), (1, Presence("room"))]


def test_a_newcomer_learns_who_is_there_before_the_others_learn_of_it() -> None:
    rooms = make_rooms("a", "b", "c")
    rooms.handle(1, Subscribe("room"))
    rooms.handle(2, Subscribe("room"))
    assert rooms.handle(3, Subscribe("room", "r")) == [
        (3, Ack("r")),
        (3, Presence("room", joined=(Member("a"), Member("b")))),
        (1, Presence("room", joined=(Member("c"),))),
        (2, Presence("room", joined=(Member("c"),))),
    ]
    assert rooms.members("room") == (Member("a"), Member("b"), Member("c"))


def test_no_ack_without_request_id() -> None:
    rooms = make_rooms("a")
    assert rooms.handle(1, Subscribe("room")) == [(1, Presence("room"))]
    assert rooms.handle(1, Publish("room", 1)) == []
    assert rooms.handle(1, Unsubscribe("room")) == []


def test_presence_carries_the_peers_metadata() -> None:
    rooms = make_rooms("a", peer_metadata={"name": "A"})
    rooms.connect(2, Grant("b", ALL_ACTIONS, peer_metadata={"name": "B"}))
    rooms.handle(1, Subscribe("room"))
    assert rooms.handle(2, Subscribe("room")) == [
        (2, Presence("room", joined=(Member("a", {"name": "A"}),))),
        (1, Presence("room", joined=(Member("b", {"name": "B"}),))),
    ]
    assert rooms.disconnect(2) == [(1, Presence("room", left=(Member("b", {"name": "B"}),)))]


def test_subscribing_again_gives_the_roster_again_and_tells_nobody() -> None:
    rooms = make_rooms("a", "b")
    rooms.handle(1, Subscribe("room"))
    rooms.handle(2, Subscribe("room"))
    roster = Presence("room", joined=(Member("a"),))
    assert rooms.handle(2, Subscribe("room", "r2")) == [(2, Ack("r2")), (2, roster)]


def test_subscribing_again_replaces_the_metadata_flag() -> None:
    rooms = make_rooms("a", "b", peer_metadata={"name": "X"})
    rooms.handle(1, Subscribe("room"))
    plain, signed = Message("room", "b", 1), Message("room", "b", 1, {"name": "X"})
    assert rooms.handle(2, Publish("room", 1)) == [(1, plain)]
    rooms.handle(1, Subscribe("room", include_sender_metadata=True))
    assert rooms.handle(2, Publish("room", 1)) == [(1, signed)]
    rooms.handle(1, Subscribe("room"))
    assert rooms.handle(2, Publish("room", 1)) == [(1, plain)]


def test_leaving_tells_the_others_once() -> None:
    rooms = make_rooms("a", "b")
    rooms.handle(1, Subscribe("room"))
    rooms.handle(2, Subscribe("room"))
    assert rooms.handle(2, Unsubscribe("room", "r")) == [
        (2, Ack("r")),
        (1, Presence("room", left=(Member("b"),))),
    ]
    assert rooms.handle(2, Unsubscribe("room", "r2")) == [(2, Ack("r2"))]
    assert rooms.disconnect(2) == []


def test_a_lost_connection_leaves_every_room() -> None:
    rooms = make_rooms("a", "b")
    for channel in ("x", "y"):
        rooms.handle(1, Subscribe(channel))
        rooms.handle(2, Subscribe(channel))
    assert rooms.disconnect(2) == [
        (1, Presence("x", left=(Member("b"),))),
        (1, Presence("y", left=(Member("b"),))),
    ]
    assert rooms.disconnect(2) == []
    rooms.disconnect(1)
    assert rooms.is_empty()


def test_a_peer_with_two_connections_joins_once_and_leaves_once() -> None:
    rooms = make_rooms("watcher", "twin", "twin")
    rooms.handle(1, Subscribe("room"))
    roster = Presence("room", joined=(Member("watcher"),))
    assert rooms.handle(2, Subscribe("room")) == [
        (2, roster),
        (1, Presence("room", joined=(Member("twin"),))),
    ]
    assert rooms.handle(3, Subscribe("room")) == [(3, roster)]
    assert rooms.disconnect(2) == []
    assert rooms.members("room") == (Member("watcher"), Member("twin"))
    assert rooms.disconnect(3) == [(1, Presence("room", left=(Member("twin"),)))]


def test_one_without_presence_permission_hears_none_but_is_seen() -> None:
    rooms = make_rooms("a")
    rooms.connect(2, Grant("blind", frozenset({Action.SUBSCRIBE})))
    rooms.connect(3, Grant("c", ALL_ACTIONS))
    rooms.handle(1, Subscribe("room"))
    assert rooms.handle(2, Subscribe("room", "r")) == [
        (2, Ack("r")),
        (1, Presence("room", joined=(Member("blind"),))),
    ]
    assert [to for to, _ in rooms.handle(3, Subscribe("room"))] == [3, 1]
    assert [to for to, _ in rooms.disconnect(3)] == [1]


# ---- publish --------------------------------------------------------------------------------------------


def test_publish_reaches_every_other_connection_of_the_room() -> None:
    rooms = make_rooms("a", "b", "a", "outsider")
    for connection in (1, 2, 3):
        rooms.handle(connection, Subscribe("room"))
    message = Message("room", "a", {"x": 1})
    assert rooms.handle(1, Publish("room", {"x": 1}, "r")) == [(1, Ack("r")), (3, message), (2, message)]


def test_a_publisher_need_not_be_in_the_room() -> None:
    rooms = make_rooms("a", "b")
    rooms.handle(1, Subscribe("room"))
    assert rooms.handle(2, Publish("room", None)) == [(1, Message("room", "b", None))]
    assert rooms.handle(2, Publish("nobody-here", None, "r")) == [(2, Ack("r"))]


def test_no_metadata_is_made_up() -> None:
    rooms = make_rooms("a", "b")
    rooms.handle(1, Subscribe("room", include_sender_metadata=True))
    assert rooms.handle(2, Publish("room", 1)) == [(1, Message("room", "b", 1))]


# ---- send -----------------------------------------------------------------------------------------------


def test_send_reaches_every_connection_of_the_peer_with_metadata() -> None:
    rooms = make_rooms("a", "b", "b", peer_metadata={"name": "X"})
    direct = Direct("a", 5, {"name": "X"})
    assert rooms.handle(1, Send("b", 5, "r")) == [(1, Ack("r")), (2, direct), (3, direct)]


def test_send_to_oneself_is_delivered() -> None:
    assert make_rooms("a").handle(1, Send("a", 1)) == [(1, Direct("a", 1))]


def test_send_to_nobody() -> None:
    rooms = make_rooms("a")
    outputs = rooms.handle(1, Send("ghost", 1, "r"))
    assert outputs == [(1, ErrorFrame("peer_not_found", "r", "no such peer is connected"))]


def test_send_is_not_bound_to_channels() -> None:
    rooms = make_rooms("a", "b", patterns=(("only-this",),))
    assert rooms.handle(1, Send("b", 1)) == [(2, Direct("a", 1))]


def test_ping() -> None:
    assert make_rooms("a", actions=frozenset()).handle(1, Ping()) == [(1, Pong())]


# ---- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "action"),
    [
        (Subscribe("room", "r"), Action.SUBSCRIBE),
        (Publish("room", 1, "r"), Action.PUBLISH),
        (Send("a", 1, "r"), Action.SEND),
    ],
)
def test_an_action_not_granted_is_refused_and_nothing_happens(frame: ClientFrame, action: Action) -> None:
    rooms = make_rooms("a", "b", actions=ALL_ACTIONS - {action})
    [(to, answer)] = rooms.handle(1, frame)
    assert to == 1
    assert isinstance(answer, ErrorFrame)
    assert (answer.code, answer.request_id) == ("action_not_permitted", "r")
    assert rooms.members("room") == ()


@pytest.mark.parametrize("frame", [Subscribe("other/room"), Publish("other/room", 1)])
def test_a_channel_not_granted_is_refused(frame: ClientFrame) -> None:
    assert error(make_rooms("a", patterns=(("app/**",),)).handle(1, frame)) == "channel_not_authorized"


def test_key_and_token_must_both_allow_the_channel() -> None:
    rooms = make_rooms("a", patterns=(("app/**",), ("app/x", "elsewhere")))
    assert rooms.handle(1, Subscribe("app/x")) == [(1, Presence("app/x"))]
    assert error(rooms.handle(1, Subscribe("app/y"))) == "channel_not_authorized"
    assert error(rooms.handle(1, Subscribe("elsewhere"))) == "channel_not_authorized"


@pytest.mark.parametrize("frame", [Subscribe("_metered/x"), Publish("_System/x", 1)])
def test_reserved_channels_are_refused(frame: ClientFrame) -> None:
    assert error(make_rooms("a").handle(1, frame)) == "channel_reserved"


def test_a_connection_holds_a_hundred_channels() -> None:
    rooms = make_rooms("a")
    for number in range(MAX_CHANNELS_PER_CONNECTION):
        rooms.handle(1, Subscribe(f"room-{number}"))
    assert error(rooms.handle(1, Subscribe("one-more"))) == "channel_limit_exceeded"
    assert rooms.handle(1, Subscribe("room-0")) == [(1, Presence("room-0"))]
    rooms.handle(1, Unsubscribe("room-0"))
    assert rooms.handle(1, Subscribe("one-more")) == [(1, Presence("one-more"))]


def test_a_room_holds_a_bounded_number_of_peers() -> None:
    rooms = make_rooms(*(f"p{number}" for number in range(MAX_PEERS_PER_ROOM + 1)), "p0")
    for connection in range(1, MAX_PEERS_PER_ROOM + 1):
        rooms.handle(connection, Subscribe("room"))
    assert error(rooms.handle(MAX_PEERS_PER_ROOM + 1, Subscribe("room"))) == "channel_limit_exceeded"
    # Another connection of a peer that is there takes no place.
    [(_, roster)] = rooms.handle(MAX_PEERS_PER_ROOM + 2, Subscribe("room"))
    assert isinstance(roster, Presence)
    assert len(roster.joined) == MAX_PEERS_PER_ROOM - 1


# ---- properties -----------------------------------------------------------------------------------------

CHANNELS = st.sampled_from(["x", "y", "z/1"])


STEPS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.one_of(
            st.builds(Subscribe, CHANNELS, include_sender_metadata=st.booleans()),
            st.builds(Unsubscribe, CHANNELS),
            st.builds(Publish, CHANNELS, st.integers()),
            st.builds(Send, st.sampled_from(["a", "b", "c"]), st.integers()),
            st.just("disconnect"),
        ),
    ),
    max_size=40,
)


class Watcher:
    """What each connection believes, from nothing but the frames it was given."""

    def __init__(self) -> None:
        self.rosters: dict[int, dict[str, set[str]]] = defaultdict(dict)

    def see(self, outputs: list[Output], asked: tuple[int, object]) -> None:
        for to, frame in outputs:
            if not isinstance(frame, Presence):
                continue
            joined = {member.peer_id for member in frame.joined}
            left = {member.peer_id for member in frame.left}
            if asked[0] == to and isinstance(asked[1], Subscribe):
                self.rosters[to][frame.channel] = joined
                continue
            roster = self.rosters[to][frame.channel]
            assert not joined & roster, "announced twice"
            assert left <= roster, "left without having been there"
            self.rosters[to][frame.channel] = (roster | joined) - left


@given(STEPS)
def test_everybody_always_knows_exactly_who_is_there(steps: list[tuple[int, Any]]) -> None:
    peer_of = {1: "a", 2: "b", 3: "b", 4: "c", 5: "c"}
    rooms, watcher = make_rooms(*peer_of.values()), Watcher()
    inside: dict[int, set[str]] = {connection: set() for connection in peer_of}
    for connection, step in steps:
        if connection not in inside:
            continue
        if step == "disconnect":
            outputs = rooms.disconnect(connection)
            del inside[connection]
        else:
            outputs = rooms.handle(connection, step)
            if isinstance(step, Subscribe):
                inside[connection].add(step.channel)
            elif isinstance(step, Unsubscribe):
                inside[connection].discard(step.channel)
        watcher.see(outputs, (connection, step))
        for to, frame in outputs:
            # Nothing about a room reaches one who is not in it, and nothing reaches the gone.
            assert to in inside
            if isinstance(frame, (Message, Presence)):
                assert frame.channel in inside[to]
        for member, channels in inside.items():
            for channel in channels:
                peers = {peer_of[other] for other in inside if channel in inside[other]}
                assert watcher.rosters[member][channel] == peers - {peer_of[member]}
    for connection in list(inside):
        rooms.disconnect(connection)
    assert rooms.is_empty()
