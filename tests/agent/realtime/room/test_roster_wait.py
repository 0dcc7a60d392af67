"""A server that does not say who is in the room, after it had been lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.hub import parse_faults
from agent.realtime import DataReceived, PeerLeft, StateChanged, TrackEnded
from agent.realtime.room import roster_wait
from tests.agent.hub.hub_parts import client, metric, token
from tests.agent.realtime.peer_parts import Cable, Participant, participant
from tests.conftest import RunningHub


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_wait, "ROSTER_S", 0.1)


async def lose_the_roster(hub: RunningHub, cable: Cable, alice: Participant) -> None:
    """Alice comes back to a server that never says who is there."""
    missing = metric("voice_agent_rosters_missing_total")
    hub.hub.options = replace(hub.hub.options, faults=parse_faults(["omit_snapshot"]))
    alice.seen.clear()
    cable.pull()
    cable.plug()
    await alice.event(StateChanged, remote=None, state="joined")
    assert metric("voice_agent_rosters_missing_total") == missing + 1


async def test_whoever_is_heard_is_there_and_nobody_else(hub: RunningHub) -> None:
    async with (
        Cable(hub.port) as cable,
        participant(hub, "alice", url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
        client(hub, token(hub, peer_id="carol")) as carol,
    ):
        await carol.read()
        await carol.subscribe("room")
        await alice.hears("bob", 1000)
        await lose_the_roster(hub, cable, alice)
        await alice.event(PeerLeft, remote="carol")
        assert set(alice.peer.remote_peers) == {"bob"}
        assert not [event for event in alice.seen if isinstance(event, TrackEnded)]
        await alice.hears("bob", 1000)
        await alice.peer.send_to("bob", "still there?")
        await bob.event(DataReceived, data="still there?")
        await bob.peer.leave()
        await alice.event(PeerLeft, remote="bob")


async def test_who_left_unseen_is_gone_when_nothing_is_heard_any_more(hub: RunningHub) -> None:
    async with (
        Cable(hub.port) as cable,
        Cable(hub.port) as another,
        participant(hub, "alice", url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000, url=another.url) as bob,
    ):
        await alice.hears("bob", 1000)
        cable.pull()
        another.pull()
        while not hub.hub.rooms.is_empty():
            await asyncio.sleep(0.01)
        await lose_the_roster(hub, cable, alice)
        await alice.hears("bob", 1000)
        await bob.peer.leave()
        await alice.event(PeerLeft, remote="bob")
