"""From what a client presents at the door to what it may do inside. Pure; `now` is given."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jwt

from agent.realtime.codes import Action, CloseCode
from agent.realtime.json_text import JsonObject, is_shallow, json_bytes
from agent.realtime.names import is_channel, is_minted_peer_id
from agent.realtime.tokens import MAX_CHANNELS, MAX_METADATA_BYTES, MAX_PEER_METADATA_BYTES, MAX_PERMISSIONS

from .keys import KeyRing, PublishableKey, SecretKey
from .rooms import Grant

_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Admission:
    """The credential is good."""

    grant: Grant
    #: Unix seconds; None when it does not expire.
    expires_at: float | None = None
    #: For the welcome, private to the connection.
    metadata: JsonObject | None = None


class HttpRefusedError(Exception):
    """Refused before the upgrade, with an HTTP status and an error code for the body."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class CloseRefusedError(Exception):
    """Refused right after the upgrade, with a close code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def admit(query: str, origin: str | None, keys: KeyRing, *, now: float) -> Admission:
    """Decide on one connection by its query string and Origin header.

    Raises `HttpRefusedError` for what cannot be read at all and for a forbidden origin,
    `CloseRefusedError` for what can be read and is not valid.
    """
    key, token = _credential(query, "key"), _credential(query, "token")
    if (key is None) == (token is None):
        raise HttpRefusedError(401, "invalid_token", "give exactly one of key and token")
    if token is not None:
        return _admit_token(token, origin, keys, now)
    assert key is not None
    publishable = keys.publishable(key)
    if publishable is None:
        raise CloseRefusedError(CloseCode.INVALID_TOKEN, "unknown key")
    return _admit_key(publishable, origin)


def _credential(query: str, name: str) -> str | None:
    # Not parse_qs: a plus sign is itself here, and keys contain it.
    for pair in query.split("&"):
        field, _, value = pair.partition("=")
        if field == name and value:
            return unquote(value)
    return None


def _admit_key(key: PublishableKey, origin: str | None) -> Admission:
    _check_origin(origin, key.allowed_origins)
    return Admission(Grant(str(uuid.uuid4()), key.actions, (key.channel_patterns,), key_id=key.key))


def _check_origin(origin: str | None, allowed: frozenset[str] | None) -> None:
    if origin is None or allowed is None or origin in allowed:
        return
    if _PORT.sub("", origin) + ":*" not in allowed:
        raise HttpRefusedError(401, "origin_not_allowed", "this key may not be used from this origin")


def _admit_token(token: str, origin: str | None, keys: KeyRing, now: float) -> Admission:
    try:
        header = jwt.get_unverified_header(token)
        jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError):
        raise HttpRefusedError(401, "invalid_token", "the token is not a JWT") from None
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise HttpRefusedError(401, "invalid_token", "the token names no key (kid)")
    key = keys.secret(key_id)
    if key is None:
        raise CloseRefusedError(CloseCode.INVALID_TOKEN, "unknown key")
    claims = _verified_claims(token, key)
    _check_origin(origin, key.allowed_origins)
    return _admit_claims(claims, key, now)


def _verified_claims(token: str, key: SecretKey) -> Mapping[str, Any]:
    # Only the signature is the library's business; the claims are checked below against the given time.
    unchecked = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    options: Any = unchecked | {"verify_iss": False, "verify_sub": False, "verify_jti": False}
    try:
        claims = jwt.decode(token, key.secret, algorithms=["HS256"], options=options)
    except jwt.InvalidTokenError:
        raise CloseRefusedError(CloseCode.INVALID_TOKEN, "the signature does not match") from None
    return dict(claims)


def _admit_claims(claims: Mapping[str, Any], key: SecretKey, now: float) -> Admission:
    peer_id, expires_at = claims.get("sub"), claims.get("exp")
    if not isinstance(peer_id, str) or not is_minted_peer_id(peer_id):
        raise _bad_claim("sub must be 1-128 printable ASCII characters")
    if not isinstance(expires_at, (int, float)) or isinstance(expires_at, bool) or not _is_finite(expires_at):
        raise _bad_claim("exp must be a number of seconds")
    channels = _strings(claims, "channels", MAX_CHANNELS)
    permissions = _strings(claims, "permissions", MAX_PERMISSIONS)
    metadata = _object(claims, "metadata", MAX_METADATA_BYTES)
    peer_metadata = _object(claims, "peerMetadata", MAX_PEER_METADATA_BYTES)
    if expires_at <= now:
        raise CloseRefusedError(CloseCode.TOKEN_EXPIRED, "the token has expired")
    actions = key.actions
    if permissions is not None:
        actions &= {Action(name) for name in permissions if name in set(Action)}
    patterns = (key.channel_patterns,) if channels is None else (key.channel_patterns, channels)
    if channels is not None and not all(map(is_channel, channels)):
        raise _bad_claim("channels must be names of 1-256 characters")
    return Admission(Grant(peer_id, actions, patterns, peer_metadata, key.key_id), expires_at, metadata)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _strings(claims: Mapping[str, Any], name: str, max_count: int) -> tuple[str, ...] | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > max_count:
        raise _bad_claim(f"{name} must be a list of at most {max_count} strings")
    if not all(isinstance(entry, str) for entry in value):
        raise _bad_claim(f"{name} must be a list of strings")
    return tuple(value)


def _object(claims: Mapping[str, Any], name: str, max_bytes: int) -> JsonObject | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _bad_claim(f"{name} must be an object")
    try:
        size_bytes = json_bytes(value)
    except (ValueError, RecursionError):
        raise _bad_claim(f"{name} must be plain JSON") from None
    if size_bytes > max_bytes or not is_shallow(value):
        raise _bad_claim(f"{name} must be at most {max_bytes} bytes of JSON, not deeply nested")
    return value


def _bad_claim(message: str) -> CloseRefusedError:
    return CloseRefusedError(CloseCode.INVALID_TOKEN, message)
