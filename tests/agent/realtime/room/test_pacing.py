"""However much there is to say, a server that counts has no reason to put us out."""

from __future__ import annotations

import asyncio
import time

from agent.hub import HubOptions
from agent.realtime.room.pacing import Pacer
from tests.agent.hub.hub_parts import client, metric, token
from tests.agent.realtime.peer_parts import participant
from tests.conftest import StartHub

CLOSED = "voice_agent_hub_closes_total"


async def test_turns_are_given_in_order_and_no_faster_than_the_rate() -> None:
    pacer, turns, began_s = Pacer(rate_per_s=200, burst=5), list[int](), time.monotonic()

    async def take(number: int) -> None:
        await pacer.turn()
        turns.append(number)

    await asyncio.gather(*(take(number) for number in range(25)))
    assert turns == list(range(25))
    assert time.monotonic() - began_s >= 0.1


async def test_who_gives_up_waiting_holds_up_nobody() -> None:
    pacer = Pacer(rate_per_s=50, burst=1)
    await pacer.turn()
    waiting = [asyncio.create_task(pacer.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])


async def test_more_messages_at_once_than_the_hub_allows(start_hub: StartHub) -> None:
    """All of them arrive; to everybody, to one, and to another channel alike."""
    closed = metric(CLOSED, code="4011")
    async with (
        start_hub(HubOptions()) as hub,
        participant(hub, "alice", sends=False) as alice,
        client(hub, token(hub, peer_id="bob", channels=["**"])) as bob,
    ):
        await bob.read()
        await bob.subscribe("room")
        await bob.subscribe("elsewhere")
        peer = alice.peer
        sending = asyncio.gather(
            *(peer.send(number) for number in range(80)),
            *(peer.send_to("bob", number) for number in range(80)),
            *(peer.publish("elsewhere", number) for number in range(80)),
        )
        heard = [(await bob.read())["data"] for _ in range(240)]
        assert heard == [*range(80)] * 3
        await sending
    assert metric(CLOSED, code="4011") == closed
