"""What the control plane does to channels and peers, with WebSocket clients to see it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agent.hub import HubOptions, PublishableKey, SecretKey
from tests.agent.hub.hub_parts import client, token
from tests.agent.hub.rest_parts import NARROW, SECRET, VIEWER, http, outcome
from tests.conftest import RunningHub, StartHub

# ---- channels -------------------------------------------------------------------------------------------


async def test_the_roster_of_a_channel(hub: RunningHub, rest: httpx.AsyncClient) -> None:
    assert (await rest.get("/channels/app%2Froom/peers")).json() == {"channel": "app/room", "peers": []}
    query = token(hub, channels=["app/room", "ü 100%"], peer_metadata={"name": "A", "half": "\ud83d"})
    async with client(hub, query) as alice, client(hub) as other:
        await alice.read()
        other_id = (await other.read())["peerId"]
        await alice.subscribe("app/room")
        await other.subscribe("app/room")
        assert (await alice.read())["joined"] == [{"peerId": other_id}]
        await alice.subscribe("ü 100%")
        alice_entry = {"peerId": "alice", "metadata": {"name": "A", "half": "\ud83d"}}
        roster = (await rest.get("/channels/app%2Froom/peers")).json()
        assert roster == {"channel": "app/room", "peers": [alice_entry, {"peerId": other_id}]}
        roster = (await rest.get("/channels/%C3%BC%20100%25/peers")).json()
        assert roster == {"channel": "ü 100%", "peers": [alice_entry]}


async def test_publishing_reaches_everybody_with_metadata_for_those_who_asked(
    hub: RunningHub, rest: httpx.AsyncClient
) -> None:
    async with client(hub) as plain, client(hub) as curious:
        for raw, options in ((plain, {}), (curious, {"includeSenderMetadata": True})):
            await raw.read()
            await raw.subscribe("app/room", **options)
        await plain.read()
        response = await rest.post(
            "/channels/app%2Froom/publish",
            json={"data": {"x": [1, None]}, "from": "billing", "peerMetadata": {"name": "B"}},
        )
        assert (response.status_code, response.json()) == (200, {"channel": "app/room", "ok": True})
        message = {"type": "message", "channel": "app/room", "from": "billing", "data": {"x": [1, None]}}
        assert await plain.read() == message
        assert await curious.read() == message | {"fromMetadata": {"name": "B"}}
        await rest.post("/channels/app%2Froom/publish", json={"data": None})
        message = {"type": "message", "channel": "app/room", "from": "system", "data": None}
        assert await plain.read() == message
        assert await curious.read() == message


@pytest.mark.parametrize(
    "body", [{}, {"data": 1, "from": ""}, {"data": 1, "from": 5}, {"data": 1, "peerMetadata": 1}, {"date": 1}]
)
async def test_what_cannot_be_published(rest: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert outcome(await rest.post("/channels/room/publish", json=body)) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("", (400, "invalid_request")),
        ("%00", (400, "invalid_request")),
        ("%FF", (400, "invalid_request")),
        ("x" * 257, (400, "invalid_request")),
        ("_system%2Fx", (400, "channel_reserved")),
        ("_SYSTEM%2fx", (400, "channel_reserved")),
        ("app%2F*", (400, "invalid_request")),
        ("elsewhere", (403, "channel_not_authorized")),
        ("app%2Fx%2Fy", (403, "channel_not_authorized")),
    ],
)
async def test_channels_that_are_none_or_not_this_keys(
    start_hub: StartHub, channel: str, expected: tuple[int, str]
) -> None:
    async with (
        start_hub(HubOptions(secret_keys=(VIEWER,))) as hub,
        http(hub, f"{VIEWER.key_id}:{SECRET}") as session,
    ):
        assert outcome(await session.get(f"/channels/{channel}/peers")) == expected
        published = await session.post(f"/channels/{channel}/publish", json={"data": 1})
        assert outcome(published) == expected


async def test_actions_that_are_not_this_keys(start_hub: StartHub) -> None:
    async with (
        start_hub(HubOptions(secret_keys=(NARROW,))) as hub,
        http(hub, f"{NARROW.key_id}:{SECRET}") as session,
    ):
        expected = (403, "action_not_permitted")
        assert outcome(await session.get("/channels/app%2Fx/peers")) == expected
        assert outcome(await session.post("/channels/app%2Fx/publish", json={"data": 1})) == expected


# ---- peers and usage ------------------------------------------------------------------------------------


async def test_disconnecting_a_peer_closes_all_its_connections_4020(
    hub: RunningHub, rest: httpx.AsyncClient
) -> None:
    query = token(hub, peer_id="twin/e")
    async with client(hub, query) as one, client(hub, query) as two, client(hub) as other:
        for raw in (one, two, other):
            await raw.read()
        response = await rest.delete("/peers/twin%2Fe")
        assert (response.status_code, response.json()) == (200, {"peerId": "twin/e", "closed": 2})
        assert (await one.closed())[0] == 4020
        assert (await two.closed())[0] == 4020
        await other.write(type="ping")
        assert await other.read() == {"type": "pong"}
        assert (await rest.delete("/peers/twin%2Fe")).json() == {"peerId": "twin/e", "closed": 0}


@pytest.mark.parametrize("peer_id", ["", "%00", "x" * 129, "%FF"])
async def test_a_peer_id_that_is_none(rest: httpx.AsyncClient, peer_id: str) -> None:
    assert outcome(await rest.delete(f"/peers/{peer_id}")) == (400, "invalid_request")


async def test_usage_counts_connections_and_attempts(hub: RunningHub, rest: httpx.AsyncClient) -> None:
    async with client(hub) as one:
        await one.read()
        async with client(hub) as two:
            await two.read()
        await one.write(type="publish", channel="room", data=1)
        await one.write(type="send", to="nobody", data=1, requestId="x")
        assert (await one.read())["code"] == "peer_not_found"
        await rest.post("/channels/room/publish", json={"data": 1})
        usage = (await rest.get("/usage")).json()
    assert usage["messagesUsed"] == 3
    assert usage["peakConcurrent"] == 2
    assert usage["concurrentNow"] in {1, 2}, "the one that left may still be closing"
    assert usage["plan"]["maxConcurrentConnections"] == hub.hub.options.max_connections
    assert usage["periodStartUnix"] < usage["periodEndUnix"]


async def test_beyond_the_quota_messages_are_dropped_and_receiving_goes_on(start_hub: StartHub) -> None:
    options = HubOptions(max_messages=2, connects_per_minute=None)
    async with start_hub(options) as hub, client(hub) as one, client(hub) as two, http(hub) as session:
        await one.read()
        two_id = (await two.read())["peerId"]
        await one.write(type="send", to=two_id, data="first", requestId="1")
        assert (await one.read())["type"] == "ack"
        await one.write(type="publish", channel="room", data="second", requestId="2")
        assert (await one.read())["type"] == "ack"
        await one.write(type="send", to=two_id, data="third", requestId="3")
        refusal = await one.read()
        assert (refusal["code"], refusal["requestId"]) == ("over_message_quota", "3")
        published = await session.post("/channels/room/publish", json={"data": 1})
        assert outcome(published) == (429, "over_message_quota")
        assert (await session.get("/usage")).json()["messagesUsed"] == 4
        assert (await two.read())["data"] == "first"
        assert (await one.subscribe("room"))["joined"] == []
        await two.subscribe("room")
        assert (await one.read())["joined"] == [{"peerId": two_id}]


async def test_a_token_key_may_be_bound_to_origins_too(start_hub: StartHub) -> None:
    pages = frozenset({"https://good.example", "http://localhost:*", "http://[::1]:*"})
    pair = SecretKey("sk_id_web", SECRET, allowed_origins=pages)
    key = PublishableKey("pk_web", allowed_origins=pages)
    options = HubOptions(secret_keys=(pair,), publishable_keys=(key,), connects_per_minute=None)
    async with start_hub(options) as hub:
        async with http(hub, f"{pair.key_id}:{SECRET}") as session:
            minted = (await session.post("/tokens", json={"peerId": "bob"})).json()["token"]
        for query in (f"token={minted}", "key=pk_web"):
            local = ("http://localhost:5173", "http://localhost", "http://[::1]", "http://[::1]:80")
            for origin in (None, "https://good.example", *local):
                async with client(hub, query, origin=origin) as raw:
                    assert (await raw.read())["type"] == "welcome"
            for origin in (
                "https://localhost:5173",
                "http://localhost.evil:80",
                "null",
            ):
                with pytest.raises(Exception, match="401"):
                    async with client(hub, query, origin=origin):
                        pass
