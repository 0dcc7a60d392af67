"""The room protocol's REST control plane: tokens, who is there, messages from outside, disconnecting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from agent.realtime.frames import Member
from agent.realtime.json_text import Json, json_bytes
from agent.realtime.names import is_peer_id, is_reserved, is_sendable_channel
from agent.realtime.rest.json_api import JsonApi, ignore, optional, path_segment, typed
from agent.realtime.tokens import check_claims

CONTROL_URL = "https://rms.metered.ca"
#: A larger body is refused with 413.
MAX_BODY_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Token:
    """A credential for one peer; it stays out of `repr`."""

    token: str = field(repr=False)
    #: Unix seconds.
    expires_at: int


@dataclass(frozen=True, slots=True)
class Plan:
    name: str | None
    max_concurrent_connections: int
    max_messages_per_period: int
    overages_allowed: bool
    overages_enabled: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What an app has used in the current period; `messages_used` counts attempts."""

    app_id: str
    #: Unix seconds.
    period_start: int | None
    period_end: int | None
    concurrent_now: int
    peak_concurrent: int
    messages_used: int
    #: These two lag behind by up to a minute.
    overage_messages: int
    overage_connections: int
    plan: Plan


class ControlPlane:
    """A client of the control plane, of the vendor's service or of this project's hub.

    An async context manager, or call `close`. Every method raises `RestError` when the service refuses or
    cannot be reached, and `ValueError` for what it would refuse in any case::

        async with ControlPlane(key_id="sk_id_…", secret="sk_secret_…") as control:
            token = await control.create_token("alice", channels=["room-42"])
    """

    def __init__(self, url: str = CONTROL_URL, *, key_id: str, secret: str, timeout_s: float = 10.0) -> None:
        """`url` is an origin; `timeout_s` bounds a call with all its attempts."""
        for name, value in (("key_id", key_id), ("secret", secret)):
            if not value or not value.isascii() or not value.isprintable() or " " in value:
                raise ValueError(f"{name} must be printable ASCII without spaces")
        if key_id.startswith(("pk_", "sk_secret_")):
            raise ValueError("key_id must be the public half of a secret pair (sk_id_…)")
        headers = {"authorization": f"Bearer {key_id}:{secret}"}
        self._api = JsonApi(url, headers=headers, secret=secret, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._api.close()

    async def create_token(
        self,
        peer_id: str,
        *,
        channels: Iterable[str] | None = None,
        permissions: Iterable[str] | None = None,
        expires_in_s: int = 3600,
        metadata: Mapping[str, Any] | None = None,
        peer_metadata: Mapping[str, Any] | None = None,
    ) -> Token:
        """Have the service sign a token; as `mint_token`, without knowing how.

        None for `channels` or `permissions` gives the holder all that the key has.
        """
        body: dict[str, Any] = {
            "peerId": peer_id,
            "channels": None if channels is None else list(channels),
            "permissions": None if permissions is None else [str(each) for each in permissions],
            "expiresInSec": expires_in_s,
            "metadata": None if metadata is None else dict(metadata),
            "peerMetadata": None if peer_metadata is None else dict(peer_metadata),
        }
        check_claims(
            peer_id,
            channels=body["channels"],
            permissions=body["permissions"],
            expires_in_s=expires_in_s,
            metadata=metadata,
            peer_metadata=peer_metadata,
        )
        body = {name: value for name, value in body.items() if value is not None}
        return await self._api.call(_token, "POST", "/v1/tokens", body=_within_limit(body))

    async def peers(self, channel: str) -> tuple[Member, ...]:
        """Who is in `channel` now; nobody is an empty tuple. Needs the action ``presence``."""
        return await self._api.call(_members, "GET", f"/v1/channels/{_channel(channel)}/peers")

    async def publish(
        self,
        channel: str,
        data: Json,
        *,
        sender: str | None = None,
        peer_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Send `data` to everybody in `channel`. Needs the action ``publish``.

        `sender` is what they see in place of a peer id (the service's choice, ``system``, when None), and
        `peer_metadata` what those who asked for it see of the sender.
        """
        if sender is not None and not is_peer_id(sender):
            raise ValueError("sender must be 1-128 characters without control characters")
        body: dict[str, Any] = {"data": data}
        if sender is not None:
            body["from"] = sender
        if peer_metadata is not None:
            body["peerMetadata"] = dict(peer_metadata)
        path = f"/v1/channels/{_channel(channel)}/publish"
        await self._api.call(ignore, "POST", path, body=_within_limit(body))

    async def disconnect(self, peer_id: str) -> int:
        """Close every connection of a peer (code 4020); returns how many there were."""
        if not is_peer_id(peer_id):
            raise ValueError("peer_id must be 1-128 characters without control characters")
        path = f"/v1/peers/{path_segment(peer_id)}"
        closed: int = await self._api.call(lambda body: typed(body, "closed", int), "DELETE", path)
        return closed

    async def usage(self) -> Usage:
        return await self._api.call(_usage, "GET", "/v1/usage")


def _channel(name: str) -> str:
    if not is_sendable_channel(name) or is_reserved(name):
        raise ValueError(
            "channel must be 1-256 bytes without control characters, not beginning with a reserved prefix"
        )
    return path_segment(name)


def _within_limit(body: dict[str, Any]) -> dict[str, Any]:
    size_bytes = json_bytes(body)
    if size_bytes > MAX_BODY_BYTES:
        raise ValueError(f"the request has {size_bytes} bytes; the service accepts at most {MAX_BODY_BYTES}")
    return body


def _token(body: Any) -> Token:
    return Token(typed(body, "token", str), int(typed(body, "expiresAt", int, float)))


def _members(body: Any) -> tuple[Member, ...]:
    entries = typed(body, "peers", list)
    return tuple(Member(typed(entry, "peerId", str), optional(entry, "metadata", dict)) for entry in entries)


def _usage(body: Any) -> Usage:
    plan = typed(body, "plan", dict)
    return Usage(
        app_id=typed(body, "appId", str),
        period_start=optional(body, "periodStartUnix", int),
        period_end=optional(body, "periodEndUnix", int),
        concurrent_now=typed(body, "concurrentNow", int),
        peak_concurrent=typed(body, "peakConcurrent", int),
        messages_used=typed(body, "messagesUsed", int),
        overage_messages=typed(body, "overageMessages", int),
        overage_connections=typed(body, "overageConnections", int),
        plan=Plan(
            name=optional(plan, "name", str),
            max_concurrent_connections=typed(plan, "maxConcurrentConnections", int),
            max_messages_per_period=typed(plan, "maxMessagesPerPeriod", int),
            overages_allowed=typed(plan, "overagesAllowed", bool),
            overages_enabled=typed(plan, "overagesEnabled", bool),
        ),
    )
