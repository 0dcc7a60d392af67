"""What the REST control plane accepts, and how it says no. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from agent.realtime.codes import Action
from agent.realtime.json_text import Json, JsonObject, json_bytes, load_json
from agent.realtime.names import (
    covers,
    is_channel,
    is_minted_peer_id,
    is_peer_id,
    is_reserved,
    is_wildcard,
    matches,
)
from agent.realtime.tokens import (
    MAX_CHANNELS,
    MAX_EXPIRES_IN_S,
    MAX_METADATA_BYTES,
    MAX_PEER_METADATA_BYTES,
    MAX_PERMISSIONS,
    mint_token,
)

from .keys import SecretKey

DEFAULT_EXPIRES_IN_S = 3600
DEFAULT_SENDER = "system"


class RestRefusedError(Exception):
    """A refusal: an HTTP status with the error code and the message of its body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def invalid(message: str) -> RestRefusedError:
    return RestRefusedError(400, "invalid_request", message)


@dataclass(frozen=True, slots=True)
class Publication:
    """The body of ``POST /v1/channels/{id}/publish``."""

    data: Json
    sender: str = DEFAULT_SENDER
    metadata: JsonObject | None = None


def read_body(raw: bytes, accepted: tuple[str, ...]) -> JsonObject:
    """A JSON object with no other fields than those `accepted`."""
    try:
        body = load_json(raw.decode())
    except ValueError:
        raise invalid("the body is not JSON") from None
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    if not set(body) <= set(accepted):
        raise invalid(f"the body has an unknown field; accepted: {', '.join(accepted)}")
    return body


def read_publication(raw: bytes) -> Publication:
    body = read_body(raw, ("data", "from", "peerMetadata"))
    if "data" not in body:
        raise invalid("data must be present; null is allowed")
    sender = body.get("from", DEFAULT_SENDER)
    if not isinstance(sender, str) or not is_peer_id(sender):
        raise invalid("from must be a string of 1-128 characters without control characters")
    return Publication(body["data"], sender, _object(body, "peerMetadata", MAX_PEER_METADATA_BYTES))


def mint(raw: bytes, key: SecretKey) -> JsonObject:
    """Carry out ``POST /v1/tokens``: a token with no more rights than `key` has."""
    accepted = ("peerId", "channels", "permissions", "expiresInSec", "metadata", "peerMetadata")
    body = read_body(raw, accepted)
    peer_id = body.get("peerId")
    if not isinstance(peer_id, str) or not is_minted_peer_id(peer_id):
        raise invalid("peerId must be 1-128 printable ASCII characters")
    expires_in_s = body.get("expiresInSec", DEFAULT_EXPIRES_IN_S)
    whole = isinstance(expires_in_s, int) and not isinstance(expires_in_s, bool)
    if not whole or not 1 <= expires_in_s <= MAX_EXPIRES_IN_S:
        raise invalid(f"expiresInSec must be a whole number, 1-{MAX_EXPIRES_IN_S}")
    channels, permissions = _token_channels(body, key), _token_permissions(body, key)
    metadata = _object(body, "metadata", MAX_METADATA_BYTES)
    peer_metadata = _object(body, "peerMetadata", MAX_PEER_METADATA_BYTES)
    try:
        token, expires_at = mint_token(
            key.key_id,
            key.secret,
            peer_id=peer_id,
            channels=channels,
            permissions=permissions,
            expires_in_s=expires_in_s,
            metadata=metadata,
            peer_metadata=peer_metadata,
        )
    except ValueError as error:
        raise invalid(str(error)) from None
    return {"token": token, "expiresAt": expires_at}


def check_channel(channel: str, key: SecretKey) -> None:
    """Raises `RestRefusedError` unless `key` may use this name, or all that this wildcard stands for."""
    if not is_channel(channel):
        raise invalid("a channel is a name of 1-256 characters without control characters")
    if is_reserved(channel):
        raise RestRefusedError(400, "channel_reserved", "this channel name is reserved for the service")
    fits = covers if is_wildcard(channel) else matches
    if not any(fits(pattern, channel) for pattern in key.channel_patterns):
        raise RestRefusedError(403, "channel_not_authorized", "this key does not allow this channel")


def require(action: Action, key: SecretKey) -> None:
    if action not in key.actions:
        raise RestRefusedError(403, "action_not_permitted", f"this key does not allow {action}")


def decode_segment(segment: str) -> str:
    """One percent-encoded part of a path."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise invalid("the path is not percent-encoded UTF-8") from None


def _token_channels(body: Mapping[str, Any], key: SecretKey) -> tuple[str, ...]:
    if "channels" not in body:
        return key.channel_patterns
    channels = _strings(body, "channels", MAX_CHANNELS)
    for channel in channels:
        check_channel(channel, key)
    return channels


def _token_permissions(body: Mapping[str, Any], key: SecretKey) -> tuple[str, ...]:
    if "permissions" not in body:
        return tuple(sorted(key.actions))
    permissions = _strings(body, "permissions", MAX_PERMISSIONS)
    if not set(permissions) <= set(Action):
        raise invalid(f"permissions must be among {', '.join(Action)}")
    for permission in permissions:
        require(Action(permission), key)
    return permissions


def _strings(body: Mapping[str, Any], name: str, max_count: int) -> tuple[str, ...]:
    value = body[name]
    if not isinstance(value, list) or not 1 <= len(value) <= max_count:
        raise invalid(f"{name} must be a list of 1-{max_count} strings")
    if not all(isinstance(entry, str) for entry in value):
        raise invalid(f"{name} must be a list of strings")
    return tuple(value)


def _object(body: Mapping[str, Any], name: str, max_bytes: int) -> JsonObject | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or json_bytes(value) > max_bytes:
        raise invalid(f"{name} must be an object of at most {max_bytes} bytes of JSON")
    return value
