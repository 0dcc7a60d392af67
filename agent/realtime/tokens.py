"""Tokens for the room protocol: signed here with a secret pair, checked by the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from .codes import Action
from .names import is_channel, is_minted_peer_id

MAX_EXPIRES_IN_S = 86_400
MAX_CHANNELS = 100
MAX_PERMISSIONS = 16
MAX_METADATA_BYTES = 8 * 1024
MAX_PEER_METADATA_BYTES = 4 * 1024


def mint_token(
    key_id: str,
    secret: str,
    *,
    peer_id: str,
    channels: Iterable[str],
    permissions: Iterable[str] = tuple(Action),
    expires_in_s: int = 3600,
    metadata: Mapping[str, Any] | None = None,
    peer_metadata: Mapping[str, Any] | None = None,
) -> tuple[str, int]:
    """Sign a token that lets `peer_id` use `channels`; returns it with its expiry in Unix seconds.

    `channels` are names or patterns, `permissions` a subset of subscribe, publish, presence and send.
    `metadata` is delivered in the welcome to the holder alone, `peer_metadata` is shown to everybody in
    the room. Give the least that will do: one room, and only what the holder needs. `send` is not limited
    to the channels.

    A token travels in the address of the connection, and HTTP servers commonly take no line over 8 KB (the
    embedded hub is one of them): keep the metadata well below its limits.

    Raises `ValueError` for anything a server would refuse.
    """
    channels, permissions = list(channels), list(permissions)
    if not is_minted_peer_id(peer_id):
        raise ValueError("peer_id must be 1-128 printable ASCII characters")
    if not 1 <= len(channels) <= MAX_CHANNELS or not all(map(is_channel, channels)):
        raise ValueError(f"channels must be 1-{MAX_CHANNELS} names of 1-256 characters")
    if not set(permissions) <= set(Action):
        raise ValueError(f"permissions must be among {', '.join(Action)}")
    if not 1 <= expires_in_s <= MAX_EXPIRES_IN_S:
        raise ValueError(f"expires_in_s must be 1-{MAX_EXPIRES_IN_S}")
    now = int(time.time())
    expires_at = now + expires_in_s
    claims: dict[str, Any] = {
        "sub": peer_id,
        "iat": now,
        "exp": expires_at,
        "channels": channels,
        "permissions": [str(permission) for permission in permissions],
    }
    for name, value, max_bytes in (
        ("metadata", metadata, MAX_METADATA_BYTES),
        ("peerMetadata", peer_metadata, MAX_PEER_METADATA_BYTES),
    ):
        if value is not None:
            if json_bytes(value) > max_bytes:
                raise ValueError(f"{name} must be at most {max_bytes} bytes of JSON")
            claims[name] = dict(value)
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id}), expires_at


def json_bytes(value: Any) -> int:
    """The size of `value` as compact JSON in UTF-8."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return len(text.encode(errors="surrogatepass"))
