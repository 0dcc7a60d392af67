"""The REST control plane's client: what it sends, what it makes of the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rest_server import RestServer, answering, rest_server

from agent.hub import HubOptions, SecretKey
from agent.realtime import ControlPlane, RestError
from agent.realtime.codes import Action, CloseCode
from agent.realtime.frames import Member, Message
from agent.realtime.rest.control import Plan, Usage
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Disconnected, EventStream
from tests.conftest import RunningHub, StartHub

KEY_ID, SECRET = "sk_id_1", "sk_secret_of_the_test"
#: As section "usage" of the service's documentation has it.
USAGE: dict[str, Any] = {
    "appId": "app",
    "periodStartUnix": 1_700_000_000,
    "periodEndUnix": None,
    "concurrentNow": 3,
    "peakConcurrent": 9,
    "messagesUsed": 1000,
    "overageMessages": 0,
    "overageConnections": 0,
    "plan": {
        "name": "SIGNALLING_FREE",
        "maxConcurrentConnections": 100,
        "maxMessagesPerPeriod": 100_000,
        "overagesAllowed": False,
        "overagesEnabled": False,
    },
    "news": "ignored",
}


@pytest.fixture
async def server() -> AsyncIterator[RestServer]:
    async with rest_server() as running:
        yield running


@pytest.fixture
async def control(server: RestServer) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(server.url, key_id=KEY_ID, secret=SECRET) as client:
        yield client


async def test_a_token(server: RestServer, control: ControlPlane) -> None:
    server.answer = answering(200, {"token": "a.b.c", "expiresAt": 1_700_003_600})
    token = await control.create_token(
        "~agent",
        channels=["app/room"],
        permissions=["subscribe"],
        expires_in_s=60,
        metadata={"a": 1},
        peer_metadata={"name": "Ä"},
    )
    assert (token.token, token.expires_at) == ("a.b.c", 1_700_003_600)
    assert "a.b.c" not in repr(token)
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("POST", "/v1/tokens")
    assert asked.headers["authorization"] == f"Bearer {KEY_ID}:{SECRET}"
    assert asked.body == {
        "peerId": "~agent",
        "channels": ["app/room"],
        "permissions": ["subscribe"],
        "expiresInSec": 60,
        "metadata": {"a": 1},
        "peerMetadata": {"name": "Ä"},
    }
    await control.create_token("p")
    assert server.asked[1].body == {"peerId": "p", "expiresInSec": 3600}


async def test_who_is_there(server: RestServer, control: ControlPlane) -> None:
    peers = [{"peerId": "a", "metadata": {"name": "A"}, "more": 1}, {"peerId": "b"}]
    server.answer = answering(200, {"channel": "app/room", "peers": peers})
    assert await control.peers("app/room") == (Member("a", {"name": "A"}), Member("b"))
    assert (server.asked[0].method, server.asked[0].path) == ("GET", "/v1/channels/app%2Froom/peers")
    server.answer = answering(200, {"channel": "r", "peers": []})
    assert await control.peers("r") == ()


async def test_a_message_from_outside(server: RestServer, control: ControlPlane) -> None:
    # What is answered is not documented: the status says it all.
    server.answer = answering(200, ["anything"])
    await control.publish("..", None)
    await control.publish("r", {"n": 1}, sender="system", peer_metadata={"role": "clock"})
    assert [(asked.path, asked.body) for asked in server.asked] == [
        ("/v1/channels/%2E%2E/publish", {"data": None}),
        ("/v1/channels/r/publish", {"data": {"n": 1}, "from": "system", "peerMetadata": {"role": "clock"}}),
    ]


async def test_disconnecting_somebody(server: RestServer, control: ControlPlane) -> None:
    server.answer = answering(200, {"peerId": "a/b c", "closed": 2})
    assert await control.disconnect("a/b c") == 2
    assert (server.asked[0].method, server.asked[0].path) == ("DELETE", "/v1/peers/a%2Fb%20c")


async def test_usage(server: RestServer, control: ControlPlane) -> None:
    server.answer = answering(200, USAGE)
    plan = Plan("SIGNALLING_FREE", 100, 100_000, overages_allowed=False, overages_enabled=False)
    assert await control.usage() == Usage("app", 1_700_000_000, None, 3, 9, 1000, 0, 0, plan)
    server.answer = answering(200, USAGE | {"plan": None})
    with pytest.raises(RestError, match="something else"):
        await control.usage()


async def test_a_refusal_reaches_the_caller(server: RestServer, control: ControlPlane) -> None:
    server.answer = answering(403, {"error": "channel_not_authorized", "message": "not yours"})
    with pytest.raises(RestError, match="not yours") as caught:
        await control.peers("theirs")
    assert (caught.value.status, caught.value.code) == (403, "channel_not_authorized")


async def test_what_the_service_would_refuse_is_not_sent(server: RestServer, control: ControlPlane) -> None:
    with pytest.raises(ValueError, match="peer_id"):
        await control.create_token("é")
    with pytest.raises(ValueError, match="permissions"):
        await control.create_token("p", permissions=["dance"])
    with pytest.raises(ValueError, match="reserved"):
        await control.peers("_Metered/x")
    with pytest.raises(ValueError, match="channel must be"):
        await control.publish("é" * 129, 1)
    with pytest.raises(ValueError, match="accepts at most 32768"):
        await control.publish("r", "x" * 33_000)
    with pytest.raises(ValueError, match="JSON"):
        await control.publish("r", float("nan"))
    with pytest.raises(ValueError, match="sender"):
        await control.publish("r", 1, sender="")
    with pytest.raises(ValueError, match="peer_id"):
        await control.disconnect("\n")
    assert server.asked == []


@pytest.mark.parametrize(
    ("key_id", "secret", "complaint"),
    [
        ("pk_live_1", SECRET, "sk_id_"),
        (SECRET, "sk_id_1", "sk_id_"),
        ("", SECRET, "key_id"),
        (KEY_ID, "with\nline", "secret must be"),
        (KEY_ID, "", "secret must be"),
    ],
)
def test_a_credential_that_cannot_be_one_is_refused(key_id: str, secret: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        ControlPlane(key_id=key_id, secret=secret)
    assert SECRET not in str(caught.value)


def test_the_secret_does_not_show(server: RestServer) -> None:
    control = ControlPlane(server.url, key_id=KEY_ID, secret=SECRET)
    assert SECRET not in repr(control) + repr(vars(control))


# ---- against the hub, a control plane that is really there -----------------------------------------------


async def first(events: EventStream, kind: type[Any]) -> Any:
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError("the client has ended")


@pytest.fixture
async def real(hub: RunningHub) -> AsyncIterator[ControlPlane]:
    url = f"http://127.0.0.1:{hub.port}"
    async with ControlPlane(url, key_id=hub.key_id, secret=hub.secret) as client:
        yield client


async def test_a_hub_is_controlled(hub: RunningHub, real: ControlPlane) -> None:
    room, name = "app/room", "~agent/1 x"

    async def provide() -> str:
        token = await real.create_token(name, channels=[room], peer_metadata={"name": "Ä"})
        return token.token

    async with SignallingClient(hub.url, token_provider=provide) as client:
        events = client.events()
        assert await real.peers(room) == ()
        await client.subscribe(room, include_sender_metadata=True)
        assert await real.peers(room) == (Member(name, {"name": "Ä"}),)
        await real.publish(room, {"n": [1, None]}, sender="clock", peer_metadata={"role": "clock"})
        message = await first(events, Message)
        assert message == Message(room, "clock", {"n": [1, None]}, {"role": "clock"})
        assert (await real.usage()).concurrent_now == 1
        assert await real.disconnect(name) == 1
        gone = await first(events, Disconnected)
        assert gone.code == CloseCode.ADMIN_DISCONNECT
    assert await real.disconnect(name) == 0


async def test_a_hub_refuses_in_its_own_words(start_hub: StartHub) -> None:
    narrow = SecretKey("sk_id_n", "sk_secret_" + "n" * 32, ("app/*",), frozenset({Action.SUBSCRIBE}))
    async with start_hub(HubOptions(secret_keys=(narrow,))) as hub:
        url = f"http://127.0.0.1:{hub.port}"
        async with ControlPlane(url, key_id="sk_id_n", secret=narrow.secret) as control:
            for call, status, code in (
                (control.create_token("p", channels=["other"]), 403, "channel_not_authorized"),
                (control.create_token("p", permissions=["send"]), 403, "action_not_permitted"),
                (control.peers("app/room"), 403, "action_not_permitted"),
                (control.publish("app/room", 1), 403, "action_not_permitted"),
                (control.create_token("p", metadata={}, channels=[]), 400, "invalid_request"),
            ):
                with pytest.raises(RestError) as caught:
                    await call
                assert (caught.value.status, caught.value.code) == (status, code)
        async with ControlPlane(url, key_id="sk_id_n", secret="sk_secret_wrong") as control:
            with pytest.raises(RestError, match="unauthorized"):
                await control.usage()
