"""Tokens for the room protocol: signed here with a secret pair, checked by the server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jwt

from agent.realtime.codes import Action
from agent.realtime.ice_servers import IceServer, parse_ice_servers
from agent.realtime.json_text import is_shallow, json_bytes
from agent.realtime.names import RESERVED_PREFIXES, is_minted_peer_id, is_reserved, is_sendable_channel

#: What taking part in a call needs.
PARTICIPANT = tuple(Action)
#: Enough to follow what is published and see who is there; neither heard nor seen to speak.
LISTENER = (Action.SUBSCRIBE, Action.PRESENCE)
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
    permissions: Iterable[str] = PARTICIPANT,
    expires_in_s: int = 3600,
    metadata: Mapping[str, Any] | None = None,
    peer_metadata: Mapping[str, Any] | None = None,
    ice_servers: Iterable[IceServer] | None = None,
) -> tuple[str, int]:
    """Sign a token that lets `peer_id` use `channels`; returns it with its expiry in Unix seconds.

    `channels` are names or patterns, `permissions` a subset of subscribe, publish, presence and send.
    `metadata` is delivered in the welcome to the holder alone, `peer_metadata` is shown to everybody in
    the room. Give the least that will do: one room, `LISTENER` for who only follows what is published. `send`
    is not limited to the channels, and without it no offer gets through, so there is no sound.

    `ice_servers` go into the metadata, where the holder looks for them; an empty list tells the server to add
    none of its own, None leaves that to the server.

    A token travels in the address of the connection, and HTTP servers commonly take no line over 8 KB (the
    embedded hub is one of them): keep the metadata well below its limits.

    Raises `ValueError` for anything a server would refuse.
    """
    if not key_id or key_id.startswith("sk_secret_"):
        raise ValueError("key_id must be the public half of a secret pair (sk_id_…)")
    if not secret or secret.startswith("sk_id_"):
        raise ValueError("secret must be the secret half of the pair (sk_secret_…)")
    channels, permissions = list(channels), list(permissions)
    if not channels:
        raise ValueError("channels must name at least one")
    if ice_servers is not None:
        if metadata is not None and "iceServers" in metadata:
            raise ValueError("give ice_servers or metadata with iceServers, not both")
        servers = [server.to_json() for server in ice_servers]
        if parse_ice_servers(servers) is None:
            raise ValueError("ice_servers must be at most 16 with stun:, stuns:, turn: or turns: addresses")
        metadata = {**(metadata or {}), "iceServers": servers}
    check_claims(
        peer_id,
        channels=channels,
        permissions=permissions,
        expires_in_s=expires_in_s,
        metadata=metadata,
        peer_metadata=peer_metadata,
    )
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": peer_id,
        "iat": now,
        "exp": now + expires_in_s,
        "channels": channels,
        "permissions": [str(permission) for permission in permissions],
    }
    if metadata is not None:
        claims["metadata"] = dict(metadata)
    if peer_metadata is not None:
        claims["peerMetadata"] = dict(peer_metadata)
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id}), now + expires_in_s


def check_claims(
    peer_id: str,
    *,
    channels: Sequence[str] | None,
    permissions: Sequence[str] | None,
    expires_in_s: int,
    metadata: Mapping[str, Any] | None,
    peer_metadata: Mapping[str, Any] | None,
) -> None:
    """Raises `ValueError` for what a server does not let anybody put into a token."""
    if not is_minted_peer_id(peer_id):
        raise ValueError("peer_id must be 1-128 printable ASCII characters")
    if channels is not None:
        if len(channels) > MAX_CHANNELS or not all(map(is_sendable_channel, channels)):
            raise ValueError(f"channels must be at most {MAX_CHANNELS} names of 1-256 bytes")
        if any(map(is_reserved, channels)):
            raise ValueError(f"channels must not begin with {', '.join(RESERVED_PREFIXES)}")
    if permissions is not None and (
        len(permissions) > MAX_PERMISSIONS or not set(permissions) <= set(Action)
    ):
        raise ValueError(f"permissions must be at most {MAX_PERMISSIONS} among {', '.join(Action)}")
    if not 1 <= expires_in_s <= MAX_EXPIRES_IN_S:
        raise ValueError(f"expires_in_s must be 1-{MAX_EXPIRES_IN_S}")
    for name, value, max_bytes in (
        ("metadata", metadata, MAX_METADATA_BYTES),
        ("peerMetadata", peer_metadata, MAX_PEER_METADATA_BYTES),
    ):
        if value is None:
            continue
        if json_bytes(dict(value)) > max_bytes or not is_shallow(dict(value)):
            raise ValueError(f"{name} must be at most {max_bytes} bytes of JSON, not deeply nested")
