"""A line that is dead is noticed; one that is merely quiet is kept."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.server import ServerConnection

from agent.realtime.errors import (
    AckTimeoutError,
    DisconnectedError,
    NotConnectedError,
    SignallingConnectError,
)
from agent.realtime.frames import Ack, Presence, encode
from agent.realtime.signalling.client import SignallingClient, SignallingState
from agent.realtime.signalling.events import Connected, Disconnected
from agent.realtime.signalling.link import Timeouts
from tests.agent.realtime.signalling_parts import (
    WELCOME,
    Prompt,
    expect,
    scripted,
    welcome_and_wait,
)
from tests.conftest import RunningHub


async def test_a_dead_line_is_given_up_and_replaced() -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def dead(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.wait_closed()
        closed.set_result(websocket.close_code)

    async def talking(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        while True:
            await websocket.send('{"type":"pong"}')
            await asyncio.sleep(0.02)

    async with scripted(dead, talking) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt(), timeouts=Timeouts(inactivity_s=0.2))
        async with client:
            await expect(client, Connected)
            assert await expect(client, Disconnected) == Disconnected(4000, "inactivity", True)
            assert (await expect(client, Connected)).is_reconnect
            assert await closed == 4000


async def test_a_quiet_line_is_asked_for_a_sign_of_life_and_pong_keeps_it() -> None:
    pings: asyncio.Queue[str] = asyncio.Queue()

    async def answering(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        async for text in websocket:
            pings.put_nowait(str(text))
            await websocket.send('{"type":"pong"}')

    async with (
        scripted(answering) as url,
        SignallingClient(url, key="k", timeouts=Timeouts(inactivity_s=1.8)) as client,
    ):
        # Two pings are more than the timeout: without the pongs the line would have been given up.
        assert [await pings.get() for _ in range(2)] == ['{"type":"ping"}'] * 2
        assert client.state is SignallingState.CONNECTED


# ---- doubt ----------------------------------------------------------------------------------------------


async def mute(websocket: ServerConnection) -> None:
    """Says welcome, and then nothing, as a line does that is no more."""
    await websocket.send(WELCOME)
    await websocket.wait_closed()


def impatient(**timeouts: float) -> Timeouts:
    return Timeouts(alive_s=0.1, **timeouts)


async def test_a_doubted_line_that_stays_silent_is_replaced() -> None:
    async with (
        scripted(mute, welcome_and_wait) as url,
        SignallingClient(url, key="k", reconnect=Prompt(), timeouts=impatient()) as client,
    ):
        await expect(client, Connected)
        client.check_alive()
        client.check_alive()
        assert await expect(client, Disconnected) == Disconnected(4000, "inactivity", True)
        assert (await expect(client, Connected)).is_reconnect


async def test_a_doubted_line_that_answers_is_kept(hub: RunningHub) -> None:
    before = REGISTRY.get_sample_value("voice_agent_signalling_checks_total") or 0
    async with SignallingClient(hub.url, key=hub.key, timeouts=Timeouts(alive_s=0.5)) as client:
        await expect(client, Connected)
        for _ in range(100):
            client.check_alive()
        await client.subscribe("room")
        assert await expect(client, Presence) == Presence("room")
        await asyncio.sleep(0.6)
        assert client.state is SignallingState.CONNECTED
    assert REGISTRY.get_sample_value("voice_agent_signalling_checks_total") == before + 1


async def test_doubt_without_a_connection_is_nothing(hub: RunningHub) -> None:
    client = SignallingClient(hub.url, key=hub.key)
    client.check_alive()
    await client.connect()
    await client.close()
    client.check_alive()


@pytest.mark.parametrize("reason", [{"doubt_s": 0.05}, {"doubt_s": 3600.0, "ack_s": 0.05}])
async def test_a_request_nobody_answers_is_reason_to_doubt(reason: dict[str, float]) -> None:
    async with (
        scripted(mute, welcome_and_wait) as url,
        SignallingClient(url, key="k", reconnect=Prompt(), timeouts=impatient(**reason)) as client,
    ):
        await expect(client, Connected)
        with pytest.raises((DisconnectedError, AckTimeoutError)):
            await client.publish("room", 1)
        assert (await expect(client, Disconnected)).code == 4000
        await expect(client, Connected)


async def test_an_answer_that_is_merely_late_is_waited_for() -> None:
    async def slow(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        request_id = None
        async for text in websocket:
            frame = json.loads(text)
            if frame["type"] == "ping":
                await websocket.send('{"type":"pong"}')
                await websocket.send(encode(Ack(request_id)))
            else:
                request_id = frame["requestId"]

    timeouts = Timeouts(doubt_s=0.01, alive_s=10)
    async with scripted(slow) as url, SignallingClient(url, key="k", timeouts=timeouts) as client:
        # The ping that the doubt caused is what makes this server answer at last.
        await client.publish("room", 1)
        assert client.state is SignallingState.CONNECTED


async def deaf(websocket: ServerConnection) -> None:
    """Stops reading, so that sooner or later nothing can be written any more."""
    await websocket.send(WELCOME)
    websocket.transport.pause_reading()
    try:
        await asyncio.Event().wait()
    finally:
        websocket.transport.abort()


async def test_a_server_that_stops_reading_holds_nothing_up() -> None:
    async with scripted(deaf, welcome_and_wait) as url:
        timeouts = Timeouts(ack_s=0.1, doubt_s=3600, alive_s=0.5)
        client = SignallingClient(url, key="k", reconnect=Prompt(), timeouts=timeouts)
        async with client:
            await expect(client, Connected)
            many = (client.publish("room", "x" * 60_000) for _ in range(300))
            answers = await asyncio.gather(*many, return_exceptions=True)
            assert {type(answer) for answer in answers} == {AckTimeoutError, NotConnectedError}
            # No closing handshake can get through either.
            assert (await expect(client, Disconnected)).code == 4000
            await expect(client, Connected)


async def test_closing_does_not_wait_for_a_server_that_stopped_reading() -> None:
    async with scripted(deaf) as url:
        client = SignallingClient(url, key="k", timeouts=Timeouts(close_s=0.1))
        await client.connect()
        publishing = [asyncio.create_task(client.publish("room", "x" * 60_000)) for _ in range(200)]
        await asyncio.sleep(0)
        await client.close()
        answers = await asyncio.gather(*publishing, return_exceptions=True)
        assert {type(answer) for answer in answers} == {DisconnectedError, NotConnectedError}


async def test_an_address_where_nobody_answers_is_given_up_early() -> None:
    """A listener whose queue is full drops what knocks, as a network does that is not there."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"ws://127.0.0.1:{full.getsockname()[1]}"
        client = SignallingClient(url, key="k", timeouts=Timeouts(reach_s=0.1, welcome_s=3600))
        with pytest.raises(SignallingConnectError, match="no answer in time"):
            await client.connect()
