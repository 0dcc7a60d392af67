"""The signalling client from construction to close, against the real hub."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.server import ServerConnection

from agent.realtime.errors import (
    DisconnectedError,
    FrameTooLargeError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
    TokenProviderError,
)
from agent.realtime.frames import (
    Direct,
    GoingAway,
    Member,
    Message,
    Presence,
    encode,
)
from agent.realtime.signalling.backoff import Backoff
from agent.realtime.signalling.client import SignallingClient, SignallingState
from agent.realtime.signalling.events import MAX_WAITING_EVENTS, Connected, Disconnected
from agent.realtime.signalling.link import Timeouts
from agent.realtime.tokens import mint_token
from tests.agent.realtime.signalling_parts import (
    KEY,
    WELCOME,
    Prompt,
    expect,
    scripted,
    welcome_and_wait,
)
from tests.conftest import RunningHub, StartHub

# ---- construction ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["wss://rms.metered.ca", "wss://host:8443/", "ws://localhost:9292", "ws://127.0.0.1:1", "ws://[::1]:80"],
)
def test_good_addresses(url: str) -> None:
    assert SignallingClient(url, key="k").state is SignallingState.IDLE


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "wss://"),
        ("rms.metered.ca", "wss://"),
        ("https://rms.metered.ca", "wss://"),
        ("wss://", "wss://"),
        ("ws://rms.metered.ca", "localhost only"),
        ("ws://192.168.0.5", "localhost only"),
        ("wss://host/v1", "path"),
        ("wss://host?key=k", "query"),
        ("wss://host/?", "query"),
        ("wss://host#x", "fragment"),
        ("wss://user:pass@host", "user name"),
        ("wss://host:99999", "port"),
    ],
)
def test_bad_addresses(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        SignallingClient(url, key="k")
    assert "pass" not in str(refused.value)


async def no_token() -> str:
    return ""


@pytest.mark.parametrize("arguments", [{}, {"key": ""}, {"key": "k", "token_provider": no_token}])
def test_exactly_one_credential(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        SignallingClient("wss://host", **arguments)


# ---- an ordinary session ---------------------------------------------------------------------------------


async def test_a_session(hub: RunningHub) -> None:
    async def provider() -> str:
        return mint_token(
            hub.key_id, hub.secret, peer_id="~agent", channels=["room"], peer_metadata={"name": "A"}
        )[0]

    async with (
        SignallingClient(hub.url, key=hub.key) as caller,
        SignallingClient(hub.url, token_provider=provider) as agent,
    ):
        greeting = await expect(caller, Connected)
        assert greeting.peer_id == caller.peer_id
        assert not greeting.is_reconnect
        assert greeting.max_message_bytes == 65536
        assert (await expect(agent, Connected)).peer_id == "~agent"
        await caller.subscribe("room", include_sender_metadata=True)
        assert await expect(caller, Presence) == Presence("room")
        await agent.subscribe("room")
        assert await expect(agent, Presence) == Presence("room", joined=(Member(greeting.peer_id),))
        agent_member = Member("~agent", {"name": "A"})
        assert await expect(caller, Presence) == Presence("room", joined=(agent_member,))
        await agent.publish("room", {"type": "agent.state"})
        expected = Message("room", "~agent", {"type": "agent.state"}, {"name": "A"})
        assert await expect(caller, Message) == expected
        await caller.send("~agent", ["ü", None])
        assert await expect(agent, Direct) == Direct(greeting.peer_id, ["ü", None])
        await agent.unsubscribe("room")
        assert await expect(caller, Presence) == Presence("room", left=(agent_member,))
    assert await expect(caller, Disconnected) == Disconnected(1000, "client requested close", False)
    with pytest.raises(StopAsyncIteration):
        await anext(caller.events())


async def test_refusals_reach_the_caller_with_their_code(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key) as client:
        with pytest.raises(ServerRequestError) as refused:
            await client.send("nobody", 1)
        assert refused.value.code == "peer_not_found"
        with pytest.raises(ServerRequestError) as refused:
            await client.subscribe("_metered/x")
        assert refused.value.code == "channel_reserved"


async def test_what_cannot_be_sent_is_refused_here(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key) as client:
        for channel in ("", "x" * 257, "é" * 129, "a\n"):
            with pytest.raises(ValueError, match="channel name"):
                await client.subscribe(channel)
        with pytest.raises(ValueError, match="peer id"):
            await client.send("", 1)
        with pytest.raises(ValueError, match="JSON"):
            await client.publish("room", float("nan"))
        with pytest.raises(TypeError):
            await client.publish("room", object())
        await client.publish("room", "still here")


async def test_the_size_limit_is_that_of_the_whole_frame(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key) as client:
        with pytest.raises(FrameTooLargeError) as refused:
            await client.publish("room", "x" * 65_500)
        assert refused.value.size_bytes > refused.value.max_bytes == 65_536
        with pytest.raises(FrameTooLargeError):
            await client.publish("room", "é" * 32_760)
        await client.publish("room", "x" * 65_400)


async def test_many_requests_at_once_each_get_their_own_answer(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key) as client:
        assert client.peer_id
        targets = [client.peer_id, "nobody"] * 20
        answers = await asyncio.gather(*(client.send(to, 1) for to in targets), return_exceptions=True)
        assert [answer is None for answer in answers] == [True, False] * 20


async def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with SignallingClient(hub.url, key=hub.key) as client:
        assert client.state is SignallingState.CONNECTED


# ---- first connect ---------------------------------------------------------------------------------------


async def test_requests_before_connecting_fail_at_once() -> None:
    client = SignallingClient("ws://127.0.0.1:9", key="k")
    with pytest.raises(NotConnectedError):
        await client.publish("room", 1)
    with pytest.raises(NotConnectedError):
        await client.subscribe("room")


async def test_a_failed_first_connect_may_be_repeated(start_hub: StartHub) -> None:
    with socket.socket() as reserve:
        reserve.bind(("127.0.0.1", 0))
        port = reserve.getsockname()[1]

    tokens = ["x.y.z"]

    async def provider() -> str:
        return tokens.pop()

    client = SignallingClient(f"ws://127.0.0.1:{port}", token_provider=provider)
    with pytest.raises(SignallingConnectError) as refused:
        await client.connect()
    assert refused.value.code == 1006
    assert client.state is SignallingState.IDLE
    async with start_hub(port=port) as hub:
        tokens.append(mint_token(hub.key_id, hub.secret, peer_id="p", channels=["room"])[0])
        assert (await client.connect()).peer_id == "p"
        with pytest.raises(SignallingError, match="connected"):
            await client.connect()
        await client.close()
        with pytest.raises(SignallingError, match="closed"):
            await client.connect()


async def test_refused_credentials_are_told_apart(hub: RunningHub) -> None:
    async def garbage() -> str:
        return "garbage"

    with pytest.raises(SignallingConnectError) as refused:
        await SignallingClient(hub.url, token_provider=garbage).connect()
    assert (refused.value.code, refused.value.reason) == (401, "invalid_token")
    with pytest.raises(SignallingConnectError) as refused:
        await SignallingClient(hub.url, key="pk_wrong").connect()
    assert refused.value.code == 4001


async def test_a_token_provider_that_fails() -> None:
    async def broken() -> str:
        raise RuntimeError("the secret is hunter2")

    async def empty() -> str:
        return ""

    async def endless() -> str:
        await asyncio.Event().wait()
        return ""

    for provider in (broken, empty, endless):
        client = SignallingClient(
            "ws://127.0.0.1:9", token_provider=provider, timeouts=Timeouts(token_s=0.01)
        )
        with pytest.raises(TokenProviderError) as failed:
            await client.connect()
        assert "hunter2" not in str(failed.value)
        assert failed.value.__cause__ is None
        assert client.state is SignallingState.IDLE


async def test_no_welcome_in_time_is_a_failed_connect() -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def silent(websocket: ServerConnection) -> None:
        await websocket.send('{"type":"welcome"}')
        await websocket.wait_closed()
        closed.set_result(websocket.close_code)

    async with scripted(silent) as url:
        with pytest.raises(SignallingConnectError, match="no welcome"):
            await SignallingClient(url, key="k", timeouts=Timeouts(welcome_s=0.1)).connect()
        assert await closed == 4000


async def test_connecting_can_be_cancelled_without_leaving_anything() -> None:
    connected = asyncio.Event()

    async def silent(websocket: ServerConnection) -> None:
        connected.set()
        await websocket.wait_closed()

    async with scripted(silent) as url:
        client = SignallingClient(url, key="k")
        connecting = asyncio.create_task(client.connect())
        await connected.wait()
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
        assert client.state is SignallingState.IDLE


# ---- bounds and endings ----------------------------------------------------------------------------------


async def test_a_reader_who_does_not_read_gets_a_fresh_picture() -> None:
    async def chatty(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        for number in range(MAX_WAITING_EVENTS + 10):
            await websocket.send(encode(Direct("p", number)))
        await websocket.wait_closed()

    came_back = asyncio.Event()

    async def quiet(websocket: ServerConnection) -> None:
        came_back.set()
        await welcome_and_wait(websocket)

    before = REGISTRY.get_sample_value("voice_agent_signalling_overflows_total") or 0
    async with scripted(chatty, quiet) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt())
        async with client:
            await came_back.wait()
            assert await expect(client, Disconnected) == Disconnected(4000, "event queue full", True)
            assert (await expect(client, Connected)).is_reconnect
    assert REGISTRY.get_sample_value("voice_agent_signalling_overflows_total") == before + 1


async def test_nothing_runs_after_close(hub: RunningHub) -> None:
    before = asyncio.all_tasks()
    client = SignallingClient(hub.url, key=hub.key)
    await client.connect()
    await client.subscribe("room")
    await client.close()
    await client.close()
    assert client.state is SignallingState.CLOSED
    assert client.peer_id is None
    await hub.hub.close()
    ours = {task for task in asyncio.all_tasks() - before if "signalling" in repr(task)}
    assert not ours


async def test_closing_in_the_middle_of_a_wait(hub: RunningHub) -> None:
    before = asyncio.all_tasks()
    client = SignallingClient(hub.url, key=hub.key, reconnect=Backoff(initial_s=3600, max_s=3600))
    await client.connect()
    await expect(client, Connected)
    await hub.hub.close()
    await expect(client, GoingAway)
    await expect(client, Disconnected)
    assert client.state is SignallingState.RECONNECTING
    await client.close()
    assert [event async for event in client.events()] == [Disconnected(1000, "client requested close", False)]
    assert not {task for task in asyncio.all_tasks() - before if "signalling" in repr(task)}


async def test_closing_while_a_request_waits() -> None:
    async with scripted(welcome_and_wait) as url:
        client = SignallingClient(url, key="k")
        await client.connect()
        publishing = asyncio.create_task(client.publish("room", 1))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises((DisconnectedError, NotConnectedError)):
            await publishing


async def test_closing_while_connecting() -> None:
    release = asyncio.Event()

    async def slow(websocket: ServerConnection) -> None:
        await release.wait()
        await welcome_and_wait(websocket)

    async with scripted(slow) as url:
        client = SignallingClient(url, key="k")
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        await client.close()
        release.set()
        with pytest.raises(SignallingError, match="closed"):
            await connecting


# ---- secrets ---------------------------------------------------------------------------------------------


async def test_the_credential_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    requested: list[str] = []

    async def greet(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        requested.append(websocket.request.path)
        await websocket.send(WELCOME)
        await websocket.send(encode(Direct("p", "words people say")))
        await websocket.close(4001, "no")

    logging.getLogger("websockets.server").setLevel(logging.INFO)
    client = SignallingClient("ws://127.0.0.1:9", key=KEY)
    with pytest.raises(SignallingConnectError) as refused:
        await client.connect()
    async with scripted(greet) as url:
        client = SignallingClient(url, key=KEY)
        await client.connect()
        events = [event async for event in client.events()]
        shown = [repr(client), str(vars(client)), repr(refused.value), repr(events), caplog.text]
    assert parse_qs(urlsplit(requested[0]).query) == {"key": [KEY]}
    assert "key=pk_live_very%2Fsecret%2Bkey%3D" in requested[0]
    assert not [text for text in shown if "secret" in text]
    assert "words people say" not in caplog.text
