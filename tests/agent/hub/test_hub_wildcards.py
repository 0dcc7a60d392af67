"""Subscriptions to many rooms at once, frame by frame, without a socket."""

from __future__ import annotations

from agent.hub.keys import ALL_ACTIONS
from agent.hub.rooms import (
    MAX_WILDCARD_NAMES,
    MAX_WILDCARD_NAMES_PER_KEY,
    MAX_WILDCARDS_PER_CONNECTION,
    Grant,
    Rooms,
)
from agent.realtime.frames import (
    Ack,
    Message,
    Presence,
    Publish,
    Subscribe,
    Unsubscribe,
)
from tests.agent.hub.rooms_parts import error, make_rooms


def test_a_wildcard_subscriber_hears_messages_and_is_not_a_member() -> None:
    rooms = make_rooms("a", "b")
    assert rooms.handle(1, Subscribe("devices/*", "r")) == [(1, Ack("r"))]
    assert rooms.handle(2, Subscribe("devices/7")) == [(2, Presence("devices/7"))]
    assert rooms.handle(2, Publish("devices/7", 1)) == [(1, Message("devices/7", "b", 1))]
    assert rooms.handle(2, Publish("devices/7/deep", 1)) == []
    rooms.handle(1, Unsubscribe("devices/*"))
    assert rooms.handle(2, Publish("devices/7", 1)) == []


def test_two_matching_subscriptions_deliver_once_with_metadata_if_either_asked() -> None:
    rooms = make_rooms("a", "b", peer_metadata={"name": "X"})
    rooms.handle(1, Subscribe("devices/7", include_sender_metadata=True))
    rooms.handle(1, Subscribe("devices/*"))
    rooms.handle(1, Subscribe("**"))
    assert rooms.handle(2, Publish("devices/7", 1)) == [(1, Message("devices/7", "b", 1, {"name": "X"}))]


def test_a_wildcard_must_be_covered() -> None:
    rooms = make_rooms("a", patterns=(("app/*",),))
    assert rooms.handle(1, Subscribe("app/*", "r")) == [(1, Ack("r"))]
    assert error(rooms.handle(1, Subscribe("**"))) == "channel_not_authorized"


def test_a_wildcard_is_not_published_to() -> None:
    assert error(make_rooms("a").handle(1, Publish("devices/*", 1))) == "invalid_channel"


def test_wildcards_of_one_connection_are_few() -> None:
    rooms = make_rooms("a", "b")
    for number in range(MAX_WILDCARDS_PER_CONNECTION):
        assert rooms.handle(1, Subscribe(f"x{number}/*")) == []
    assert error(rooms.handle(1, Subscribe("more/*"))) == "channel_limit_exceeded"
    assert rooms.handle(1, Subscribe("x0/*")) == []
    assert rooms.handle(2, Subscribe("more/*")) == []
    assert rooms.handle(1, Unsubscribe("x0/*")) == []
    assert rooms.handle(1, Subscribe("more/*")) == []


def test_one_key_takes_half_of_all_wildcards_and_no_more() -> None:
    rooms, numbers = Rooms(), range(2 * MAX_WILDCARD_NAMES)
    for number in numbers:
        rooms.connect(number, Grant(f"{number}", ALL_ACTIONS, key_id=("page", "page", "server")[number % 3]))

    def take(key_id: int) -> int:
        """How many names connections of this key can still bring."""
        return sum(rooms.handle(n, Subscribe(f"x{n}/*")) == [] for n in numbers if n % 3 == key_id)

    assert take(0) == MAX_WILDCARD_NAMES_PER_KEY
    assert take(1) == 0
    assert take(2) == MAX_WILDCARD_NAMES - MAX_WILDCARD_NAMES_PER_KEY
    # One that is in use may be shared.
    assert rooms.handle(1, Subscribe("x0/*")) == []
    for number in numbers:
        rooms.disconnect(number)
    assert rooms.is_empty()


def test_wildcards_are_few() -> None:
    rooms = Rooms()
    for number in range(MAX_WILDCARD_NAMES + 1):
        rooms.connect(number, Grant(f"{number}", ALL_ACTIONS, key_id=str(number)))
    for number in range(MAX_WILDCARD_NAMES):
        assert rooms.handle(number, Subscribe(f"x{number}/*")) == []
    assert error(rooms.handle(MAX_WILDCARD_NAMES, Subscribe("more/*"))) == "channel_limit_exceeded"
