"""The hub goes away and comes back on the same port, in the middle of everything."""

from __future__ import annotations

import signal
import socket
from typing import TypeVar

from agent.hub import ALL_ACTIONS, HubOptions, PublishableKey, SecretKey
from agent.realtime.frames import Message, Presence
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Connected, Disconnected, SubscriptionLost
from agent.realtime.tokens import mint_token
from tests.agent.realtime.peer_parts import PROMPT
from tests.agent.realtime.signalling_parts import expect
from tests.conftest import RunningHub, StartHub

T = TypeVar("T")
PAIR = SecretKey("sk_id_lasting", "sk_secret_that_outlives_the_hub_itself")
OPTIONS = HubOptions(
    publishable_keys=(PublishableKey("pk_live_lasting", actions=ALL_ACTIONS),),
    secret_keys=(PAIR,),
    connects_per_minute=None,
)


def free_port() -> int:
    with socket.socket() as reserve:
        reserve.bind(("127.0.0.1", 0))
        port: int = reserve.getsockname()[1]
        return port


def named(port: int, peer_id: str) -> SignallingClient:
    async def provide() -> str:
        return mint_token(PAIR.key_id, PAIR.secret, peer_id=peer_id, channels=["**"])[0]

    return SignallingClient(f"ws://127.0.0.1:{port}", token_provider=provide, reconnect=PROMPT)


async def until_back(client: SignallingClient) -> None:
    """Through a farewell, or none at all, to the next welcome."""
    told: list[type] = []
    while Connected not in told:
        event = await anext(client.events())
        assert not isinstance(event, SubscriptionLost)
        assert not isinstance(event, Disconnected) or event.will_retry
        told.append(type(event))
    assert Disconnected in told


async def test_everybody_is_back_in_their_rooms(start_hub: StartHub) -> None:
    port = free_port()
    async with start_hub(OPTIONS, port=port):
        alice, bob, carol = (named(port, name) for name in ("alice", "bob", "carol"))
        for client in (alice, bob, carol):
            await client.connect()
            await expect(client, Connected)
            await client.subscribe("room", include_sender_metadata=True)
        await bob.subscribe("side")
    # The server closed in good order although three clients knocked all the time.
    await carol.close()
    async with start_hub(OPTIONS, port=port):
        try:
            for client in (alice, bob):
                await until_back(client)
            present = {"alice": set[str](), "bob": set[str]()}
            for client, other in ((alice, "bob"), (bob, "alice")):
                while other not in present[client.peer_id or ""]:
                    presence = await next_of(client, Presence)
                    if presence.channel == "room":
                        present[client.peer_id or ""] |= {m.peer_id for m in presence.joined}
            assert present == {"alice": {"bob"}, "bob": {"alice"}}
            await alice.publish("side", "still there?")
            assert await next_of(bob, Message) == Message("side", "alice", "still there?")
        finally:
            await alice.close()
            await bob.close()


async def next_of(client: SignallingClient, kind: type[T]) -> T:
    while True:
        event = await anext(client.events())
        if isinstance(event, kind):
            return event


async def test_a_hub_that_is_served_leaves_signals_to_the_process(hub: RunningHub) -> None:
    async with SignallingClient(hub.url, key=hub.key):
        for number in (signal.SIGTERM, signal.SIGINT):
            assert "uvicorn" not in repr(signal.getsignal(number))
            assert "_Server" not in repr(signal.getsignal(number))
