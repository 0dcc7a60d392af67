"""Servers that say what they should not."""

from __future__ import annotations

import pytest
from websockets.asyncio.server import ServerConnection

from agent.realtime.errors import (
    AckTimeoutError,
)
from agent.realtime.events import Connected, Disconnected
from agent.realtime.frames import (
    Direct,
    ErrorFrame,
)
from agent.realtime.link import Timeouts
from agent.realtime.signalling import SignallingClient
from tests.agent.realtime.signalling_parts import (
    WELCOME,
    expect,
    scripted,
    welcome_and_wait,
)


async def test_strange_frames_do_no_harm() -> None:
    async def strange(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        for frame in (
            "",
            "nonsense",
            "[]",
            '{"type":"frame_of_the_future"}',
            '{"type":"presence","channel":"room"}',
            '{"type":"ack","requestId":"not ours"}',
            '{"type":"error","code":"unknown_type"}',
            '{"type":"error","code":"late","requestId":"not ours"}',
            WELCOME.replace("me", "somebody else"),
            b"\x00binary",
            '{"type":"direct","from":"p","data":1}',
        ):
            await websocket.send(frame)
        await websocket.wait_closed()

    async with scripted(strange) as url, SignallingClient(url, key="k") as client:
        assert (await expect(client, Connected)).peer_id == "me"
        assert await expect(client, Direct) == Direct("p", 1)
        assert client.peer_id == "me"


async def test_an_error_that_answers_nothing_of_ours_is_an_event() -> None:
    async def complaining(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.send('{"type":"error","code":"account_suspended"}')
        await websocket.wait_closed()

    async with scripted(complaining) as url, SignallingClient(url, key="k") as client:
        await expect(client, Connected)
        assert await expect(client, ErrorFrame) == ErrorFrame("account_suspended")


async def test_no_answer_in_time() -> None:
    async with (
        scripted(welcome_and_wait) as url,
        SignallingClient(url, key="k", timeouts=Timeouts(ack_s=0.05)) as client,
    ):
        with pytest.raises(AckTimeoutError):
            await client.publish("room", 1)


async def test_a_frame_beyond_a_mebibyte_costs_the_connection() -> None:
    async def huge(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.send("x" * 1_048_577)
        await websocket.wait_closed()

    async with scripted(huge) as url, SignallingClient(url, key="k", reconnect=None) as client:
        await expect(client, Connected)
        assert (await expect(client, Disconnected)).code == 1009
