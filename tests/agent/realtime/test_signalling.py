"""The signalling client against the real hub, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.server import ServerConnection, serve

from agent.realtime.backoff import Backoff
from agent.realtime.codes import CloseCode
from agent.realtime.errors import (
    AckTimeoutError,
    DisconnectedError,
    FrameTooLargeError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
    TokenProviderError,
)
from agent.realtime.events import MAX_WAITING_EVENTS, Connected, Disconnected, SubscriptionLost
from agent.realtime.frames import (
    Direct,
    ErrorFrame,
    GoingAway,
    Member,
    Message,
    Presence,
    Welcome,
    encode,
)
from agent.realtime.ice import IceServer
from agent.realtime.link import Timeouts
from agent.realtime.signalling import SignallingClient, SignallingState
from agent.realtime.tokens import mint_token
from tests.conftest import RunningHub, StartHub

T = TypeVar("T")
WELCOME = encode(Welcome("me", None, 1, 65536))
KEY = "pk_live_very/secret+key="


@dataclass(frozen=True)
class Prompt(Backoff):
    """Tries again at once and records what it was asked."""

    max_attempts: int | None = 3
    asked: list[tuple[int, float]] = field(default_factory=list)

    def delay_s(self, attempt: int, *, floor_s: float, spread: float) -> float:
        assert -1 <= spread <= 1
        self.asked.append((attempt, floor_s))
        return 0.0


Script = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """A server that plays one script per connection, the last one for all that follow."""
    remaining = list(scripts)

    async def play(websocket: ServerConnection) -> None:
        script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        await script(websocket)

    async with serve(play, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def welcome_and_wait(websocket: ServerConnection) -> None:
    await websocket.send(WELCOME)
    async for _ in websocket:
        pass


def welcome_and_close(code: int, reason: str = "") -> Script:
    async def script(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.close(code, reason)

    return script


async def expect(client: SignallingClient, kind: type[T]) -> T:
    event = await anext(client.events())
    assert isinstance(event, kind), event
    return event


def drop_all(hub: RunningHub, code: CloseCode = CloseCode.GOING_AWAY) -> None:
    for connection in list(hub.hub._connections.values()):
        connection.close(code, "dropped by the test")


# ---- construction ---------------------------------------------------------------------------------------


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


# ---- an ordinary session --------------------------------------------------------------------------------


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


# ---- first connect --------------------------------------------------------------------------------------


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


# ---- strange servers ------------------------------------------------------------------------------------


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


# ---- keepalive ------------------------------------------------------------------------------------------


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


# ---- reconnecting ---------------------------------------------------------------------------------------


async def test_after_a_loss_it_comes_back_and_subscribes_again(hub: RunningHub) -> None:
    policy = Prompt()
    async with SignallingClient(hub.url, key=hub.key, reconnect=policy) as client:
        first = await expect(client, Connected)
        await client.subscribe("room", include_sender_metadata=True)
        await client.subscribe("left")
        await client.unsubscribe("left")
        assert await expect(client, Presence) == Presence("room")
        assert await expect(client, Presence) == Presence("left")
        drop_all(hub)
        assert await expect(client, Disconnected) == Disconnected(1001, "dropped by the test", True)
        again = await expect(client, Connected)
        assert again.is_reconnect
        assert again.peer_id != first.peer_id
        assert await expect(client, Presence) == Presence("room")
        assert hub.hub.rooms.members("left") == ()
        assert policy.asked == [(1, 0.0)]
        drop_all(hub)
        await expect(client, Disconnected)
        await expect(client, Connected)
        # A success starts the count afresh.
        assert policy.asked == [(1, 0.0), (1, 0.0)]


async def test_the_metadata_wish_survives_a_reconnect(hub: RunningHub) -> None:
    async def provider() -> str:
        return mint_token(hub.key_id, hub.secret, peer_id="p", channels=["room"], peer_metadata={"n": 1})[0]

    async with SignallingClient(hub.url, key=hub.key, reconnect=Prompt()) as client:
        await client.subscribe("room", include_sender_metadata=True)
        drop_all(hub)
        while not isinstance(await anext(client.events()), Disconnected):
            pass
        await expect(client, Connected)
        await expect(client, Presence)
        async with SignallingClient(hub.url, token_provider=provider) as other:
            await other.publish("room", 1)
            assert await expect(client, Message) == Message("room", "p", 1, {"n": 1})


async def test_a_new_token_for_every_connection(hub: RunningHub) -> None:
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        return mint_token(hub.key_id, hub.secret, peer_id=f"p{calls}", channels=["room"])[0]

    async with SignallingClient(hub.url, token_provider=provider, reconnect=Prompt()) as client:
        assert (await expect(client, Connected)).peer_id == "p1"
        drop_all(hub, CloseCode.TOKEN_EXPIRED)
        assert (await expect(client, Disconnected)).code == 4002
        assert (await expect(client, Connected)).peer_id == "p2"


async def test_an_expired_token_is_replaced_without_anyone_asking(start_hub: StartHub) -> None:
    now_s = time.time()
    lifetimes_s = [60, 600]

    async def provider() -> str:
        lifetime_s = lifetimes_s.pop(0)
        return mint_token(hub.key_id, hub.secret, peer_id="p", channels=["r"], expires_in_s=lifetime_s)[0]

    async with (
        start_hub(clock=lambda: now_s + 59) as hub,
        SignallingClient(hub.url, token_provider=provider, reconnect=Prompt()) as client,
    ):
        await expect(client, Connected)
        assert (await expect(client, Disconnected)).code == 4002
        assert (await expect(client, Connected)).is_reconnect


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
async def test_terminal_codes_end_it(code: int) -> None:
    async with scripted(welcome_and_close(code, "enough")) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt())
        await client.connect()
        assert [event async for event in client.events()][1:] == [Disconnected(code, "enough", False)]
        assert client.state is SignallingState.CLOSED
        await client.close()


async def test_a_full_plan_is_given_half_a_minute() -> None:
    policy = Prompt()
    async with (
        scripted(welcome_and_close(4010), welcome_and_wait) as url,
        SignallingClient(url, key="k", reconnect=policy) as client,
    ):
        await expect(client, Connected)
        await expect(client, Disconnected)
        await expect(client, Connected)
    assert policy.asked == [(1, 30.0)]


async def test_going_away_says_how_long_to_wait(start_hub: StartHub) -> None:
    policy = Prompt(max_attempts=1)
    async with start_hub() as hub, SignallingClient(hub.url, key=hub.key, reconnect=policy) as client:
        await expect(client, Connected)
        await hub.hub.close(retry_after_ms=1500)
        assert await expect(client, GoingAway) == GoingAway(1500)
        assert await expect(client, Disconnected) == Disconnected(1001, "server shutdown", True)
        assert await expect(client, Disconnected) == Disconnected(503, "going_away", False)
    assert policy.asked == [(1, 1.5)]


async def test_when_the_attempts_are_used_up_it_is_over() -> None:
    policy = Prompt()
    async with scripted(welcome_and_wait) as url:
        client = SignallingClient(url, key="k", reconnect=policy)
        await client.connect()
        await expect(client, Connected)
    # The server is gone, and its port with it.
    first, last = [event async for event in client.events()]
    assert isinstance(first, Disconnected)
    assert first.will_retry
    assert isinstance(last, Disconnected)
    assert (last.code, last.will_retry) == (1006, False)
    assert [attempt for attempt, _ in policy.asked] == [1, 2, 3]
    assert client.state is SignallingState.CLOSED
    with pytest.raises(NotConnectedError):
        await client.publish("room", 1)


async def test_without_reconnect_a_loss_is_final(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key, reconnect=None) as client:
        await expect(client, Connected)
        drop_all(hub)
        assert await expect(client, Disconnected) == Disconnected(1001, "dropped by the test", False)


async def test_a_failing_token_provider_uses_attempts_up(hub: RunningHub) -> None:
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        if calls in {2, 3}:
            raise RuntimeError
        return mint_token(hub.key_id, hub.secret, peer_id="p", channels=["room"])[0]

    policy = Prompt()
    async with SignallingClient(hub.url, token_provider=provider, reconnect=policy) as client:
        await expect(client, Connected)
        drop_all(hub)
        await expect(client, Disconnected)
        assert (await expect(client, Connected)).is_reconnect
    assert [attempt for attempt, _ in policy.asked] == [1, 2, 3]


async def test_requests_under_way_fail_when_the_line_breaks() -> None:
    async def breaking(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        await websocket.recv()
        await websocket.recv()
        websocket.transport.abort()

    async with (
        scripted(breaking, welcome_and_wait) as url,
        SignallingClient(url, key="k", reconnect=Prompt()) as client,
    ):
        answers = await asyncio.gather(client.publish("r", 1), client.send("p", 1), return_exceptions=True)
        assert [type(answer) for answer in answers] == [DisconnectedError] * 2


async def test_a_subscription_not_given_back_is_told() -> None:
    async def granting(websocket: ServerConnection) -> None:
        await websocket.send(WELCOME)
        request = json.loads(await websocket.recv())
        await websocket.send(json.dumps({"type": "ack", "requestId": request["requestId"]}))
        await websocket.close(1001)

    asked = 0

    async def refusing(websocket: ServerConnection) -> None:
        nonlocal asked
        await websocket.send(WELCOME)
        async for text in websocket:
            asked += 1
            answer = {"type": "error", "code": "backend_error", "requestId": json.loads(text)["requestId"]}
            await websocket.send(json.dumps(answer))

    async with scripted(granting, refusing) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt(), timeouts=Timeouts(replay_pause_s=0))
        async with client:
            await client.subscribe("room")
            for kind in (Connected, Disconnected, Connected):
                await expect(client, kind)
            assert await expect(client, SubscriptionLost) == SubscriptionLost("room", "backend_error")
    assert asked == 4


async def test_a_refused_subscription_is_not_tried_again(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key, reconnect=Prompt()) as client:
        await expect(client, Connected)
        with pytest.raises(ServerRequestError):
            await client.subscribe("_system/x")
        await client.subscribe("room")
        await expect(client, Presence)
        drop_all(hub)
        await expect(client, Disconnected)
        await expect(client, Connected)
        assert await expect(client, Presence) == Presence("room")


# ---- ICE servers ----------------------------------------------------------------------------------------


async def test_ice_servers_are_kept_over_reconnects_until_replaced() -> None:
    stun = {"urls": "stun:a.example"}
    offers: list[Any] = [[stun], None, [{"urls": "http://bad"}], [stun, stun], []]
    seen = []

    def offering(servers: Any) -> Script:
        async def script(websocket: ServerConnection) -> None:
            metadata = None if servers is None else {"iceServers": servers}
            await websocket.send(encode(Welcome("me", None, 1, 65536, metadata)))
            await websocket.close(1001)

        return script

    async with scripted(*map(offering, offers), welcome_and_wait) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt())
        async with client:
            while len(seen) < len(offers):
                event = await anext(client.events())
                if isinstance(event, Connected):
                    seen.append(event.ice_servers)
    one = (IceServer(("stun:a.example",)),)
    assert seen == [one, one, one, one * 2, ()]


# ---- bounds and endings ---------------------------------------------------------------------------------


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


# ---- secrets --------------------------------------------------------------------------------------------


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
