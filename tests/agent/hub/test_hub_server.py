"""The hub on a real port, spoken to with a bare WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus

from agent.hub import ALL_ACTIONS, Hub, HubOptions, MessageRate, PublishableKey
from agent.hub.connection import MAX_QUEUED_BYTES, Connection
from agent.hub.rooms import Grant
from agent.realtime.frames import Subscribe
from agent.realtime.ice_servers import IceServer
from agent.realtime.tokens import mint_token
from tests.agent.hub.hub_parts import client, metric, token
from tests.conftest import RunningHub, StartHub

STUN = IceServer(("stun:stun.example:3478",))


# ---- the door -------------------------------------------------------------------------------------------


async def test_welcome_is_first_and_complete(hub: RunningHub) -> None:
    async with client(hub) as one, client(hub) as two:
        first, second = await one.read(), await two.read()
    assert set(first) == {"type", "peerId", "expiresAt", "serverTime", "maxMessageSize"}
    assert first["expiresAt"] is None
    assert first["maxMessageSize"] == 65536
    assert isinstance(first["serverTime"], int)
    assert first["peerId"] != second["peerId"]


async def test_a_token_decides_peer_id_expiry_and_metadata(hub: RunningHub) -> None:
    async with client(hub, token(hub, metadata={"plan": "x"}, expires_in_s=600)) as one:
        welcome = await one.read()
    assert welcome["peerId"] == "alice"
    assert welcome["expiresAt"] > time.time()
    assert welcome["metadata"] == {"plan": "x"}


async def test_ice_servers_are_injected_unless_the_token_brings_its_own(start_hub: StartHub) -> None:
    injected = {"iceServers": [{"urls": "stun:stun.example:3478"}]}
    async with start_hub(HubOptions(ice_servers=(STUN,))) as hub:
        async with client(hub) as one:
            assert (await one.read())["metadata"] == injected
        async with client(hub, token(hub, metadata={"plan": "x"})) as one:
            assert (await one.read())["metadata"] == {"plan": "x"} | injected
        async with client(hub, token(hub, metadata={"iceServers": []})) as one:
            assert (await one.read())["metadata"] == {"iceServers": []}


async def refusal(hub: RunningHub, query: str, **options: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as refused:
        async with client(hub, query, **options):
            pass
    return refused.value.response.status_code, json.loads(refused.value.response.body or b"")


@pytest.mark.parametrize("query", ["", "key=a&token=b", "token=garbage", "token=%FF%00"])
async def test_unreadable_credentials_are_http_401(hub: RunningHub, query: str) -> None:
    status, body = await refusal(hub, query)
    assert (status, body["error"]) == (401, "invalid_token")


async def test_a_foreign_origin_is_http_401(start_hub: StartHub) -> None:
    key = PublishableKey("pk_web", allowed_origins=frozenset({"https://good.example"}))
    async with start_hub(HubOptions(publishable_keys=(key,))) as hub:
        status, body = await refusal(hub, "key=pk_web", origin="https://bad.example")
        assert (status, body["error"]) == (401, "origin_not_allowed")
        for options in ({}, {"origin": "https://good.example"}):
            async with client(hub, "key=pk_web", **options) as one:
                assert (await one.read())["type"] == "welcome"


async def test_too_many_attempts_are_http_429(start_hub: StartHub) -> None:
    async with start_hub(HubOptions(connects_per_minute=2)) as hub:
        for _ in range(2):
            async with client(hub):
                pass
        with pytest.raises(InvalidStatus) as refused:
            async with client(hub, "key=anything"):
                pass
        response = refused.value.response
        assert (response.status_code, json.loads(response.body or b"")["error"]) == (429, "rate_limited")
        assert 0 < int(response.headers["retry-after"]) <= 60


async def test_a_wrong_key_or_signature_is_closed_4001(hub: RunningHub) -> None:
    async with client(hub, "key=pk_live_wrong") as one:
        assert (await one.closed())[0] == 4001
    forged, _ = mint_token(hub.key_id, "f" * 32, peer_id="eve", channels=["room"])
    async with client(hub, f"token={forged}") as one:
        assert (await one.closed())[0] == 4001


async def test_one_connection_too_many_is_closed_4010(start_hub: StartHub) -> None:
    async with start_hub(HubOptions(max_connections=1)) as hub, client(hub) as one:
        assert (await one.read())["type"] == "welcome"
        async with client(hub) as two:
            assert (await two.closed())[0] == 4010


async def test_one_connection_of_an_address_too_many_is_closed_4010(start_hub: StartHub) -> None:
    async with start_hub(HubOptions(connections_per_address=2)) as hub:
        async with client(hub) as one, client(hub) as two:
            for raw in (one, two):
                assert (await raw.read())["type"] == "welcome"
            async with client(hub) as three:
                assert await three.closed() == (4010, "too many connections from one address")
        # The hub hears of the end of a connection in its own time.
        while not hub.hub.rooms.is_empty():
            await asyncio.sleep(0)
        async with client(hub) as one:
            assert (await one.read())["type"] == "welcome"


async def test_programs_of_ones_own_are_exempt_from_the_limits_of_addresses(start_hub: StartHub) -> None:
    options = HubOptions(connects_per_minute=1, connections_per_address=1, trusted_prefix="~agent-")
    async with start_hub(options) as hub, AsyncExitStack() as stack:
        agents = [token(hub, peer_id=f"~agent-{number}") for number in range(3)]
        for query in (token(hub), *agents):
            raw = await stack.enter_async_context(client(hub, query))
            assert (await raw.read())["type"] == "welcome"
        assert (await refusal(hub, token(hub)))[0] == 429
        # Who only says so is a stranger, and one more attempt.
        assert (await refusal(hub, token(hub, peer_id="~agent-4") + "x"))[0] == 429


async def test_a_long_roster_asked_for_again_and_again_slows_down_who_asks(start_hub: StartHub) -> None:
    slowed = metric("voice_agent_hub_slowed_total")
    async with start_hub(HubOptions()) as hub, client(hub, token(hub)) as asker:
        for number in range(200):
            # As if they had connected.
            grant = Grant(f"p{number}", ALL_ACTIONS, peer_metadata={"about": "x" * 4000})
            hub.hub.rooms.connect(-1 - number, grant)
            hub.hub.rooms.handle(-1 - number, Subscribe("room"))
        await asker.read()
        # Three of them are 2.4 MB: more than may be had at once.
        for _ in range(3):
            await asker.write(type="subscribe", channel="room", requestId="s")
        for _ in range(3):
            assert (await asker.read())["type"] == "ack"
            assert len((await asker.read())["joined"]) == 200
        await asker.write(type="ping")
        assert await asker.read() == {"type": "pong"}
        assert metric("voice_agent_hub_slowed_total") > slowed


async def test_a_token_is_closed_4002_shortly_before_it_expires(start_hub: StartHub) -> None:
    now_s = time.time()
    async with start_hub(clock=lambda: now_s) as hub:
        query = token(hub, expires_in_s=60)
        # A little more than the margin is left: in, and soon out again.
        now_s += 59
        async with client(hub, query) as one:
            assert (await one.read())["type"] == "welcome"
            assert (await one.closed())[0] == 4002
        now_s += 2
        async with client(hub, query) as one:
            assert (await one.closed())[0] == 4002


async def test_the_credential_reaches_no_log(hub: RunningHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    query = token(hub)
    async with client(hub, query):
        pass
    async with client(hub):
        pass
    await refusal(hub, "token=very-secret")
    secrets = (query, quote(hub.key, safe=""), hub.key, "very-secret", hub.secret)
    assert "/v1" in caplog.text, "the server no longer logs connections: this test would prove nothing"
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_without_a_control_plane_plain_http_finds_nothing_there() -> None:
    hub, app = Hub(HubOptions()), FastAPI()
    app.include_router(hub.router)
    transport = httpx.ASGITransport(app)
    async with hub, httpx.AsyncClient(transport=transport, base_url="http://hub") as http:
        for path in ("/v1", "/v1/", "/v1/usage", "/v1/tokens"):
            assert (await http.get(path)).status_code == 404


# ---- inside ---------------------------------------------------------------------------------------------


async def test_a_session_in_the_words_of_the_protocol(hub: RunningHub) -> None:
    async with client(hub, token(hub, peer_metadata={"name": "A"})) as alice, client(hub) as bob:
        await alice.read()
        bob_id = (await bob.read())["peerId"]
        await alice.write(type="subscribe", channel="room", requestId="1", includeSenderMetadata=True)
        assert await alice.read() == {"type": "ack", "requestId": "1"}
        assert await alice.read() == {"type": "presence", "channel": "room", "joined": [], "left": []}
        await bob.write(type="subscribe", channel="room", requestId="2")
        assert await bob.read() == {"type": "ack", "requestId": "2"}
        assert (await bob.read())["joined"] == [{"peerId": "alice", "metadata": {"name": "A"}}]
        assert (await alice.read())["joined"] == [{"peerId": bob_id}]
        await alice.write(type="send", to=bob_id, data={"ü": None}, requestId="3")
        assert await alice.read() == {"type": "ack", "requestId": "3"}
        expected = {"type": "direct", "from": "alice", "data": {"ü": None}, "fromMetadata": {"name": "A"}}
        assert await bob.read() == expected
        await bob.write(type="publish", channel="room", data=1)
        assert await alice.read() == {"type": "message", "channel": "room", "from": bob_id, "data": 1}
        await bob.write(type="ping")
        assert await bob.read() == {"type": "pong"}
        await bob.websocket.close()
        assert (await alice.read())["left"] == [{"peerId": bob_id}]


async def test_a_connection_cut_without_goodbye_leaves_its_rooms(hub: RunningHub) -> None:
    async with client(hub) as one, client(hub) as two:
        for raw in (one, two):
            await raw.read()
            await raw.write(type="subscribe", channel="room")
            await raw.read()
        await one.read()
        two.websocket.transport.abort()
        assert len((await one.read())["left"]) == 1
        assert len(hub.hub.rooms.members("room")) == 1


async def test_mistakes_are_answered_and_the_connection_stays(hub: RunningHub) -> None:
    async with client(hub) as one:
        await one.read()
        await one.websocket.send("not json")
        assert (await one.read())["code"] == "malformed_message"
        await one.websocket.send(b"\x00binary")
        assert (await one.read())["code"] == "malformed_message"
        await one.write(type="dance", requestId="7")
        answer = await one.read()
        assert (answer["code"], answer["requestId"]) == ("unknown_type", "7")
        await one.write(type="publish", channel="room", requestId="8")
        assert (await one.read())["code"] == "missing_data"
        await one.write(type="ping")
        assert await one.read() == {"type": "pong"}


@pytest.mark.parametrize("letter", ["x", "é"])
async def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_closes_1009(
    hub: RunningHub, letter: str
) -> None:
    head, tail = '{"type":"publish","channel":"room","requestId":"1","data":"', '"}'
    room_bytes = 65536 - len(head) - len(tail)
    body = letter * (room_bytes // len(letter.encode()))
    body += "x" * (room_bytes - len(body.encode()))
    async with client(hub) as one:
        await one.read()
        await one.websocket.send(head + body + tail)
        assert await one.read() == {"type": "ack", "requestId": "1"}
        await one.websocket.send(head + body + "x" + tail)
        assert (await one.closed())[0] == 1009


async def test_messages_beyond_the_rate_close_4011_and_pings_do_not_count(start_hub: StartHub) -> None:
    options = HubOptions(message_rate=MessageRate(per_s=0.001, burst=5))
    async with start_hub(options) as hub, client(hub) as one:
        await one.read()
        for _ in range(20):
            await one.write(type="ping")
            await one.read()
        for number in range(5):
            await one.write(type="publish", channel="room", data=1, requestId=str(number))
            assert (await one.read())["type"] == "ack"
        await one.write(type="send", to="x", data=1)
        assert (await one.closed())[0] == 4011


async def test_a_flood_of_anything_closes_4011(hub: RunningHub) -> None:
    async with client(hub) as one:

        async def flood() -> None:
            while True:
                await one.websocket.send("{}")
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        assert (await one.closed())[0] == 4011
        await asyncio.wait([flooding])


@pytest.mark.parametrize("max_queued_frames", [16, 100_000], ids=["by-frames", "by-bytes"])
async def test_a_reader_too_slow_is_dropped_and_the_others_go_on(
    start_hub: StartHub, max_queued_frames: int
) -> None:
    before = metric("voice_agent_hub_slow_readers_total")
    options = HubOptions(max_queued_frames=max_queued_frames, message_rate=None)
    async with start_hub(options) as hub, client(hub) as writer, client(hub, max_queue=1) as sleeper:
        for raw in (writer, sleeper):
            await raw.read()
            await raw.write(type="subscribe", channel="room", requestId="s")
            assert (await raw.read())["type"] == "ack"
            await raw.read()
        sleeper_id = (await writer.read())["joined"][0]["peerId"]
        # Nobody reads at the other end: the socket's buffers fill, then the hub's queue, then it is over.
        sleeper.websocket.transport.pause_reading()
        gone = False
        while not gone:
            await writer.write(type="publish", channel="room", data="x" * 60_000, requestId="p")
            answer = await writer.read()
            gone = answer["type"] == "presence"
        assert answer["left"] == [{"peerId": sleeper_id}]
        assert metric("voice_agent_hub_slow_readers_total") == before + 1
        sleeper.websocket.transport.resume_reading()
        assert await sleeper.closed() == (1008, "reading too slowly")


async def test_what_waits_for_a_reader_is_counted_in_bytes() -> None:
    before = metric("voice_agent_hub_slow_readers_total")
    # Nothing is sent before it runs.
    connection = Connection(1, WebSocket({"type": "websocket"}, never, never), None)
    for _ in range(3):
        # Three bytes each.
        connection.send("\u20ac" * (MAX_QUEUED_BYTES // 5))
    assert metric("voice_agent_hub_slow_readers_total") == before + 1


async def never(*_: Any) -> Any:
    raise AssertionError("nothing is to be sent or read")


# ---- the end --------------------------------------------------------------------------------------------


async def test_closing_says_when_to_come_back_and_lets_nobody_in(hub: RunningHub) -> None:
    async with client(hub) as one:
        await one.read()
        closing = asyncio.create_task(hub.hub.close(retry_after_ms=2500))
        assert await one.read() == {"type": "going_away", "retryAfterMs": 2500}
        assert (await one.closed())[0] == 1001
        await closing
        assert hub.hub.rooms.is_empty()
        status, body = await refusal(hub, "key=x")
        assert (status, body["error"]) == (503, "going_away")


async def test_nothing_is_kept_of_those_who_left(hub: RunningHub) -> None:
    before = metric("voice_agent_hub_connections")
    async with client(hub) as one, client(hub) as two:
        for raw in (one, two):
            await raw.read()
            await raw.write(type="subscribe", channel="room")
            await raw.write(type="subscribe", channel="all/*")
            await raw.read()
        assert metric("voice_agent_hub_connections") == before + 2
    await hub.hub.close()
    assert hub.hub.rooms.is_empty()
    assert metric("voice_agent_hub_connections") == before
