"""What the processes of a cluster write to one another through Redis, and its reading. Pure.

A payload is a few lines of header and one JSON text; names hold no line feeds. Whoever can write to the
Redis is as trusted as a hub process, but not believed blindly: what is too large or malformed is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent.realtime.codes import MAX_SERVER_FRAME_BYTES
from agent.realtime.frames import Direct, Member, Message, encode, member_to_json, parse_server_frame
from agent.realtime.json_text import dump_json, load_json
from agent.realtime.names import is_channel, is_peer_id

#: A frame as clients take it, and the lines above it.
MAX_PAYLOAD_BYTES = MAX_SERVER_FRAME_BYTES + 1024


class WireError(ValueError):
    """A payload that no hub process would have written."""


@dataclass(frozen=True, slots=True)
class Change:
    """A peer's first connection at `node` entered a room, or its last one left it."""

    node: str
    #: Of all changes of presence; a snapshot says up to which one it goes.
    seq: int
    is_join: bool
    member: Member


@dataclass(frozen=True, slots=True)
class Relayed:
    """A message that somebody published at `node`."""

    node: str
    #: Counted by that node.
    seq: int
    message: Message


@dataclass(frozen=True, slots=True)
class ToPeer:
    """A direct message for the connections that `to` has here."""

    to: str
    direct: Direct


@dataclass(frozen=True, slots=True)
class Kick:
    """Close the connections that this peer has here: an administrator wants it."""

    peer_id: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The node's own heartbeat, come back: the way through Redis and back is open."""


Note: TypeAlias = ToPeer | Kick | Beat


def encode_member(member: Member) -> str:
    return dump_json(member_to_json(member))


def encode_relayed(relayed: Relayed) -> str:
    return f"{relayed.node}\n{relayed.seq}\n{encode(relayed.message)}"


def encode_note(note: Note) -> str:
    match note:
        case ToPeer(to, direct):
            return f"direct\n{to}\n{encode(direct)}"
        case Kick(peer_id):
            return f"kick\n{peer_id}\n"
        case Beat():
            return "beat\n\n"


def parse_channel(name: bytes) -> str:
    """The channel that a name in Redis ends with. Raises `WireError`."""
    channel = _text(name)
    if not is_channel(channel):
        raise WireError("not a channel")
    return channel


def parse_entry(field: bytes, value: bytes) -> tuple[str, Member]:
    """One field of a room: (node, member). Raises `WireError`."""
    node, _, peer_id = _text(field).partition("\n")
    member = _member(_text(value))
    if member.peer_id != peer_id:
        raise WireError("the entry is somebody else's")
    return node, member


def parse_change(payload: bytes) -> Change:
    """Raises `WireError`."""
    node, seq, body = _lines(payload)
    if body[:1] not in {"+", "-"}:
        raise WireError("neither joined nor left")
    return Change(node, _number(seq), body[0] == "+", _member(body[1:]))


def parse_relayed(channel: str, payload: bytes) -> Relayed:
    """Raises `WireError`."""
    node, seq, body = _lines(payload)
    message = _frame(body)
    if not isinstance(message, Message) or message.channel != channel:
        raise WireError("not a message of this channel")
    return Relayed(node, _number(seq), message)


def parse_note(payload: bytes) -> Note:
    """Raises `WireError`."""
    kind, peer_id, body = _lines(payload)
    if kind == "beat":
        return Beat()
    if not is_peer_id(peer_id):
        raise WireError("not a peer id")
    if kind == "kick":
        return Kick(peer_id)
    direct = _frame(body) if kind == "direct" else None
    if not isinstance(direct, Direct):
        raise WireError("not a note")
    return ToPeer(peer_id, direct)


def _lines(payload: bytes) -> tuple[str, str, str]:
    lines = _text(payload).split("\n", 2)
    if len(lines) != 3:
        raise WireError("lines are missing")
    return lines[0], lines[1], lines[2]


def _text(data: bytes) -> str:
    if len(data) > MAX_PAYLOAD_BYTES:
        raise WireError("too large")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WireError("not UTF-8") from None


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise WireError("not a number")
    return int(digits)


def _member(text: str) -> Member:
    try:
        body = load_json(text)
    except ValueError:
        raise WireError("a member is not JSON") from None
    if not isinstance(body, dict):
        raise WireError("a member is not an object")
    peer_id, metadata = body.get("peerId"), body.get("metadata")
    if not isinstance(peer_id, str) or not is_peer_id(peer_id):
        raise WireError("a member has no peer id")
    if metadata is not None and not isinstance(metadata, dict):
        raise WireError("a member's metadata is not an object")
    return Member(peer_id, metadata)


def _frame(text: str) -> object:
    try:
        return parse_server_frame(text)
    except ValueError:
        raise WireError("not a frame") from None
