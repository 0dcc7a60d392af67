"""The doctor's checks, against servers that are there, are not, refuse, or talk nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioice import stun
from rest_server import rest_server
from turn_server import turn_server
from turn_service import SECRET_KEY, TurnService

from agent.doctor import Check, Status, examine
from agent.doctor_ice import metered
from agent.realtime import shared_secret_credential
from agent.settings import Settings, load_settings

KEY = "sk-secret-of-the-test"


def settings(*overrides: str) -> Settings:
    usual = ["server.port=0", "models.fetch=false"]
    return load_settings(environ={}, overrides=[*usual, *overrides]).settings


async def check(name: str, options: Settings) -> Check:
    """One line of the table."""
    return next(found for found in await examine(options, only=name) if found.name == name)


@asynccontextmanager
async def web(status: int, body: Any) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP server that answers everything alike; its address, and the requests it got."""
    requests: list[bytes] = []
    payload = json.dumps(body).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(payload)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + payload)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


class Udp(asyncio.DatagramProtocol):
    """A UDP server that answers with what `reply` makes of a datagram; None: nothing."""

    transport: asyncio.DatagramTransport

    def __init__(self, reply: Callable[[bytes, Any], bytes | None]) -> None:
        self.reply = reply

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self.reply(data, addr)
        if answer is not None:
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def udp(reply: Callable[[bytes, Any], bytes | None]) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Udp(reply), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def stun_server(data: bytes, addr: Any) -> bytes:
    answer = stun.Message(
        message_method=stun.Method.BINDING,
        message_class=stun.Class.RESPONSE,
        transaction_id=stun.parse_message(data).transaction_id,
        attributes={"XOR-MAPPED-ADDRESS": addr},
    )
    return bytes(answer)


def ice(url: str, **more: str) -> str:
    return f"rooms.ice_servers={json.dumps([{'urls': [url], **more}])}"


async def test_a_machine_that_runs_the_tests_has_nothing_red() -> None:
    checks = await examine(settings("tts.voice=builtin", "stt.engine=pocketsphinx"))
    assert [found for found in checks if found.status == "fail"] == []
    by_name = {found.name: found for found in checks}
    for name in ("Python", "packages", "Opus", "stt pocketsphinx", "tts piper", "llm scripted", "UDP"):
        assert by_name[name].status == "ok", by_name[name]
    assert all(found.fix for found in checks if found.status != "ok")


async def test_a_port_in_use_is_red() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = await check("service port", settings(f"server.port={port}"))
    assert found.status == "fail"
    assert str(port) in found.detail
    assert "--set server.port" in found.fix


async def test_a_port_that_the_service_itself_has_is_fine() -> None:
    async with web(200, {"status": "ok"}) as (url, _):
        found = await check("service port", settings(f"server.port={url.rsplit(':', 1)[1]}"))
    assert found.status == "ok"
    assert "running there already" in found.detail


@pytest.mark.parametrize(
    ("status", "body", "verdict", "said"),
    [
        (200, {"data": [{"id": "gpt-4o-mini"}]}, "ok", "gpt-4o-mini"),
        (200, {"data": [{"id": "llama"}]}, "warn", "lists no model gpt-4o-mini"),
        (200, ["odd"], "ok", "answers"),
        (401, {}, "fail", "refuses the key"),
        (404, {}, "fail", "answers 404"),
    ],
)
async def test_an_llm_endpoint_is_asked_with_the_key_which_is_never_shown(
    status: int, body: Any, verdict: Status, said: str
) -> None:
    async with web(status, body) as (url, requests):
        found = await check("LLM endpoint", settings(f"llm.base_url={url}/v1", f"llm.api_key={KEY}"))
    assert (found.status, said in found.detail) == (verdict, True), found
    assert requests[0].startswith(b"GET /v1/models ")
    assert f"Bearer {KEY}".encode() in requests[0]
    assert KEY not in repr(found)


async def test_an_llm_endpoint_that_is_not_there_is_red(unused_tcp_port: int) -> None:
    found = await check("LLM endpoint", settings(f"llm.base_url=http://127.0.0.1:{unused_tcp_port}/v1"))
    assert found.status == "fail"
    assert "llm.base_url" in found.fix


async def test_a_stun_server_is_asked_for_our_address() -> None:
    async with udp(stun_server) as port:
        url = f"stun:127.0.0.1:{port}"
        found = await check(url, settings(ice(url)))
    assert (found.status, found.detail) == ("ok", "answers; the world sees us as 127.0.0.1")


async def test_a_stun_server_may_lose_the_first_question() -> None:
    lost: list[bytes] = []

    def forgetful(data: bytes, addr: Any) -> bytes | None:
        lost.append(data)
        return stun_server(data, addr) if len(lost) > 1 else None

    async with udp(forgetful) as port:
        url = f"stun:127.0.0.1:{port}"
        assert (await check(url, settings(ice(url)))).status == "ok"


async def test_what_is_no_stun_server_is_red(unused_udp_port: int) -> None:
    for_nothing = f"stun:127.0.0.1:{unused_udp_port}"
    assert (await check(for_nothing, settings(ice(for_nothing)))).status == "fail"
    async with udp(lambda _data, _addr: b"hello there") as port:
        url = f"stun:127.0.0.1:{port}"
        found = await check(url, settings(ice(url)))
    assert found.status == "fail"
    assert url in found.fix


def turn_refusal(data: bytes, _addr: Any) -> bytes:
    asked = stun.parse_message(data)
    answer = stun.Message(
        message_method=asked.message_method,
        message_class=stun.Class.ERROR,
        transaction_id=asked.transaction_id,
        attributes={"ERROR-CODE": (403, "Forbidden")},
    )
    return bytes(answer)


async def test_a_turn_server_that_refuses_is_red_without_showing_the_credential() -> None:
    async with udp(turn_refusal) as port:
        url = f"turn:127.0.0.1:{port}"
        found = await check(url, settings(ice(url, username="user", credential=KEY)))
    assert (found.status, found.detail) == ("fail", "it refuses: Forbidden (403)")
    assert KEY not in repr(found)


async def test_each_way_to_a_coturn_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with turn_server(with_secret=True) as server:
        urls = f"rooms.turn.urls={json.dumps([server.udp, server.tcp, server.tls])}"
        good = settings(urls, f"rooms.turn.secret={server.auth_secret}")
        for url, protocol in ((server.udp, "UDP"), (server.tcp, "TCP")):
            found = await check(url, good)
            assert (found.status, found.detail) == ("ok", f"relays from {server.host} over {protocol}")
        unknown = await check(server.tls, good)
        assert (unknown.status, "certificate is not accepted" in unknown.detail) == ("fail", True), unknown
        assert "from an authority that browsers know" in unknown.fix
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        found = await check(server.tls, good)
        assert (found.status, found.detail) == ("ok", f"relays from {server.host} over TLS")

        for url in (server.udp, server.tcp, server.tls):
            refused = await check(url, settings(urls, f"rooms.turn.secret={KEY}"))
            assert (refused.status, "it refuses" in refused.detail, "(401)" in refused.detail) == (
                "fail", True, True,
            )  # fmt: skip
            assert "static-auth-secret" in refused.fix
            assert "clocks" in refused.fix
            assert KEY not in repr(refused)


async def test_a_turn_server_that_is_not_there_is_red(unused_tcp_port: int) -> None:
    url = f"turn:127.0.0.1:{unused_tcp_port}?transport=tcp"
    found = await check(url, settings(ice(url, username="u", credential=KEY)))
    assert found.status == "fail"
    assert f"TCP to port {unused_tcp_port}" in found.fix


async def test_metereds_relays_are_tried_with_a_credential_that_is_given_back() -> None:
    async with rest_server() as rest, turn_server(with_secret=True) as server:
        service = TurnService([server.udp, server.tcp])
        rest.answer = service.answer

        def credential(name: str) -> tuple[str, str]:
            made = shared_secret_credential(server.auth_secret or "", [server.udp], name=name, ttl_s=60)
            assert made.username is not None
            assert made.credential is not None
            return made.username, made.credential

        service.credential = credential
        options = settings("rooms.turn.app_name=a", f"rooms.turn.secret_key={SECRET_KEY}").rooms.turn
        ok = await metered(options, url=rest.url)
        assert ok[:2] == ("ok", f"a credential relays over {server.udp}, {server.tcp}")
        assert service.users == []
        assert rest.asked[0].body == {"label": "doctor", "expiryInSeconds": 60}

        service.urls = [server.udp, f"turn:{server.host}:1?transport=tcp"]
        some = await metered(options, url=rest.url)
        assert (some[0], f"turn:{server.host}:1?transport=tcp: it cannot be reached" in some[1]) == (
            "warn",
            True,
        )
        service.urls = service.urls[1:]
        assert (await metered(options, url=rest.url))[0] == "fail"

        wrong = settings("rooms.turn.app_name=a", f"rooms.turn.secret_key={KEY}").rooms.turn
        refused = await metered(wrong, url=rest.url)
        assert (refused[0], "Invalid secretKey" in refused[1]) == ("fail", True)
        assert "rooms.turn.secret_key" in refused[2]
        assert KEY not in repr(refused)


@pytest.mark.parametrize(
    ("url", "said"), [("turn:127.0.0.1:3478", "no username"), ("http://x", "scheme"), ("stun:", "malformed")]
)
async def test_ice_servers_that_cannot_be_used_are_red(url: str, said: str) -> None:
    found = await check(url, settings(ice(url)))
    assert found.status == "fail"
    assert said in found.detail, found


async def test_a_signalling_server_elsewhere_is_visited(unused_tcp_port: int) -> None:
    elsewhere = (f"rooms.url=ws://127.0.0.1:{unused_tcp_port}", f"rooms.api_key={KEY}")
    found = await check("signalling", settings(*elsewhere))
    assert found.status == "fail"
    assert KEY not in repr(found)
    assert "rooms.url" in found.fix


async def test_an_engine_that_is_named_and_cannot_be_had_is_red() -> None:
    named = await check("stt faster-whisper", settings("stt.engine=faster-whisper", "stt.model=large-v3"))
    assert (named.status, bool(named.fix)) == ("fail", True)
    spare = await check("stt faster-whisper", settings("stt.model=large-v3"))
    assert (spare.status, bool(spare.fix)) == ("warn", True)


async def test_weights_are_looked_for_and_never_fetched() -> None:
    missing = await check("weights: hearing", settings("stt.model=large-v3"))
    assert (missing.status, "models fetch large-v3" in missing.fix) == ("warn", True)
    unknown = await check("weights: hearing", settings("stt.model=lareg-v3"))
    assert (unknown.status, "large-v3" in unknown.detail) == ("fail", True)
