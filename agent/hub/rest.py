"""The REST control plane of a hub: tokens, rosters, messages, disconnections and usage, for other servers.

Every request carries ``Authorization: Bearer sk_id_…:sk_secret_…``. A hub serves it only where it is
mounted: the one embedded in the service has keys that nobody else knows, so it does without.
"""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import Counter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agent.ratelimit import RateLimiter, client_key
from agent.realtime.codes import Action
from agent.realtime.frames import member_to_json
from agent.realtime.json_text import JsonObject, dump_json
from agent.realtime.names import is_peer_id, is_wildcard

from .keys import SecretKey
from .redis_link import LinkLostError
from .rest_bodies import (
    RestRefusedError,
    check_channel,
    decode_segment,
    invalid,
    mint,
    read_publication,
    require,
)
from .server import Hub

MAX_BODY_BYTES = 32 * 1024

REQUESTS = Counter("voice_agent_hub_rest_requests", "Answers of the control plane.", ["status"])


def rest_router(hub: Hub) -> APIRouter:
    """Everything that is HTTP at and below ``/v1`` of `hub`."""
    router = APIRouter()
    control_plane = _ControlPlane(hub)
    # An object, not a function: it takes every method, and the path as it came. A channel may contain an
    # encoded slash, which is gone once the path has been decoded.
    for path in ("/v1", "/v1/{path:path}"):
        router.routes.append(Route(path, control_plane, include_in_schema=False))
    return router


class _ControlPlane:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        rate = hub.options.rest_rate
        self._limiter = RateLimiter(rate) if rate is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers = 200, {}
        try:
            body = await self._answer(Request(scope, receive))
        except RestRefusedError as refused:
            status, body = refused.status, {"error": refused.code, "message": str(refused)}
            headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}.get(status, {})
        except LinkLostError as lost:
            status, body = 503, {"error": "internal_error", "message": f"{lost}; try again later"}
        except ClientDisconnect:
            return
        REQUESTS.labels(str(status)).inc()
        headers["cache-control"] = "no-store"
        response = Response(dump_json(body).encode(), status, headers, "application/json")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> JsonObject:
        client = request.client.host if request.client else ""
        self._check_rate(f"address {client_key(client)}")
        authorization = Headers(scope=request.scope).get("authorization", "").encode("latin-1")
        key = self._hub.keys.bearer(authorization)
        if key is None:
            # One answer for everything, so that nobody learns how near a guess was.
            raise RestRefusedError(401, "unauthorized", "send 'Authorization: Bearer <key id>:<secret>'")
        self._check_rate(f"key {key.key_id}")
        if self._hub.is_closed:
            raise RestRefusedError(503, "internal_error", "the server is shutting down")
        raw_path: bytes = request.scope.get("raw_path") or request.url.path.encode()
        path = [decode_segment(segment) for segment in raw_path.decode("latin-1").split("/")[2:]]
        match request.method, path:
            case "POST", ["tokens"]:
                return mint(await _read(request), key)
            case "GET", ["channels", channel, "peers"]:
                return await self._peers(channel, key)
            case "POST", ["channels", channel, "publish"]:
                return await self._publish(channel, await _read(request), key)
            case "DELETE", ["peers", peer_id]:
                return await self._disconnect(peer_id)
            case "GET", ["usage"]:
                return await self._hub.usage()
        raise RestRefusedError(404, "not_found", "there is no such endpoint")

    async def _peers(self, channel: str, key: SecretKey) -> JsonObject:
        require(Action.PRESENCE, key)
        _check_concrete(channel, key)
        members = await self._hub.members(channel)
        return {"channel": channel, "peers": [member_to_json(member) for member in members]}

    async def _publish(self, channel: str, raw: bytes, key: SecretKey) -> JsonObject:
        require(Action.PUBLISH, key)
        _check_concrete(channel, key)
        publication = read_publication(raw)
        sender, data, metadata = publication.sender, publication.data, publication.metadata
        if not await self._hub.publish(channel, sender, data, metadata):
            raise RestRefusedError(429, "over_message_quota", "this month's messages are used up")
        return {"channel": channel, "ok": True}

    async def _disconnect(self, peer_id: str) -> JsonObject:
        if not is_peer_id(peer_id):
            raise invalid("a peer id has 1-128 characters, none of them a control character")
        return {"peerId": peer_id, "closed": await self._hub.disconnect_peer(peer_id)}

    def _check_rate(self, bucket: str) -> None:
        if self._limiter is not None and self._limiter.wait_s(bucket) > 0:
            raise RestRefusedError(429, "rate_limited", "too many requests; try again in a second")


def _check_concrete(channel: str, key: SecretKey) -> None:
    check_channel(channel, key)
    if is_wildcard(channel):
        raise invalid("a wildcard is not a channel: name one")


async def _read(request: Request) -> bytes:
    too_large = RestRefusedError(413, "invalid_request", f"a body may have {MAX_BODY_BYTES} bytes")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:12]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)
