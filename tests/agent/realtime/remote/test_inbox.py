"""What a remote peer sends, one after the other, and offers no faster than they can be answered."""

from __future__ import annotations

import asyncio

from agent.realtime.negotiation.sdp import MAX_CANDIDATES
from agent.realtime.negotiation.signals import Candidate, Description
from agent.realtime.remote.inbox import MAX_WAITING_SIGNALS, OFFER_BURST, Ask, Inbox, Item
from tests.agent.hub.hub_parts import metric

DROPPED = "voice_agent_offers_dropped_total"


def offer(name: object) -> Description:
    return Description("offer", str(name))


def candidate(name: object) -> Candidate:
    return Candidate(str(name), "0")


async def at_once(inbox: Inbox) -> list[Item]:
    """What is there without waiting."""
    items = []
    while (item := await inbox.get(asyncio.get_running_loop().time())) is not None:
        items.append(item)
    return items


async def test_an_offer_too_many_waits_and_the_newest_is_kept_with_what_belongs_to_it() -> None:
    inbox, dropped = Inbox(), metric(DROPPED)
    for number in range(OFFER_BURST + 3):
        inbox.put(offer(number))
        inbox.put(candidate(number))
    inbox.put(Ask.SEND)
    here = [item for n in range(OFFER_BURST) for item in (offer(n), candidate(n))]
    assert await at_once(inbox) == [*here, Ask.SEND]
    assert metric(DROPPED) == dropped + 2
    assert await inbox.get(None) == offer(OFFER_BURST + 2)
    assert await inbox.get(None) == candidate(OFFER_BURST + 2)
    assert await at_once(inbox) == []


async def test_an_offer_that_is_held_comes_again_and_gives_way_to_a_newer_one() -> None:
    inbox, dropped = Inbox(), metric(DROPPED)
    inbox.hold(offer("early"), 0.01)
    inbox.put(candidate("early"))
    inbox.put(Description("answer", ""))
    assert await at_once(inbox) == [Description("answer", "")]
    inbox.put(offer("late"))
    assert await inbox.get(None) == offer("late")
    assert metric(DROPPED) == dropped + 1
    assert await at_once(inbox) == []


async def test_candidates_behind_a_held_offer_are_bounded() -> None:
    inbox = Inbox()
    inbox.hold(offer(0), 0.01)
    for number in range(MAX_CANDIDATES + 10):
        inbox.put(candidate(number))
    assert await inbox.get(None) == offer(0)
    assert len(await at_once(inbox)) == MAX_CANDIDATES


async def test_signals_of_a_stranger_are_bounded_and_our_own_items_are_not() -> None:
    inbox, dropped = Inbox(), metric("voice_agent_signals_dropped_total")
    for number in range(MAX_WAITING_SIGNALS + 5):
        inbox.put(candidate(number))
    inbox.put(Ask.SEND)
    assert metric("voice_agent_signals_dropped_total") == dropped + 5
    assert len(await at_once(inbox)) == MAX_WAITING_SIGNALS + 1
