"""Where a service is reached, and the rooms of other servers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from agent.realtime import AudioSource, Peer
from agent.service import _listeners
from pipelines.engines import Engines
from tests.agent.service_parts import Caller, given, service

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("credential", ["publishable key", "secret pair"])
async def test_rooms_of_a_foreign_server_are_joined_with_its_keys(
    engines: Engines, start_hub: Any, credential: str
) -> None:
    async with start_hub() as hub:
        keys = (
            [f"rooms.api_key={hub.key}"]
            if credential == "publishable key"
            else [f"rooms.secret_key_id={hub.key_id}", f"rooms.secret_key={hub.secret}"]
        )
        async with service(engines, f"rooms.url={hub.url}", *keys) as (_, client):
            access = (await client.post("/tokens", json={"room": "lobby"})).json()
            assert access["url"] == hub.url
            agent = (await client.post("/agents", json={"room": "lobby", "greeting": ""})).json()
            assert [member.peer_id for member in hub.hub.rooms.members("lobby")] == [agent["peer_id"]]
            credentials: dict[str, Any] = (
                {"key": access["key"]} if access["key"] else {"token_provider": given(access["token"])}
            )
            async with AudioSource() as source, Peer(access["url"], **credentials) as peer:
                peer.add_track(source, stream_id="microphone")
                await peer.join("lobby")
                one = Caller(peer, source)
                running = asyncio.create_task(one.run())
                await one.until(type="agent.hello")
                await peer.send({"type": "chat", "text": "What is twelve times three?"})
                await one.until_said(lambda text: "36" in text)
                await one.heard_voice.wait()
                running.cancel()


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0"])
async def test_a_service_for_a_network_has_agents_in_its_rooms(engines: Engines, host: str) -> None:
    headers = {"authorization": "Bearer k"}
    async with service(engines, f"server.host={host}", "server.api_key=k") as (running, client):
        assert running.url.startswith("http://127.0.0.2:" if host == "127.0.0.2" else "http://127.0.0.1:")
        answer = await client.post("/agents", json={"room": "lobby"}, headers=headers)
        assert answer.status_code == 201, answer.text
        access = (await client.post("/tokens", json={"room": "lobby"}, headers=headers)).json()
        assert access["url"] == running.url.replace("http", "ws"), "callers come to the address they know"


@pytest.mark.parametrize(
    ("host", "listening"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        # In place of an address of a network, to which no agent would connect without TLS.
        ("127.0.0.2", ["127.0.0.2", "127.0.0.1"]),
    ],
)
async def test_a_service_can_always_be_reached_over_loopback(host: str, listening: list[str]) -> None:
    with _listeners(host, 0) as sockets:
        assert [one.getsockname()[0] for one in sockets] == listening


async def test_tokens_of_callers_stay_out_of_the_log(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with service(engines) as (_, client):
        access = (await client.post("/tokens", json={"room": "lobby"})).json()
        async with Peer(access["url"], token_provider=given(access["token"])) as peer:
            await peer.join("lobby")
    assert access["token"] not in caplog.text


async def test_a_room_that_cannot_be_reached_is_said_so(engines: Engines) -> None:
    async with service(engines, "rooms.url=ws://127.0.0.1:9", "rooms.api_key=pk_live_x") as (_, client):
        response = await client.post("/agents", json={"room": "lobby"})
        assert response.status_code == 502
        assert "pk_live_x" not in response.text
