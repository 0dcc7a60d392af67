"""The vendor's own client finds nothing strange about our hub, nor about our client in the same room."""

from __future__ import annotations

import asyncio
from typing import Any

import metered_realtime as vendor
import pytest

from agent.hub import HubOptions, PublishableKey
from agent.realtime.codes import CloseCode
from agent.realtime.frames import Direct, Member, Message, Presence
from agent.realtime.ice_servers import IceServer
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Connected
from agent.realtime.tokens import mint_token
from tests.conftest import RunningHub, StartHub

EVENTS = (
    vendor.Connected,
    vendor.Disconnected,
    vendor.Message,
    vendor.Direct,
    vendor.Presence,
    vendor.ServerError,
    vendor.GoingAway,
)
AT_ONCE = vendor.ReconnectOptions(initial_delay=0.01)


class Foreign:
    """The vendor's client with its events in one queue."""

    def __init__(self, **arguments: Any) -> None:
        self.client = vendor.SignallingClient(reconnect=AT_ONCE, **arguments)
        self.seen: asyncio.Queue[Any] = asyncio.Queue()
        for kind in EVENTS:
            self.client.on(kind, self.seen.put_nowait)

    async def __aenter__(self) -> Foreign:
        await self.client.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def next(self, kind: type) -> Any:
        event = await self.seen.get()
        assert isinstance(event, kind), event
        return event


def token_provider(hub: RunningHub, peer_id: str, **claims: Any) -> Any:
    async def provider() -> str:
        return mint_token(hub.key_id, hub.secret, peer_id=peer_id, channels=["room"], **claims)[0]

    return provider


def drop_all(hub: RunningHub, code: CloseCode) -> None:
    for connection in list(hub.hub._connections.values()):
        connection.close(code, "dropped by the test")


async def test_two_of_the_vendors_clients_meet(hub: RunningHub) -> None:
    alice = Foreign(url=hub.url, token_provider=token_provider(hub, "alice", peer_metadata={"name": "Ä"}))
    async with alice, Foreign(url=hub.url, api_key=hub.key) as bob:
        assert (await alice.next(vendor.Connected)).peer_id == "alice"
        bob_id = (await bob.next(vendor.Connected)).peer_id
        await alice.client.subscribe("room", vendor.SubscribeOptions(include_sender_metadata=True))
        assert (await alice.next(vendor.Presence)).joined == ()
        await bob.client.subscribe("room", vendor.SubscribeOptions(include_sender_metadata=True))
        roster = await bob.next(vendor.Presence)
        assert [(peer.peer_id, peer.metadata) for peer in roster.joined] == [("alice", {"name": "Ä"})]
        assert [peer.peer_id for peer in (await alice.next(vendor.Presence)).joined] == [bob_id]
        await alice.client.publish("room", {"text": "grüß dich"})
        message = await bob.next(vendor.Message)
        assert (message.sender_peer_id, message.data) == ("alice", {"text": "grüß dich"})
        assert message.sender_metadata == {"name": "Ä"}
        await bob.client.send("alice", [1, None])
        direct = await alice.next(vendor.Direct)
        assert (direct.sender_peer_id, direct.data, direct.sender_metadata) == (bob_id, [1, None], None)
        await bob.client.unsubscribe("room")
        assert [peer.peer_id for peer in (await alice.next(vendor.Presence)).left] == [bob_id]


async def test_ours_and_theirs_in_one_room(hub: RunningHub) -> None:
    async with (
        SignallingClient(hub.url, token_provider=token_provider(hub, "~agent")) as ours,
        Foreign(url=hub.url, api_key=hub.key) as theirs,
    ):
        events = ours.events()
        assert isinstance(await anext(events), Connected)
        their_id = (await theirs.next(vendor.Connected)).peer_id
        await ours.subscribe("room")
        assert await anext(events) == Presence("room")
        await theirs.client.subscribe("room")
        assert [peer.peer_id for peer in (await theirs.next(vendor.Presence)).joined] == ["~agent"]
        assert await anext(events) == Presence("room", joined=(Member(their_id),))
        await theirs.client.publish("room", "é")
        assert await anext(events) == Message("room", their_id, "é")
        await theirs.client.send("~agent", {"type": "chat"})
        assert await anext(events) == Direct(their_id, {"type": "chat"})
        await ours.publish("room", {"ü": 1})
        assert (await theirs.next(vendor.Message)).data == {"ü": 1}
        await ours.send(their_id, None)
        assert (await theirs.next(vendor.Direct)).data is None
        await ours.close()
        assert [peer.peer_id for peer in (await theirs.next(vendor.Presence)).left] == ["~agent"]


@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, CloseCode.TOKEN_EXPIRED, CloseCode.TOO_BIG])
async def test_it_comes_back_after_a_drop(hub: RunningHub, code: CloseCode) -> None:
    async with Foreign(url=hub.url, token_provider=token_provider(hub, "alice")) as alice:
        await alice.next(vendor.Connected)
        await alice.client.subscribe("room")
        await alice.next(vendor.Presence)
        drop_all(hub, code)
        lost = await alice.next(vendor.Disconnected)
        assert (lost.code, lost.will_reconnect) == (code, True)
        assert (await alice.next(vendor.Connected)).is_reconnect
        assert (await alice.next(vendor.Presence)).joined == ()
        assert hub.hub.rooms.members("room") == (Member("alice"),)


async def test_a_kick_is_final(hub: RunningHub) -> None:
    async with Foreign(url=hub.url, api_key=hub.key) as alice:
        await alice.next(vendor.Connected)
        drop_all(hub, CloseCode.ADMIN_DISCONNECT)
        lost = await alice.next(vendor.Disconnected)
        assert (lost.code, lost.will_reconnect) == (4020, False)


async def test_it_hears_the_hub_go_away(hub: RunningHub) -> None:
    async with Foreign(url=hub.url, api_key=hub.key) as alice:
        await alice.next(vendor.Connected)
        await hub.hub.close(retry_after_ms=1234)
        assert (await alice.next(vendor.GoingAway)).retry_after_ms == 1234
        assert (await alice.next(vendor.Disconnected)).code == 1001


async def test_it_reads_the_injected_ice_servers(start_hub: StartHub) -> None:
    options = HubOptions(ice_servers=(IceServer(("turn:t.example:443",), "user", "pass"),))
    async with start_hub(options) as hub, Foreign(url=hub.url, api_key=hub.key) as alice:
        [server] = (await alice.next(vendor.Connected)).ice_servers
        assert "turn:t.example:443" in server.urls


async def test_it_understands_our_refusals(start_hub: StartHub) -> None:
    limited = PublishableKey("pk_limited", channel_patterns=("app/*",))
    async with start_hub(HubOptions(publishable_keys=(limited,), connects_per_minute=None)) as hub:
        async with Foreign(url=hub.url, api_key="pk_limited") as alice:
            for request, code in (
                (alice.client.subscribe("elsewhere"), "channel_not_authorized"),
                (alice.client.subscribe("_metered/x"), "channel_reserved"),
                (alice.client.send("bob", 1), "action_not_permitted"),
            ):
                with pytest.raises(vendor.ServerRequestError) as refused:
                    await request
                assert refused.value.code == code
        with pytest.raises(vendor.SignallingConnectError) as failed:
            await Foreign(url=hub.url, api_key="pk_wrong").client.connect()
        assert failed.value.close_code == 4001
