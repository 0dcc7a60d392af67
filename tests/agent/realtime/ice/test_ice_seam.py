"""Fails when a new aioice or aiortc no longer has the private parts that are reached into."""

from __future__ import annotations

import asyncio

from agent.realtime.ice import ice_seam
from tests.agent.realtime.connections.test_aiortc_seam import Noise, new_connection, noisy_pair


async def test_what_arrives_is_counted_and_can_be_asked_for():
    async with noisy_pair() as (noise, track, receiver):
        await track.recv()
        arrivals = ice_seam.Arrivals(receiver)
        while arrivals.count < 5:
            await asyncio.sleep(0.01)
        noise.go.clear()
        # aiortc reports every second or so, and asks every five: far more than that comes as answers.
        before = arrivals.count
        for _ in range(50):
            arrivals.ask()
        while arrivals.count < before + 50:
            await asyncio.sleep(0.01)


async def test_candidates_found_later_join_the_checks_and_hold_the_verdict_back():
    sender, receiver = new_connection(), new_connection()
    try:
        sender.addTrack(Noise())
        await sender.setLocalDescription(await sender.createOffer())
        ice = ice_seam.LocalIce(sender)
        (connection,) = ice_seam.ice_connections(sender)
        assert ice == ice_seam.LocalIce(sender)
        assert (ice.mid, ice.ufrag) == ("0", connection.local_username)
        assert len(ice.hosts()) == sum(
            c.type == "host" and "." in c.host for c in connection.local_candidates
        )
        await connection.add_remote_candidate(None)
        assert not connection._remote_candidates_expected()
        ice.expect_more()
        assert connection._check_periodic(), "the loop of checks goes on"
        ice.expect_no_more()
        assert not connection._check_periodic()
    finally:
        await asyncio.gather(sender.close(), receiver.close())
