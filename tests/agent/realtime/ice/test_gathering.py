"""Servers that say where we are: they answer, are dead, or hang, and nobody waits for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aioice import stun

from agent.realtime import IceServer, Peer, StateChanged
from agent.realtime.frames import Direct
from agent.realtime.ice.gathering import SERVER_FAILURES
from agent.realtime.ice.ice_seam import ice_connections
from agent.realtime.signalling.client import SignallingClient
from tests.agent.realtime.peer_parts import participant, token_provider
from tests.agent.realtime.room.test_peer_lifetime import open_sockets, until_only
from tests.conftest import RunningHub
from tests.turn_server import TurnServer, free_port, turn_server

MAPPED = ("198.51.100.7", 40_000)


class _Stun(asyncio.DatagramProtocol):
    """Tells everybody the same address, as a NAT would make it; or, mute, nothing."""

    def __init__(self, is_mute: bool) -> None:
        self._is_mute = is_mute
        self.asked = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.asked.set()
        if self._is_mute:
            return
        request = stun.parse_message(data)
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = MAPPED
        self._transport.sendto(bytes(response), address)


@asynccontextmanager
async def stun_server(*, is_mute: bool = False) -> AsyncIterator[tuple[str, _Stun]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: _Stun(is_mute), local_addr=("127.0.0.1", 0)
    )
    try:
        yield f"stun:127.0.0.1:{transport.get_extra_info('sockname')[1]}", server
    finally:
        transport.close()


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes everything and says nothing, over UDP and TCP."""
    with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        port = free_port()
        tcp.bind(("127.0.0.1", port))
        tcp.listen()
        udp.bind(("127.0.0.1", port))
        yield f"turn:127.0.0.1:{port}"


def closed_port() -> str:
    return f"turn:127.0.0.1:{free_port()}"


def relayed(*urls: str, server: TurnServer) -> dict[str, Any]:
    """Only through these relays."""
    return {
        "ice_servers": [IceServer(urls, server.username, server.password)],
        "ice_transport_policy": "relay",
    }


class Witness:
    """Somebody in the room who never answers, and keeps what is sent to it."""

    def __init__(self, client: SignallingClient) -> None:
        self.heard: list[dict[str, Any]] = []
        self._client = client
        self._changed = asyncio.Event()

    async def listen(self) -> None:
        async for event in self._client.events():
            if isinstance(event, Direct) and event.data.get("type", "").startswith("rtc-"):
                self.heard.append(event.data)
                self._changed.set()

    async def until(self, count: int) -> list[dict[str, Any]]:
        while len(self.heard) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.heard


@asynccontextmanager
async def witness(hub: RunningHub) -> AsyncIterator[Witness]:
    async with (
        SignallingClient(hub.url, token_provider=token_provider(hub, "a-witness")) as client,
        asyncio.TaskGroup() as tasks,
    ):
        someone = Witness(client)
        listening = tasks.create_task(someone.listen())
        await client.subscribe("room")
        yield someone
        listening.cancel()


async def test_the_offer_does_not_wait_for_a_server_that_never_answers(hub: RunningHub):
    async with stun_server(is_mute=True) as (url, server), witness(hub) as ghost:
        ice = {"ice_servers": [IceServer((url,))]}
        async with participant(hub, "bob", ice=ice) as bob:
            (offer,) = await ghost.until(1)
            connection = bob.peer.remote_peers["a-witness"]._connections.current
            assert not connection._gathering.is_done
            assert "typ host" in offer["description"]["sdp"]
            assert "end-of-candidates" not in offer["description"]["sdp"]
            await server.asked.wait()
            assert not connection._gathering.is_done
            assert len(ghost.heard) == 1


async def test_what_the_servers_say_follows_as_candidates_and_then_the_end(hub: RunningHub):
    async with (
        stun_server(is_mute=True) as (mute, _),
        stun_server() as (url, _),
        witness(hub) as ghost,
        participant(hub, "bob", ice={"ice_servers": [IceServer((mute, url))]}) as bob,
    ):
        ice = None
        while not ghost.heard or ghost.heard[-1].get("candidate", "") is not None:
            await ghost.until(len(ghost.heard) + 1)
            ice = bob.peer.remote_peers["a-witness"]._connections.current._gathering._ice
        offer, *candidates, end = ghost.heard
        assert end == {"type": "rtc-ice", "candidate": None}
        assert candidates
        for message in candidates:
            body = message["candidate"]
            assert f"{MAPPED[0]} {MAPPED[1]} typ srflx" in body["candidate"]
            assert (body["sdpMid"], body["sdpMLineIndex"]) == ("0", 0)
            assert body["usernameFragment"] == ice.ufrag
            assert f"a=ice-ufrag:{ice.ufrag}" in offer["description"]["sdp"]


async def test_without_servers_the_offer_is_complete_and_nobody_is_asked(hub: RunningHub):
    async with witness(hub) as ghost, participant(hub, "bob") as bob:
        offer, end = await ghost.until(2)
        assert "end-of-candidates" in offer["description"]["sdp"]
        assert end["candidate"] is None
        connection = bob.peer.remote_peers["a-witness"]._connections.current
        (ice,) = ice_connections(connection._pc)
        assert (connection._gathering, ice.stun_server, ice.turn_server) == (None, None, None)


@pytest.mark.parametrize("way", ["tcp", "tls"])
async def test_a_relay_is_found_behind_dead_ones(hub: RunningHub, monkeypatch: pytest.MonkeyPatch, way: str):
    with black_hole() as mute:
        async with turn_server() as server:
            # As an operator would: the file replaces the certificates the machine trusts.
            monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
            ice = relayed(
                closed_port(), mute, f"{closed_port()}?transport=tcp", getattr(server, way), server=server
            )
            async with (
                participant(hub, "alice", says_hz=440, ice=ice) as alice,
                participant(hub, "bob", says_hz=1000) as bob,
            ):
                await alice.hears("bob", 1000)
                await bob.hears("alice", 440)
                pairs = alice.peer.remote_peers["bob"]._connections.current._gathering._ice._ice._nominated
                assert [pair.local_candidate.type for pair in pairs.values()] == ["relay"]


async def test_two_peers_that_are_both_behind_relays(hub: RunningHub):
    async with turn_server() as server:
        ice = relayed(server.udp, server=server)
        async with (
            participant(hub, "alice", says_hz=440, ice=ice) as alice,
            participant(hub, "bob", says_hz=1000, ice=ice) as bob,
        ):
            await alice.hears("bob", 1000)
            await bob.hears("alice", 440)


async def test_a_certificate_nobody_vouches_for_is_refused(hub: RunningHub):
    async with turn_server() as server:
        failures = SERVER_FAILURES.labels("turn")
        before = failures._value.get()
        ice = relayed(server.tls, server=server)
        async with witness(hub) as ghost, participant(hub, "bob", ice=ice):
            offer, end = await ghost.until(2)
            assert "candidate:" not in offer["description"]["sdp"]
            assert end["candidate"] is None
        assert failures._value.get() == before + 1


async def test_relays_and_dead_servers_leave_nothing_behind(hub: RunningHub):
    with black_hole() as mute:
        async with participant(hub, "bob") as bob:
            await bob.event(StateChanged, remote=None, state="joined")
            tasks, sockets = asyncio.all_tasks(), open_sockets()
            async with turn_server() as server:
                ice = {"ice_servers": [IceServer((server.udp, mute), server.username, server.password)]}
                async with participant(hub, "alice", says_hz=440, ice=ice) as alice:
                    await bob.hears("alice", 440)
                    gathering = alice.peer.remote_peers["bob"]._connections.current._gathering
                    while not gathering._ice.relays:
                        await asyncio.sleep(0.01)
                ice = {"ice_servers": [IceServer((mute, f"{mute}?transport=tcp"), "user", "secret")]}
                async with participant(hub, "alice", says_hz=440, ice=ice):
                    await bob.hears("alice", 440)
            await until_only(tasks)
            while open_sockets() > sockets:
                await asyncio.sleep(0.01)


@pytest.mark.usefixtures("quick_ticks")
async def test_a_relay_that_died_does_not_hold_up_leaving(hub: RunningHub):
    async with participant(hub, "bob") as bob:
        await bob.event(StateChanged, remote=None, state="joined")
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        async with turn_server() as server:
            ice = relayed(server.udp, server=server)
            stack = participant(hub, "alice", says_hz=440, ice=ice)
            await stack.__aenter__()
            await bob.hears("alice", 440)
        await stack.__aexit__(None, None, None)
        await until_only(tasks)
        while open_sockets() > sockets:
            await asyncio.sleep(0.01)


def test_a_policy_is_all_or_relay():
    with pytest.raises(ValueError, match='"all" or "relay"'):
        Peer("ws://localhost", key="k", ice_transport_policy="none")


async def test_what_never_answers_is_given_up_and_said(hub: RunningHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agent.realtime.ice.gathering.GATHER_S", 0.1)
    given_up = SERVER_FAILURES.labels("timeout")
    before = given_up._value.get()
    async with (
        stun_server(is_mute=True) as (url, _),
        witness(hub) as ghost,
        participant(hub, "bob", ice={"ice_servers": [IceServer((url,))]}),
    ):
        _, end = await ghost.until(2)
        assert end == {"type": "rtc-ice", "candidate": None}
    assert given_up._value.get() == before + 1
