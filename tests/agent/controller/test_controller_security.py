"""What a stranger, a foreign page or a flood gets from the controller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from controller_parts import make_parts

from agent.controller.app import create_app
from agent.ratelimit import RateLimit, RateLimiter, client_key

JSON = {"content-type": "application/json"}


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_parts(), **options)

    @app.get("/v1/channels")
    async def of_the_signalling_server() -> str:
        return "reached"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


GUARDED = [
    ("POST", "/agents"),
    ("GET", "/agents"),
    ("GET", "/agents/x"),
    ("DELETE", "/agents/x"),
    ("POST", "/tokens"),
    ("GET", "/about"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
    ("GET", "//"),
    ("GET", "/web"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_with_a_key_set_nothing_is_done_without_it(method: str, path: str) -> None:
    async with serving(api_key="s3cret") as client:
        for wrong in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "s3cret"}):
            answer = await client.request(method, f"http://localhost{path}", headers=JSON | wrong)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "unauthorized"
        answer = await client.request(method, path, headers=JSON | {"authorization": "Bearer s3cret"})
        assert answer.status_code != 401


async def test_the_page_health_and_signalling_need_no_key() -> None:
    async with serving(api_key="s3cret") as client:
        for path in ("/", "/web/main.js", "/web/style.css", "/healthz", "/v1/channels"):
            assert (await client.get(path)).status_code == 200, path


async def test_a_key_that_is_not_ascii_is_wrong_and_not_a_crash() -> None:
    async with serving(api_key="s3cret") as client:
        answer = await client.get("/about", headers={"authorization": "Bearer schlüssel".encode()})
        assert answer.status_code == 401


async def test_without_a_key_everybody_is_let_in() -> None:
    async with serving() as client:
        assert (await client.get("/about")).status_code == 200


async def test_a_foreign_name_for_this_machine_reaches_nothing() -> None:
    async with serving() as client:
        for path in ("/", "/about", "/v1/channels"):
            answer = await client.get(path, headers={"host": "evil.example"})
            assert answer.status_code == 400
            assert "server.allowed_hosts" in answer.json()["error"]["message"]
    async with serving(allowed_hosts=["agents.example"]) as client:
        assert (await client.get("/healthz", headers={"host": "agents.example:8443"})).status_code == 200
        assert (await client.get("/healthz")).status_code == 400


BROUGHT = [
    {"x-forwarded-for": "192.0.2.7"},
    {"x-forwarded-for": "127.0.0.1, 192.0.2.7"},
    {"x-real-ip": "2001:db8::7"},
    {"forwarded": 'proto=https;For="[2001:db8::7]:4711"'},
    {"forwarded": "for=127.0.0.1, for=192.0.2.7:80;by=x"},
    {"forwarded": "for=unknown"},
]
FROM_HERE = [
    {},
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-for": "::ffff:127.0.0.1"},
    {"x-forwarded-for": "::1, 127.0.0.1", "x-real-ip": "127.0.0.1"},
    {"forwarded": 'for="[::1]:4711";proto=http, for=127.0.0.1:80'},
]


@pytest.mark.parametrize("headers", BROUGHT)
async def test_who_is_brought_by_a_proxy_finds_no_service_for_this_machine_alone(
    headers: dict[str, str],
) -> None:
    async with serving(local=True) as client:
        for path in ("/", "/about", "/v1/channels"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 400
            assert "server.allowed_hosts" in answer.json()["error"]["message"]
    async with serving() as client:
        assert (await client.get("/about", headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", FROM_HERE)
async def test_a_proxy_for_this_machine_itself_is_no_stranger(headers: dict[str, str]) -> None:
    async with serving(local=True) as client:
        assert (await client.get("/about", headers=headers)).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
async def test_this_machine_is_reached_by_its_own_names(host: str) -> None:
    async with serving() as client:
        assert (await client.get("/healthz", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_what_a_foreign_page_can_post_without_asking_is_refused(kind: str | None) -> None:
    async with serving() as client:
        headers = {} if kind is None else {"content-type": kind}
        answer = await client.post("/agents", content=b'{"room": "lobby"}', headers=headers)
        assert answer.status_code == 415
        preflight = await client.options(
            "/agents", headers={"origin": "http://evil.example", "access-control-request-method": "POST"}
        )
        assert "access-control-allow-origin" not in preflight.headers
        assert preflight.status_code == 405


async def test_a_charset_in_the_content_type_is_fine() -> None:
    async with serving() as client:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert (await client.post("/agents", content=b'{"room": "r"}', headers=headers)).status_code == 201


async def test_a_body_over_the_limit_is_refused_announced_or_not() -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        yield b'{"room": "'
        for _ in range(65):
            yield b"x" * 1024

    async with serving() as client:
        for content in (b"x" * 65_537, in_pieces()):
            answer = await client.post("/agents", content=content, headers=JSON)
            assert answer.status_code == 413
            assert answer.json()["error"] == {
                "code": "body_too_large",
                "message": "The body may have at most 65536 bytes.",
            }


async def test_a_body_in_pieces_arrives_whole() -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"ro', b'om": ', b'"lobby"}'):
            yield piece

    async with serving() as client:
        answer = await client.post("/agents", content=in_pieces(), headers=JSON)
        assert answer.json()["room"] == "lobby"


async def test_every_answer_carries_the_security_headers() -> None:
    async with serving(api_key="k") as client:
        for path in ("/", "/web/main.js", "/healthz", "/about", "/nowhere"):
            headers = (await client.get(path)).headers
            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "microphone=(self)" in headers["permissions-policy"]


async def test_one_client_that_asks_too_often_is_told_to_wait() -> None:
    now = [100.0]
    limiter = RateLimiter(RateLimit(per_minute=60, burst=2), clock=lambda: now[0])
    async with serving(limiter=limiter) as client:

        async def post() -> httpx.Response:
            return await client.post("/tokens", json={"room": "lobby"})

        assert [(await post()).status_code for _ in range(3)] == [201, 201, 429]
        refused = await post()
        assert refused.json()["error"]["code"] == "too_many_requests"
        now[0] += float(refused.headers["retry-after"])
        assert (await post()).status_code == 201
        assert (await client.get("/healthz")).status_code == 200


async def test_wrong_keys_cannot_be_tried_without_end() -> None:
    now = [100.0]
    limiter = RateLimiter(RateLimit(per_minute=60, burst=2), clock=lambda: now[0])
    async with serving(limiter=limiter, api_key="right") as client:

        async def about(key: str | None) -> int:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return (await client.get("/about", headers=headers)).status_code

        assert [await about(None) for _ in range(5)] == [401] * 5, "no key is no guess"
        assert [await about("right") for _ in range(5)] == [200] * 5
        assert [await about(f"guess {n}") for n in range(4)] == [401, 401, 429, 429]
        assert await about("right") == 429, "a lucky guess must not show either"
        assert (await client.get("/healthz")).status_code == 200
        now[0] += 1
        assert await about("right") == 200


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def test_a_client_may_burst_and_then_go_at_the_rate(clock: list[float]) -> None:
    limiter = RateLimiter(RateLimit(per_minute=60, burst=3), clock=lambda: clock[0])
    assert [limiter.wait_s("a") for _ in range(4)] == [0, 0, 0, 1]
    assert limiter.wait_s("b") == 0
    clock[0] = 0.5
    assert limiter.wait_s("a") == pytest.approx(0.5)
    clock[0] = 1.0
    assert limiter.wait_s("a") == 0
    clock[0] = 1000.0
    assert [limiter.wait_s("a") for _ in range(4)] == [0, 0, 0, 1]


def test_the_table_of_clients_is_bounded(clock: list[float]) -> None:
    limiter = RateLimiter(RateLimit(burst=1, max_clients=10), clock=lambda: clock[0])
    for n in range(100):
        assert limiter.wait_s(f"client-{n}") == 0
    assert len(limiter) == 10
    assert limiter.wait_s("client-99") > 0
    assert limiter.wait_s("client-0") == 0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::2:3:4", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a unix socket", "a unix socket"),
    ],
)
def test_a_client_is_an_address_or_an_ipv6_network(host: str, key: str) -> None:
    assert client_key(host) == key
