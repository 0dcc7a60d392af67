"""Who is in which room, and who gets which frame. Pure: frames in, (connection, frame) pairs out.

A peer is one identity and may own several connections; presence speaks of peers, so a peer joins a room
with its first connection there and leaves it with its last. Messages go to connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.realtime.codes import Action, ErrorCode
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
    ServerFrame,
    Subscribe,
    Unsubscribe,
)
from agent.realtime.json_text import Json, JsonObject
from agent.realtime.names import covers, is_reserved, is_wildcard, matches

ConnectionId: TypeAlias = int
Output: TypeAlias = tuple[ConnectionId, ServerFrame]

MAX_CHANNELS_PER_CONNECTION = 100
#: A snapshot has to fit into the 1 MiB a client takes even if every member carries 4 KB of metadata; the
#: vendor's clients follow no more than this many peers either.
MAX_PEERS_PER_ROOM = 250
#: Every publish is compared with each of these.
MAX_WILDCARD_NAMES = 64
#: So that no connection, and with keys of several kinds no kind of client, takes all of them.
MAX_WILDCARDS_PER_CONNECTION = 8
MAX_WILDCARD_NAMES_PER_KEY = 32


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential entitles a connection to."""

    peer_id: str
    actions: frozenset[Action]
    #: A channel is allowed when each group has a pattern that matches it: the key's, and the token's.
    patterns: tuple[tuple[str, ...], ...] = ()
    peer_metadata: JsonObject | None = None
    #: The key that was shown, or that signed the token.
    key_id: str = field(default="", repr=False)

    def allows(self, channel: str) -> bool:
        return all(any(matches(pattern, channel) for pattern in group) for group in self.patterns)

    def covers(self, wildcard: str) -> bool:
        return all(any(covers(pattern, wildcard) for pattern in group) for group in self.patterns)


@dataclass(slots=True)
class _Connection:
    id: ConnectionId
    grant: Grant
    #: Channel or wildcard name → whether messages carry the sender's metadata.
    subscriptions: dict[str, bool] = field(default_factory=dict)


class _RefusedError(Exception):
    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Rooms:
    """All rooms of one hub. Every method returns what is to be sent, in order."""

    def __init__(self) -> None:
        self._connections: dict[ConnectionId, _Connection] = {}
        #: Peer id → its connections, oldest first.
        self._peers: dict[str, list[_Connection]] = {}
        #: Concrete channel → its connections by peer id, in order of arrival.
        self._rooms: dict[str, dict[str, list[_Connection]]] = {}
        self._wildcards: dict[str, list[_Connection]] = {}
        #: Concrete channel → who is in it at other hub processes, by peer id.
        self._elsewhere: dict[str, dict[str, Member]] = {}

    def connect(self, connection_id: ConnectionId, grant: Grant) -> None:
        connection = _Connection(connection_id, grant)
        self._connections[connection_id] = connection
        self._peers.setdefault(grant.peer_id, []).append(connection)

    def disconnect(self, connection_id: ConnectionId) -> list[Output]:
        """Forget a connection; the others in its rooms learn who left. Unknown ids are passed over."""
        connection = self._connections.pop(connection_id, None)
        if connection is None:
            return []
        outputs = [
            output for name in list(connection.subscriptions) for output in self._leave(connection, name)
        ]
        own = self._peers[connection.grant.peer_id]
        own.remove(connection)
        if not own:
            del self._peers[connection.grant.peer_id]
        return outputs

    def members(self, channel: str) -> tuple[Member, ...]:
        """Who is in `channel`: here in order of arrival, then elsewhere."""
        here = self.here(channel)
        return tuple((here | self._elsewhere.get(channel, {}) | here).values())

    def here(self, channel: str) -> dict[str, Member]:
        """Who is in `channel` with a connection of this hub's own, by peer id."""
        connections = self._rooms.get(channel, {})
        return {peer_id: _member(own) for peer_id, own in connections.items()}

    def elsewhere(self, channel: str, members: Mapping[str, Member]) -> list[Output]:
        """Other hub processes have these in `channel` now, by peer id; returns what is news here."""
        before, here = self._elsewhere.pop(channel, {}), self._rooms.get(channel, {})
        if members:
            self._elsewhere[channel] = dict(members)
        joined = [members[peer] for peer in members if peer not in before and peer not in here]
        left = [before[peer] for peer in before if peer not in members and peer not in here]
        return self._announce(Presence(channel, tuple(joined), tuple(left))) if joined or left else []

    def is_used(self, name: str) -> bool:
        """Whether any connection is subscribed to this channel or wildcard."""
        return name in self._rooms or name in self._wildcards

    def subscriptions(self, connection_id: ConnectionId) -> tuple[str, ...]:
        """The channels and wildcards of a connection; none for an unknown one."""
        connection = self._connections.get(connection_id)
        return tuple(connection.subscriptions) if connection is not None else ()

    def peer_ids(self) -> tuple[str, ...]:
        """Every peer that has a connection."""
        return tuple(self._peers)

    def connections_of(self, peer_id: str) -> tuple[ConnectionId, ...]:
        """The connections of a peer, oldest first."""
        return tuple(connection.id for connection in self._peers.get(peer_id, ()))

    def publish(
        self, channel: str, sender: str, data: Json, metadata: JsonObject | None = None
    ) -> list[Output]:
        """A message to everybody in `channel`, from `sender`, who need not be connected."""
        recipients: dict[ConnectionId, bool] = {}
        for name, subscriber in self._subscribers(channel):
            wants_metadata = subscriber.subscriptions[name] or recipients.get(subscriber.id, False)
            recipients[subscriber.id] = wants_metadata
        plain = Message(channel, sender, data)
        signed = Message(channel, sender, data, metadata)
        return [(to, signed if wants_metadata else plain) for to, wants_metadata in recipients.items()]

    def is_empty(self) -> bool:
        """Whether nothing at all is held: no connection, no peer, no room."""
        held = (self._connections, self._peers, self._rooms, self._wildcards, self._elsewhere)
        return not any(held)

    def refuse(self, connection_id: ConnectionId, frame: Subscribe) -> list[Output]:
        """The answer to a subscribe that will be refused; nothing for one that is going to be accepted."""
        try:
            self._check_subscribe(self._connections[connection_id], frame)
        except _RefusedError as refused:
            return [(connection_id, ErrorFrame(refused.code, frame.request_id, str(refused)))]
        return []

    def handle(self, connection_id: ConnectionId, frame: ClientFrame) -> list[Output]:
        """Carry out what a client asked for. The answer to the asker comes first."""
        connection = self._connections[connection_id]
        if isinstance(frame, Ping):
            return [(connection_id, Pong())]
        try:
            match frame:
                case Subscribe():
                    effects = self._subscribe(connection, frame)
                case Unsubscribe(channel):
                    effects = self._leave(connection, channel)
                case Publish():
                    effects = self._publish(connection, frame)
                case Send():
                    effects = self._send(connection, frame)
        except _RefusedError as refused:
            return [(connection_id, ErrorFrame(refused.code, frame.request_id, str(refused)))]
        ack: list[Output] = [] if frame.request_id is None else [(connection_id, Ack(frame.request_id))]
        return ack + effects

    # ---- the four requests --------------------------------------------------------------------------

    def _subscribe(self, connection: _Connection, frame: Subscribe) -> list[Output]:
        self._check_subscribe(connection, frame)
        channel, grant, wildcard = frame.channel, connection.grant, is_wildcard(frame.channel)
        joined = self._join(connection, channel, wildcard)
        connection.subscriptions[channel] = frame.include_sender_metadata
        if wildcard or Action.PRESENCE not in grant.actions:
            return joined
        # The snapshot goes out before anyone else hears of the newcomer: whoever reacts to the news finds
        # it already knows them.
        others = tuple(member for member in self.members(channel) if member.peer_id != grant.peer_id)
        return [(connection.id, Presence(channel, joined=others)), *joined]

    def _publish(self, connection: _Connection, frame: Publish) -> list[Output]:
        channel, grant = frame.channel, connection.grant
        _require(grant, Action.PUBLISH)
        if is_wildcard(channel):
            raise _RefusedError(ErrorCode.INVALID_CHANNEL, "a wildcard cannot be published to")
        _check_channel(channel, grant.allows(channel))
        outputs = self.publish(channel, grant.peer_id, frame.data, grant.peer_metadata)
        return [(to, message) for to, message in outputs if to != connection.id]

    def _send(self, connection: _Connection, frame: Send) -> list[Output]:
        grant = connection.grant
        _require(grant, Action.SEND)
        targets = self._peers.get(frame.to)
        if targets is None:
            raise _RefusedError(ErrorCode.PEER_NOT_FOUND, "no such peer is connected")
        direct = Direct(grant.peer_id, frame.data, grant.peer_metadata)
        return [(target.id, direct) for target in targets]

    # ---- membership ---------------------------------------------------------------------------------

    def _check_subscribe(self, connection: _Connection, frame: Subscribe) -> None:
        channel, grant = frame.channel, connection.grant
        _require(grant, Action.SUBSCRIBE)
        wildcard = is_wildcard(channel)
        _check_channel(channel, grant.covers(channel) if wildcard else grant.allows(channel))
        if channel in connection.subscriptions:
            return
        if len(connection.subscriptions) >= MAX_CHANNELS_PER_CONNECTION:
            message = f"a connection may hold {MAX_CHANNELS_PER_CONNECTION} channels"
            raise _RefusedError(ErrorCode.CHANNEL_LIMIT_EXCEEDED, message)
        self._check_room_for(connection, channel, wildcard)

    def _check_room_for(self, connection: _Connection, channel: str, wildcard: bool) -> None:
        if wildcard:
            full = sum(map(is_wildcard, connection.subscriptions)) >= MAX_WILDCARDS_PER_CONNECTION
            full = full or (channel not in self._wildcards and self._no_wildcard_for(connection.grant.key_id))
        else:
            peers = {*self._rooms.get(channel, {}), *self._elsewhere.get(channel, {})}
            full = connection.grant.peer_id not in peers and len(peers) >= MAX_PEERS_PER_ROOM
        if full:
            raise _RefusedError(ErrorCode.CHANNEL_LIMIT_EXCEEDED, "this channel takes no more subscribers")

    def _no_wildcard_for(self, key_id: str) -> bool:
        """Whether this key may bring no further name; each counts for whoever has held it longest."""
        by_key = sum(held[0].grant.key_id == key_id for held in self._wildcards.values())
        return len(self._wildcards) >= MAX_WILDCARD_NAMES or by_key >= MAX_WILDCARD_NAMES_PER_KEY

    def _join(self, connection: _Connection, channel: str, wildcard: bool) -> list[Output]:
        """Add the connection; returns the news for the others if its peer was not there yet, anywhere."""
        if channel in connection.subscriptions:
            return []
        if wildcard:
            self._wildcards.setdefault(channel, []).append(connection)
            return []
        room = self._rooms.setdefault(channel, {})
        own = room.setdefault(connection.grant.peer_id, [])
        own.append(connection)
        if len(own) > 1 or connection.grant.peer_id in self._elsewhere.get(channel, {}):
            return []
        return self._announce(Presence(channel, joined=(_member(own),)), except_peer=connection.grant.peer_id)

    def _leave(self, connection: _Connection, channel: str) -> list[Output]:
        if connection.subscriptions.pop(channel, None) is None:
            return []
        if is_wildcard(channel):
            subscribers = self._wildcards[channel]
            subscribers.remove(connection)
            if not subscribers:
                del self._wildcards[channel]
            return []
        peer_id, room = connection.grant.peer_id, self._rooms[channel]
        member = _member(room[peer_id])
        room[peer_id].remove(connection)
        if room[peer_id]:
            return []
        del room[peer_id]
        if not room:
            del self._rooms[channel]
        if peer_id in self._elsewhere.get(channel, {}):
            return []
        return self._announce(Presence(channel, left=(member,)))

    def _announce(self, presence: Presence, *, except_peer: str | None = None) -> list[Output]:
        return [
            (connection.id, presence)
            for peer_id, connections in self._rooms.get(presence.channel, {}).items()
            if peer_id != except_peer
            for connection in connections
            if Action.PRESENCE in connection.grant.actions
        ]

    def _subscribers(self, channel: str) -> Iterator[tuple[str, _Connection]]:
        for connections in self._rooms.get(channel, {}).values():
            for connection in connections:
                yield channel, connection
        for name, subscribers in self._wildcards.items():
            if matches(name, channel):
                for connection in subscribers:
                    yield name, connection


def _member(connections: Sequence[_Connection]) -> Member:
    """A peer with several connections shows the metadata of the oldest."""
    grant = connections[0].grant
    return Member(grant.peer_id, grant.peer_metadata)


def _require(grant: Grant, action: Action) -> None:
    if action not in grant.actions:
        raise _RefusedError(ErrorCode.ACTION_NOT_PERMITTED, f"this credential does not allow {action}")


def _check_channel(channel: str, allowed: bool) -> None:
    if is_reserved(channel):
        raise _RefusedError(ErrorCode.CHANNEL_RESERVED, "this channel name is reserved for the service")
    if not allowed:
        raise _RefusedError(ErrorCode.CHANNEL_NOT_AUTHORIZED, "this credential does not allow this channel")
