"""Paths that break under a real room: a real hub, real WebRTC, and datagrams that go nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aioice.ice import StunProtocol

from agent.realtime import PeerLeft, StateChanged, TrackAdded, TrackEnded
from agent.realtime.ice.path_watch import ASK_AFTER_TICKS
from agent.realtime.remote.remote_peer import REBUILDS
from tests.agent.realtime.peer_parts import Cable, Participant, participant
from tests.conftest import RunningHub


class Network:
    """What every datagram of this process goes through. It can be cut."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_cut = False
        send_data, send_stun = StunProtocol.send_data, StunProtocol.send_stun

        async def data(protocol: StunProtocol, *args: Any) -> None:
            if not self.is_cut:
                await send_data(protocol, *args)

        def stun(protocol: StunProtocol, *args: Any) -> None:
            if not self.is_cut:
                send_stun(protocol, *args)

        patch.setattr(StunProtocol, "send_data", data)
        patch.setattr(StunProtocol, "send_stun", stun)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


async def both_hear(alice: Participant, bob: Participant) -> None:
    await alice.hears("bob", 1000)
    await bob.hears("alice", 440)


def silent_ticks(someone: Participant, remote_id: str) -> int:
    return someone.peer.remote_peers[remote_id]._connections.current._path._watch._silent_ticks


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def rebuilds() -> float:
    return sum(sample.value for sample in next(iter(REBUILDS.collect())).samples if "_total" in sample.name)


@pytest.mark.usefixtures("quick_ticks")
async def test_a_dead_path_is_noticed_and_sound_comes_back_with_the_network(
    hub: RunningHub, network: Network
):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await both_hear(alice, bob)
        remote = alice.peer.remote_peers["bob"]
        network.is_cut = True
        await alice.event(StateChanged, remote="bob", state="reconnecting")
        await bob.event(StateChanged, remote="alice", state="reconnecting")
        # bob's offer, and the answer, get through; what they agree on does not work yet.
        await until(lambda: remote._connections.current.remote_ufrag is not None)
        alice.seen.clear()
        bob.seen.clear()
        network.is_cut = False
        await alice.connected_to("bob")
        await bob.connected_to("alice")
        await both_hear(alice, bob)
        assert alice.peer.remote_peers["bob"] is remote


@pytest.mark.usefixtures("quick_ticks")
async def test_a_short_gap_heals_in_place(hub: RunningHub, network: Network):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await both_hear(alice, bob)
        alice.seen.clear()
        network.is_cut = True
        await until(lambda: silent_ticks(alice, "bob") >= ASK_AFTER_TICKS + 1)
        network.is_cut = False
        await both_hear(alice, bob)
        assert not [e for e in alice.seen if isinstance(e, StateChanged | TrackAdded | TrackEnded)]


@pytest.mark.usefixtures("quick_ticks")
async def test_a_path_that_opens_again_carries_on_without_signalling(hub: RunningHub, network: Network):
    async with (
        Cable(hub.port) as cable,
        participant(hub, "alice", says_hz=440, url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000, url=cable.url) as bob,
    ):
        await both_hear(alice, bob)
        cable.pull()
        network.is_cut = True
        for someone in (alice, bob):
            await someone.event(StateChanged, remote=None, state="reconnecting")
        await alice.event(StateChanged, remote="bob", state="reconnecting")
        await bob.event(StateChanged, remote="alice", state="reconnecting")
        alice.seen.clear()
        bob.seen.clear()
        network.is_cut = False
        await both_hear(alice, bob)
        await alice.connected_to("bob")
        await bob.connected_to("alice")
        cable.plug()
        await alice.event(StateChanged, remote=None, state="joined")
        await bob.event(StateChanged, remote=None, state="joined")
        await both_hear(alice, bob)
        for someone in (alice, bob):
            assert not [e for e in someone.seen if isinstance(e, TrackAdded | TrackEnded | PeerLeft)]


async def test_hanging_up_is_not_a_lost_connection(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice:
        async with participant(hub, "bob", says_hz=1000) as bob:
            await both_hear(alice, bob)
            before = rebuilds()
            await bob.peer.remote_peers["alice"]._connections.current.close()
            await alice.event(StateChanged, remote="bob", state="reconnecting")
        await alice.event(PeerLeft, remote="bob")
        assert rebuilds() == before
