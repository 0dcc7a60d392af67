"""The control plane over HTTP, with WebSocket clients to see what it does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agent.hub import HubOptions
from agent.ratelimit import RateLimit
from tests.agent.hub.hub_parts import client
from tests.agent.hub.rest_parts import NARROW, SECRET, http, outcome
from tests.conftest import RunningHub, StartHub

# ---- who may ask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer {id}",
        "Bearer {id}:",
        "Bearer {secret}",
        "Bearer {secret}:{id}",
        "Bearer {id}:{secret}x",
        "Bearer sk_id_unknown:{secret}",
        "Bearer {key}",
        "Bearer {key}:{key}",
        "Basic {id}:{secret}",
        "Bearer \xff:\xfe",
    ],
)
async def test_every_wrong_credential_gets_the_same_answer(
    hub: RunningHub, authorization: str | None
) -> None:
    headers = {}
    if authorization is not None:
        text = authorization.format(id=hub.key_id, secret=hub.secret, key=hub.key)
        headers["authorization"] = text.encode("latin-1")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{hub.port}/v1") as session:
        for path in ("/usage", "/channels/_metered%2Fx/peers", "/nowhere"):
            response = await session.get(path, headers=headers)
            assert response.status_code == 401
            assert response.json() == {
                "error": "unauthorized",
                "message": "send 'Authorization: Bearer <key id>:<secret>'",
            }
            assert response.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_is_as_good_as_none(start_hub: StartHub) -> None:
    async with start_hub() as hub:
        bearer = f"{hub.key_id}:{hub.secret}"
        async with http(hub, bearer) as session:
            assert (await session.get("/usage")).status_code == 200
    async with start_hub() as hub, http(hub, bearer) as session:
        assert outcome(await session.get("/usage")) == (401, "unauthorized")


async def test_there_is_nothing_else(rest: httpx.AsyncClient) -> None:
    elsewhere = [
        ("GET", ""),
        ("GET", "/"),
        ("GET", "/tokens"),
        ("POST", "/usage"),
        ("GET", "/channels/room"),
        ("GET", "/channels/app/room/peers"),
        ("GET", "/usage/"),
        ("PATCH", "/peers/alice"),
        ("OPTIONS", "/usage"),
    ]
    told = [(method, path, outcome(await rest.request(method, path))) for method, path in elsewhere]
    assert told == [(method, path, (404, "not_found")) for method, path in elsewhere]


async def test_each_address_has_its_rate(start_hub: StartHub) -> None:
    options = HubOptions(rest_rate=RateLimit(per_minute=1, burst=3))
    async with start_hub(options) as hub, http(hub, "wrong") as session:
        for _ in range(3):
            assert (await session.get("/usage")).status_code == 401
        response = await session.get("/usage")
        assert outcome(response) == (429, "rate_limited")
        assert response.headers["retry-after"] == "1"


async def test_each_key_has_its_rate_wherever_it_is_used(start_hub: StartHub) -> None:
    options = HubOptions(rest_rate=RateLimit(per_minute=1, burst=3))
    async with start_hub(options) as hub:
        statuses = []
        for last in range(1, 6):
            transport = httpx.AsyncHTTPTransport(local_address=f"127.0.0.{last}")
            headers = {"authorization": f"Bearer {hub.key_id}:{hub.secret}"}
            async with httpx.AsyncClient(transport=transport, headers=headers) as session:
                response = await session.get(f"http://127.0.0.1:{hub.port}/v1/usage")
                statuses.append(response.status_code)
    assert statuses == [200, 200, 200, 429, 429]


async def test_a_hub_that_goes_away_says_so(hub: RunningHub, rest: httpx.AsyncClient) -> None:
    await hub.hub.close()
    assert outcome(await rest.get("/usage")) == (503, "internal_error")


# ---- bodies ---------------------------------------------------------------------------------------------

WRONG_BODIES = [
    b"",
    b"x",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"peerId":NaN}',
    b"[" * 30_000,
    b'{"data":' + b"9" * 5000 + b"}",
    b'{"data":1e999}',
]


@pytest.mark.parametrize("path", ["/tokens", "/channels/room/publish"])
async def test_what_is_not_a_json_object_is_refused(rest: httpx.AsyncClient, path: str) -> None:
    told = [(body[:40], outcome(await rest.post(path, content=body))) for body in WRONG_BODIES]
    assert told == [(body[:40], (400, "invalid_request")) for body in WRONG_BODIES]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_may_have_32_kib(rest: httpx.AsyncClient, announced: bool) -> None:
    head, tail = b'{"data":"', b'"}'
    fitting = head + b"x" * (32 * 1024 - len(head) - len(tail)) + tail

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for body, status in ((fitting, 200), (fitting + b" ", 413), (fitting * 40, 413)):
        content = body if announced else chunks(body)
        response = await rest.post("/channels/room/publish", content=content)
        assert response.status_code == status
        if status == 413:
            assert response.json()["error"] == "invalid_request"


# ---- tokens ---------------------------------------------------------------------------------------------


async def test_a_minted_token_lets_its_holder_in(hub: RunningHub, rest: httpx.AsyncClient) -> None:
    response = await rest.post(
        "/tokens",
        json={
            "peerId": "alice",
            "channels": ["app/room", "chat-*"],
            "permissions": ["subscribe", "presence"],
            "expiresInSec": 60,
            "metadata": {"iceServers": []},
            "peerMetadata": {"name": "Ä"},
        },
    )
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"token", "expiresAt"}
    async with client(hub, f"token={body['token']}") as alice:
        welcome = await alice.read()
        assert (welcome["peerId"], welcome["expiresAt"]) == ("alice", body["expiresAt"])
        assert welcome["metadata"] == {"iceServers": []}
        assert (await alice.subscribe("app/room"))["joined"] == []
        await alice.write(type="publish", channel="app/room", data=1)
        assert (await alice.read())["code"] == "action_not_permitted"
        await alice.write(type="subscribe", channel="other")
        assert (await alice.read())["code"] == "channel_not_authorized"
        roster = (await rest.get("/channels/app%2Froom/peers")).json()
        assert roster["peers"] == [{"peerId": "alice", "metadata": {"name": "Ä"}}]


async def test_a_bare_token_may_what_its_key_may(start_hub: StartHub) -> None:
    options = HubOptions(secret_keys=(NARROW,), connects_per_minute=None)
    async with start_hub(options) as hub, http(hub, f"{NARROW.key_id}:{SECRET}") as session:
        body = (await session.post("/tokens", json={"peerId": "bob"})).json()
        async with client(hub, f"token={body['token']}") as bob:
            await bob.read()
            await bob.write(type="subscribe", channel="app/x", requestId="1")
            assert await bob.read() == {"type": "ack", "requestId": "1"}
            for frame, code in (
                ({"type": "subscribe", "channel": "elsewhere"}, "channel_not_authorized"),
                ({"type": "publish", "channel": "app/x", "data": 1}, "action_not_permitted"),
            ):
                await bob.write(**frame)
                assert (await bob.read())["code"] == code


#: What is asked for beside or in place of a peer id, and what comes of it.
TOKENS: list[tuple[dict[str, Any], tuple[int, str | None]]] = [
    ({"peerId": ...}, (400, "invalid_request")),
    ({"peerId": ""}, (400, "invalid_request")),
    ({"peerId": "é"}, (400, "invalid_request")),
    ({"peerId": "x" * 129}, (400, "invalid_request")),
    ({"peerId": 5}, (400, "invalid_request")),
    ({"channels": "app/x"}, (400, "invalid_request")),
    ({"channels": []}, (400, "invalid_request")),
    ({"channels": [5]}, (400, "invalid_request")),
    ({"channels": ["\x00"]}, (400, "invalid_request")),
    ({"channels": ["app/x"] * 101}, (400, "invalid_request")),
    ({"channels": ["app/" + "é" * 127]}, (400, "invalid_request")),
    ({"channels": ["_Metered/x"]}, (400, "channel_reserved")),
    ({"channels": ["elsewhere"]}, (403, "channel_not_authorized")),
    ({"channels": ["**"]}, (403, "channel_not_authorized")),
    ({"channels": ["app/x", "app/x/y"]}, (403, "channel_not_authorized")),
    ({"permissions": "send"}, (400, "invalid_request")),
    ({"permissions": ["fly"]}, (400, "invalid_request")),
    ({"permissions": ["send"] * 17}, (400, "invalid_request")),
    ({"permissions": ["publish"]}, (403, "action_not_permitted")),
    ({"expiresInSec": 0}, (400, "invalid_request")),
    ({"expiresInSec": 86401}, (400, "invalid_request")),
    ({"expiresInSec": True}, (400, "invalid_request")),
    ({"expiresInSec": 1.5}, (400, "invalid_request")),
    ({"metadata": []}, (400, "invalid_request")),
    ({"metadata": {"x": "x" * 8192}}, (400, "invalid_request")),
    ({"peerMetadata": {"x": "x" * 4096}}, (400, "invalid_request")),
    ({"expiresInSecs": 60}, (400, "invalid_request")),
    ({"channels": ["app/*"], "permissions": ["send", "subscribe"]}, (200, None)),
    ({"metadata": {"half": "\ud83d"}, "peerMetadata": {"x": "x" * 4000}}, (200, None)),
]


async def test_what_a_token_may_hold(start_hub: StartHub) -> None:
    async with (
        start_hub(HubOptions(secret_keys=(NARROW,))) as hub,
        http(hub, f"{NARROW.key_id}:{SECRET}") as session,
    ):
        told = []
        for change, _ in TOKENS:
            body = {name: value for name, value in ({"peerId": "bob"} | change).items() if value is not ...}
            response = await session.post("/tokens", content=json.dumps(body))
            told.append((change, (200, None) if response.status_code == 200 else outcome(response)))
    assert told == TOKENS
