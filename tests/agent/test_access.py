"""Tokens that bring a relay's credential with them: coturn's for real, Metered's from an imitation."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aioice import turn as relaying
from prometheus_client import REGISTRY
from rest_server import RestServer, answering, rest_server
from starlette.responses import JSONResponse
from turn_server import turn_server
from turn_service import SECRET_KEY, TurnService

from agent.access import Access, PeerAccess
from agent.realtime import IceServer, parse_ice_servers
from agent.realtime.signalling.client import SignallingClient
from agent.room_options import RoomsOptions, TurnServers
from agent.settings import load_settings
from agent.turn import MAX_REQUESTS, PAUSE_S, MeteredRelays, relays_of
from tests.conftest import RunningHub

COTURN = ('rooms.turn.urls=["turn:turn.example.com:3478"]', "rooms.turn.secret=north")
STUN = 'rooms.ice_servers=[{"urls": ["stun:stun.example.com:3478"]}]'


def rooms(*overrides: str) -> RoomsOptions:
    return load_settings(environ={}, overrides=overrides).settings.rooms


def failures() -> float:
    return REGISTRY.get_sample_value("voice_agent_turn_credentials_total", {"outcome": "failed"}) or 0.0


async def claims_of(access: Access) -> dict[str, Any]:
    token = (await access.caller_access("room", "Ada")).token
    assert token is not None
    return jwt.decode(token, options={"verify_signature": False})


def servers_in(claims: dict[str, Any]) -> tuple[IceServer, ...]:
    servers = parse_ice_servers(claims["metadata"]["iceServers"])
    assert servers is not None
    return servers


async def connected_with(access: PeerAccess) -> tuple[IceServer, ...]:
    """The servers that somebody with this access is told in the welcome."""
    async with SignallingClient(access.url, token_provider=access.token_provider) as client:
        return (await anext(aiter(client.events()))).ice_servers


@asynccontextmanager
async def metered(server: RestServer, *overrides: str, **more: Any) -> AsyncIterator[Access]:
    options = rooms("rooms.turn.app_name=my-app", f"rooms.turn.secret_key={SECRET_KEY}", *overrides)
    relays = MeteredRelays(options.turn, options.turn_ttl_s, url=server.url, **more)
    access = Access(options, local=True, relays=relays)
    try:
        yield access
    finally:
        await access.close()


async def test_every_token_has_a_coturn_credential_of_its_own() -> None:
    async with turn_server(with_secret=True) as server:
        urls = json.dumps([server.udp, server.tls])
        secret = f"rooms.turn.secret={server.auth_secret}"
        access = Access(rooms(f"rooms.turn.urls={urls}", secret, STUN), local=True)
        before = time.time()
        first, second = await claims_of(access), await claims_of(access)
        stun, relay = servers_in(first)
        assert stun == IceServer(("stun:stun.example.com:3478",))
        assert relay.urls == (server.udp, server.tls)
        assert relay != servers_in(second)[1]
        expiry, _, name = (relay.username or "").partition(":")
        assert name == first["sub"]
        # As long as the token and a minute, no longer.
        assert before + 3600 + 60 - 1 <= int(expiry) <= first["exp"] + 61
        transport, _ = await relaying.create_turn_endpoint(
            asyncio.DatagramProtocol, (server.host, server.port), relay.username, relay.credential
        )
        assert transport.get_extra_info("sockname")[0] == server.host
        transport.close()
        await access.close()


async def test_an_agent_on_a_server_elsewhere_brings_its_own_relays(hub: RunningHub) -> None:
    elsewhere = (
        f"rooms.url={hub.url}",
        f"rooms.secret_key_id={hub.key_id}",
        f"rooms.secret_key={hub.secret}",
    )
    access = Access(rooms(*elsewhere, *COTURN, STUN), local=True).for_agent("1", "room", "Ada")
    # Those of the welcome count.
    assert access.ice_servers == ()
    stun, relay = await connected_with(access)
    assert stun.urls == ("stun:stun.example.com:3478",)
    assert (relay.urls, (relay.username or "").partition(":")[2]) == (
        ("turn:turn.example.com:3478",),
        "~agent-1",
    )
    # Asked again for every connection, so it never runs out.
    assert access.token_provider is not None
    assert await access.token_provider() is not None


async def test_without_relays_tokens_leave_the_servers_to_the_hub() -> None:
    for overrides in ((), (STUN,)):
        assert "metadata" not in await claims_of(Access(rooms(*overrides), local=True))
    assert relays_of(RoomsOptions()) is None


async def test_a_credential_of_metereds_for_every_token() -> None:
    async with rest_server() as server:
        service = TurnService()
        server.answer = service.answer
        async with metered(server, "rooms.turn.region=europe", "rooms.turn.ttl_s=600", STUN) as access:
            first, second = await claims_of(access), await claims_of(access)
        assert [user["label"] for user in service.users] == [first["sub"], second["sub"]]
        assert [user["expiryInSeconds"] for user in service.users] == [600, 600]
        own, stun, relay = servers_in(second)
        assert own.urls == ("stun:stun.example.com:3478",)
        assert stun.urls == ("stun:stun.europe.test:80",)
        # One entry for all the relays: a token is part of an address.
        assert relay.urls == ("turn:europe.test:80", "turns:europe.test:443?transport=tcp")
        assert (relay.username, relay.credential) == ("user1", "password-of-user1")
        # The relays' addresses are asked for once.
        assert [asked.method for asked in server.asked] == ["POST", "GET", "POST"]


@pytest.mark.parametrize(
    "answer",
    [
        answering(400, {"message": f"bad {SECRET_KEY}"}),
        answering(500, None),
        answering(200, {"unexpected": True}),
        answering(200, {"username": "u" * 2000, "password": "p", "apiKey": "k"}),
    ],
)
async def test_callers_get_in_without_relays_when_the_service_fails(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with rest_server() as server:
        server.answer = answer
        before = failures()
        async with metered(server) as access:
            assert "metadata" not in await claims_of(access)
            asked = len(server.asked)
            # Nobody waits for what has just failed.
            assert "metadata" not in await claims_of(access)
            assert len(server.asked) == asked
        async with metered(server, STUN) as access:
            assert servers_in(await claims_of(access)) == (IceServer(("stun:stun.example.com:3478",)),)
    assert failures() == before + 3
    warnings = [record.getMessage() for record in caplog.records if record.name == "agent.turn"]
    assert len(warnings) == 2
    assert "callers go without" in warnings[0]
    assert SECRET_KEY not in caplog.text


async def test_a_service_that_is_silent_holds_up_the_first_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.turn.PATIENCE_S", 0.2)
    stuck = asyncio.Event()

    async def silent(_: Any) -> JSONResponse:
        await stuck.wait()
        return JSONResponse({})

    async with rest_server() as server:
        server.answer = silent
        try:
            async with metered(server) as access:
                async with asyncio.TaskGroup() as tasks:
                    together = [tasks.create_task(claims_of(access)) for _ in range(20)]
                assert all("metadata" not in task.result() for task in together)
                # A ninth would have had to wait for one of them, and they failed.
                assert "metadata" not in await claims_of(access)
                assert len(server.asked) <= MAX_REQUESTS
        finally:
            stuck.set()


async def test_the_service_is_asked_again_after_a_pause() -> None:
    now = 100.0
    async with rest_server() as server:
        server.answer = answering(500, None)
        async with metered(server, clock=lambda: now) as access:
            await claims_of(access)
            server.answer = TurnService().answer
            assert "metadata" not in await claims_of(access)
            now += PAUSE_S
            assert len(servers_in(await claims_of(access))) == 2


def test_the_settings_say_which_relays() -> None:
    assert relays_of(rooms()) is None
    options = load_settings(
        environ={"METERED_APP_NAME": "my-app", "METERED_TURN_SECRET_KEY": "12345"}
    ).settings
    assert options.rooms.turn.is_metered
    assert options.rooms.turn.secret_key is not None
    assert options.rooms.turn.secret_key.get_secret_value() == "12345"
    assert options.rooms.turn_ttl_s == 3660
    assert not TurnServers().is_set


def test_the_settings_in_the_documentation_are_accepted(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "turn.md").read_text("utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = []
    for block in blocks:
        (tmp_path / "c.yaml").write_text(block)
        found.append(load_settings(tmp_path / "c.yaml", environ={}).settings.rooms.turn)
    coturn, metereds = found
    assert coturn.is_coturn
    assert metereds.is_metered
    assert coturn.secret is not None
    # The two ends have to share it.
    assert f"static-auth-secret={coturn.secret.get_secret_value()}" in page
