"""A lost connection is won back, with everything that belonged to it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from agent.realtime.codes import CloseCode
from agent.realtime.errors import (
    DisconnectedError,
    NotConnectedError,
    ServerRequestError,
)
from agent.realtime.frames import (
    GoingAway,
    Message,
    Presence,
    Welcome,
    encode,
)
from agent.realtime.ice_servers import IceServer
from agent.realtime.signalling.client import SignallingClient, SignallingState
from agent.realtime.signalling.events import Connected, Disconnected, SubscriptionLost, TokenProviderFailing
from agent.realtime.signalling.link import Timeouts
from agent.realtime.tokens import mint_token
from tests.agent.realtime.signalling_parts import (
    WELCOME,
    Prompt,
    Script,
    drop_all,
    expect,
    scripted,
    welcome_and_close,
    welcome_and_wait,
)
from tests.conftest import RunningHub, StartHub

# ---- reconnecting ----------------------------------------------------------------------------------------


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
        # It did not last, so the count goes on: else a server that closes at once would be asked for ever.
        assert policy.asked == [(1, 0.0), (2, 0.0)]


async def test_a_connection_that_lasts_starts_the_count_afresh(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.realtime.signalling.client.STABLE_AFTER_S", 0.0)
    policy = Prompt()
    async with SignallingClient(hub.url, key=hub.key, reconnect=policy) as client:
        for _ in range(3):
            await expect(client, Connected)
            drop_all(hub)
            await expect(client, Disconnected)
        await expect(client, Connected)
    assert [attempt for attempt, _ in policy.asked] == [1, 1, 1]


async def test_a_server_that_closes_at_once_is_not_asked_for_ever() -> None:
    policy = Prompt()
    async with scripted(welcome_and_close(1011)) as url:
        client = SignallingClient(url, key="k", reconnect=policy)
        await client.connect()
        events = [event async for event in client.events()]
    assert events[-1] == Disconnected(1011, "", False)
    assert [attempt for attempt, _ in policy.asked] == [1, 2, 3]


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


async def test_a_failing_token_provider_uses_attempts_up_and_is_told_from_the_third_time_on(
    hub: RunningHub,
) -> None:
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 5:
            raise RuntimeError("the secret is hunter2")
        return mint_token(hub.key_id, hub.secret, peer_id="p", channels=["room"])[0]

    policy = Prompt(max_attempts=None)
    async with SignallingClient(hub.url, token_provider=provider, reconnect=policy) as client:
        await expect(client, Connected)
        drop_all(hub)
        await expect(client, Disconnected)
        reason = "the token provider failed with RuntimeError"
        assert await expect(client, TokenProviderFailing) == TokenProviderFailing(3, reason)
        assert await expect(client, TokenProviderFailing) == TokenProviderFailing(4, reason)
        assert (await expect(client, Connected)).is_reconnect
    assert [attempt for attempt, _ in policy.asked] == [1, 2, 3, 4, 5]


async def test_a_token_that_ran_out_is_replaced_without_waiting() -> None:
    policy = Prompt()
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        return f"token-{calls}"

    expired = welcome_and_close(4002, "the token has expired")
    async with scripted(expired, expired, welcome_and_wait) as url:
        client = SignallingClient(url, token_provider=provider, reconnect=policy)
        async with client:
            for kind in (Connected, Disconnected, Connected, Disconnected, Connected):
                await expect(client, kind)
    assert calls == 3
    # The policy was asked for the second time only: a provider of stale tokens does not make a storm.
    assert policy.asked == [(2, 0.0)]


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


# ---- ICE servers -----------------------------------------------------------------------------------------


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
        client = SignallingClient(url, key="k", reconnect=Prompt(max_attempts=None))
        async with client:
            while len(seen) < len(offers):
                event = await anext(client.events())
                if isinstance(event, Connected):
                    seen.append(event.ice_servers)
    one = (IceServer(("stun:a.example",)),)
    assert seen == [one, one, one, one * 2, ()]
