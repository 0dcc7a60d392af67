"""The frames of the room protocol, both directions: values, and their exact JSON. Pure.

Frames are written compactly with their fields in the order the vendor's clients use and optional fields
left out when unset; they are read strictly where a field is required and tolerantly where one is unknown.
Text outside ASCII is written as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agent.realtime.codes import ErrorCode
from agent.realtime.json_text import MAX_NESTING, Json, JsonObject, dump_json, load_json
from agent.realtime.names import is_channel, is_peer_id, is_request_id

DEFAULT_RETRY_AFTER_MS = 1000
MAX_RETRY_AFTER_MS = 300_000
#: Sizes and Unix times stay far below; JSON may hold integers of any length, and arithmetic on them fails.
MAX_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class Subscribe:
    channel: str
    request_id: str | None = None
    #: Asks for `from_metadata` on every message of this channel.
    include_sender_metadata: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    channel: str
    data: Json
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    to: str
    data: Json
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Welcome:
    peer_id: str
    #: Unix seconds; None when the credential does not expire.
    expires_at: float | None
    #: Unix seconds.
    server_time: float
    max_message_size: int
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    request_id: str


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    #: An `ErrorCode`, or any other string a newer server may use.
    code: str
    request_id: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    channel: str
    sender: str
    data: Json
    from_metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Direct:
    sender: str
    data: Json
    from_metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One peer in a presence frame, with its public metadata."""

    peer_id: str
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Who came and went. The first after a subscribe is the whole roster, later ones are changes."""

    channel: str
    joined: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The server is about to close; come back after `retry_after_ms`."""

    retry_after_ms: int = DEFAULT_RETRY_AFTER_MS


@dataclass(frozen=True, slots=True)
class Pong:
    pass


ClientFrame: TypeAlias = Subscribe | Unsubscribe | Publish | Send | Ping
ServerFrame: TypeAlias = Welcome | Ack | ErrorFrame | Message | Direct | Presence | GoingAway | Pong
Frame: TypeAlias = ClientFrame | ServerFrame


class FrameError(ValueError):
    """A frame cannot be understood. `code` and `request_id` are what the error frame should carry."""

    def __init__(self, code: ErrorCode, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


# ---- writing ----------------------------------------------------------------------------------------


def encode(frame: Frame) -> str:
    """The frame's JSON text, ready for a WebSocket text message.

    Raises `ValueError` for data JSON cannot express: NaN, infinities, objects that refer to themselves or
    are nested too deep; `TypeError` for values that are not JSON at all.
    """
    return dump_json(to_json(frame))


def frame_bytes(text: str) -> int:
    """How many bytes `text` is on the wire."""
    return len(text) if text.isascii() else len(text.encode())


def to_json(frame: Frame) -> dict[str, Any]:
    """The frame as a JSON object, fields in wire order."""
    match frame:
        case Message(channel, sender, data, metadata):
            body = {"type": "message", "channel": channel, "from": sender, "data": data}
            return _with(body, fromMetadata=metadata)
        case Direct(sender, data, metadata):
            return _with({"type": "direct", "from": sender, "data": data}, fromMetadata=metadata)
        case Publish(channel, data, request_id):
            return _with({"type": "publish", "channel": channel, "data": data}, requestId=request_id)
        case Send(to, data, request_id):
            return _with({"type": "send", "to": to, "data": data}, requestId=request_id)
        case Subscribe(channel, request_id, include_sender_metadata):
            body = {"type": "subscribe", "channel": channel}
            return _with(body, requestId=request_id, includeSenderMetadata=include_sender_metadata or None)
        case Unsubscribe(channel, request_id):
            return _with({"type": "unsubscribe", "channel": channel}, requestId=request_id)
        case Ack(request_id):
            return {"type": "ack", "requestId": request_id}
        case ErrorFrame(code, request_id, message):
            return _with({"type": "error"}, requestId=request_id) | _with(
                {"code": str(code)}, message=message
            )
        case Presence(channel, joined, left):
            return {
                "type": "presence",
                "channel": channel,
                "joined": [member_to_json(member) for member in joined],
                "left": [member_to_json(member) for member in left],
            }
        case Welcome():
            body = {
                "type": "welcome",
                "peerId": frame.peer_id,
                "expiresAt": frame.expires_at,
                "serverTime": frame.server_time,
                "maxMessageSize": frame.max_message_size,
            }
            return _with(body, metadata=frame.metadata)
        case GoingAway(retry_after_ms):
            return {"type": "going_away", "retryAfterMs": retry_after_ms}
        case Ping():
            return {"type": "ping"}
        case Pong():
            return {"type": "pong"}


def member_to_json(member: Member) -> dict[str, Any]:
    """One entry of a presence frame."""
    return _with({"peerId": member.peer_id}, metadata=member.metadata)


def _with(body: dict[str, Any], **optional: Any) -> dict[str, Any]:
    body.update((name, value) for name, value in optional.items() if value is not None)
    return body


# ---- reading ----------------------------------------------------------------------------------------


def parse_client_frame(text: str) -> ClientFrame:
    """Read what a client sent. Raises `FrameError` with the code the client is to be told."""
    body = _load(text)
    raw_id = body.get("requestId")
    if raw_id is not None and not (isinstance(raw_id, str) and is_request_id(raw_id)):
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, "requestId must be a string of 1-128 characters")
    request_id: str | None = raw_id
    match body["type"]:
        case "subscribe":
            flag = body.get("includeSenderMetadata", False)
            if not isinstance(flag, bool):
                message = "includeSenderMetadata must be true or false"
                raise FrameError(ErrorCode.MALFORMED_MESSAGE, message, request_id)
            return Subscribe(_channel(body, request_id), request_id, flag)
        case "unsubscribe":
            return Unsubscribe(_channel(body, request_id), request_id)
        case "publish":
            return Publish(_channel(body, request_id), _data(body, request_id), request_id)
        case "send":
            to = body.get("to")
            if not isinstance(to, str) or not is_peer_id(to):
                message = "to must be a peer id of 1-128 characters without control characters"
                raise FrameError(ErrorCode.INVALID_PEER_ID, message, request_id)
            return Send(to, _data(body, request_id), request_id)
        case "ping":
            return Ping()
    raise FrameError(ErrorCode.UNKNOWN_TYPE, "type is not one this server knows", request_id)


def parse_server_frame(text: str) -> ServerFrame | None:
    """Read what a server sent; None for a type unknown here, which is to be passed over.

    Raises `FrameError` when a required field is missing or wrong.
    """
    body = _load(text)
    match body["type"]:
        case "message":
            channel, sender = _string(body, "channel"), _string(body, "from")
            return Message(channel, sender, _data(body, None), _optional_object(body, "fromMetadata"))
        case "direct":
            return Direct(_string(body, "from"), _data(body, None), _optional_object(body, "fromMetadata"))
        case "ack":
            return Ack(_string(body, "requestId"))
        case "error":
            request_id, message = body.get("requestId"), body.get("message")
            return ErrorFrame(
                _string(body, "code"),
                request_id if isinstance(request_id, str) else None,
                message if isinstance(message, str) else None,
            )
        case "presence":
            return Presence(_string(body, "channel"), _members(body, "joined"), _members(body, "left"))
        case "welcome":
            return _parse_welcome(body)
        case "going_away":
            return GoingAway(_retry_after_ms(body.get("retryAfterMs")))
        case "pong":
            return Pong()
    return None


def _load(text: str) -> dict[str, Any]:
    try:
        body = load_json(text)
    except ValueError:
        message = f"the frame is not JSON nested at most {MAX_NESTING} deep"
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, message) from None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, "the frame is not an object with a type")
    return body


def _channel(body: Mapping[str, Any], request_id: str | None) -> str:
    channel = body.get("channel")
    if not isinstance(channel, str) or not is_channel(channel):
        message = "channel must be a string of 1-256 characters without control characters"
        raise FrameError(ErrorCode.INVALID_CHANNEL, message, request_id)
    return channel


def _data(body: Mapping[str, Any], request_id: str | None) -> Json:
    if "data" not in body:
        raise FrameError(ErrorCode.MISSING_DATA, "data must be present; null is allowed", request_id)
    return body["data"]


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, f"{body.get('type')}: {name} must be a string")
    return value


def _number(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, f"{body.get('type')}: {name} must be a number")
    if abs(value) > MAX_NUMBER:
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, f"{body.get('type')}: {name} is too large")
    return value


def _optional_object(body: Mapping[str, Any], name: str) -> JsonObject | None:
    value = body.get(name)
    return value if isinstance(value, dict) else None


def _members(body: Mapping[str, Any], name: str) -> tuple[Member, ...]:
    entries = body.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, f"presence: {name} must be a list of objects")
    return tuple(Member(_string(entry, "peerId"), _optional_object(entry, "metadata")) for entry in entries)


def _parse_welcome(body: Mapping[str, Any]) -> Welcome:
    expires_at = None if body.get("expiresAt") is None else _number(body, "expiresAt")
    max_message_size = _number(body, "maxMessageSize")
    if max_message_size < 1:
        raise FrameError(ErrorCode.MALFORMED_MESSAGE, "welcome: maxMessageSize must be positive")
    server_time, metadata = _number(body, "serverTime"), _optional_object(body, "metadata")
    return Welcome(_string(body, "peerId"), expires_at, server_time, int(max_message_size), metadata)


def _retry_after_ms(value: Any) -> int:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        return DEFAULT_RETRY_AFTER_MS
    return int(min(value, MAX_RETRY_AFTER_MS))
