"""What a server says first, and what the client makes of it."""

from __future__ import annotations

import asyncio

import pytest

from agent.realtime.errors import (
    SignallingConnectError,
)
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.link import Timeouts
from tests.agent.realtime.scripted_server import (
    MARK,
    MARKED,
    WELCOME,
    Wire,
    events_until_mark,
    scripted_server,
    welcome,
)


@pytest.mark.parametrize(
    "text",
    [
        WELCOME,
        welcome(expiresAt=1715539200),
        welcome(expiresAt=1715539200.5, serverTime=1715535600.5),
        # The vendor's Python client takes a missing expiry for none.
        welcome(expiresAt=...),
        welcome(metadata={"iceServers": [{"urls": "stun:a.example"}], "more": 1}),
        welcome(metadata=["not an object"]),
        welcome(metadata=None),
        welcome(metadata={"iceServers": "not a list"}),
        welcome(metadata={"iceServers": [{"urls": "http://not.ice"}]}),
        welcome(unknown={"nested": [1]}, peerMetadata=5),
        welcome(maxMessageSize=2**40),
        "\n\t " + WELCOME + " \n",
        WELCOME.replace("welcome", "\\u0077elcome"),
    ],
)
async def test_welcomes_that_count(text: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(text, MARK)
        await wire.until_gone()

    async with scripted_server(script) as url:
        assert await events_until_mark(url) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"welcome"}',
        welcome(peerId=...),
        welcome(peerId=""),
        welcome(peerId=7),
        welcome(peerId=None),
        welcome(serverTime=...),
        welcome(serverTime="1"),
        welcome(serverTime=True),
        welcome(serverTime=10**400),
        WELCOME.replace("1715535600", "NaN"),
        WELCOME.replace("1715535600", "1e999"),
        welcome(maxMessageSize=...),
        welcome(maxMessageSize=0),
        welcome(maxMessageSize=-1),
        welcome(maxMessageSize="65536"),
        welcome(expiresAt="soon"),
        welcome(expiresAt=10**400),
        welcome(expiresAt=[]),
        # Never, and something else first.
        '{"type":"ack","requestId":"x"}',
        MARK,
    ],
)
async def test_welcomes_that_do_not_count(text: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(text, welcome(peerId="real"), MARK)
        await wire.until_gone()

    async with scripted_server(script) as url, SignallingClient(url, key="k") as client:
        assert client.peer_id == "real"


async def test_a_welcome_that_never_comes_is_waited_for_so_long() -> None:
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say('{"type":"welcome"}')
        closed.set_result(await wire.hear_close())

    async with scripted_server(script) as url:
        with pytest.raises(SignallingConnectError, match="no welcome in time") as refused:
            await SignallingClient(url, key="k", timeouts=Timeouts(welcome_s=0.5, close_s=0.05)).connect()
        assert refused.value.code == await closed == 4000


@pytest.mark.parametrize(
    ("expires_at", "server_time"),
    [(2**53, 0), (-(2**53), 2**53), (0, 0), (1.5, -1.5), (1715535601, 1715535600)],
)
async def test_strange_lifetimes_do_no_harm(expires_at: float, server_time: float) -> None:
    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(welcome(expiresAt=expires_at, serverTime=server_time), MARK)
        await wire.until_gone()

    async def provider() -> str:
        return "token"

    async with scripted_server(script) as url, SignallingClient(url, token_provider=provider) as client:
        await anext(client.events())
        assert await anext(client.events()) == MARKED
