"""What every pair of ends has to manage, whoever wrote them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import pytest

from agent.hub import HubOptions
from agent.realtime import IceServer
from tests.agent.realtime.peer_parts import Cable
from tests.conftest import RunningHub
from tests.interop.sides import OpenSide, Side

#: The tones of the two ends: far apart, and neither a harmonic of the other.
HZ = (440, 1000)

#: With a publishable key ice servers come from the hub only; see `sides.NO_SERVER`.
NO_SERVERS = HubOptions(ice_servers=(IceServer(("stuns:localhost",)),), connects_per_minute=None)

#: The caller is called "caller": the one end yields in a collision, or the other.
roles = pytest.mark.parametrize("our_id", ["~agent", "!agent"], ids=["impolite", "polite"])
#: What takes seconds: in the one role every day, in the other with the bad networks.
slow_roles = pytest.mark.parametrize(
    "our_id",
    [
        pytest.param("~agent", id="impolite"),
        pytest.param("!agent", id="polite", marks=pytest.mark.network),
    ],
)
orders = pytest.mark.parametrize("swapped", [False, True], ids=["first", "second"])


@asynccontextmanager
async def both(
    hub: RunningHub,
    one: OpenSide,
    other: OpenSide,
    ids: tuple[str | None, str | None],
    *,
    swapped: bool = False,
) -> AsyncIterator[tuple[Side, Side]]:
    """Two ends in one room; `swapped`: the other one comes first."""
    async with AsyncExitStack() as stack:
        ends = [(one, ids[0], HZ[0]), (other, ids[1], HZ[1])]
        if swapped:
            ends.reverse()
        sides = [await stack.enter_async_context(open_(hub, id_, hz)) for open_, id_, hz in ends]
        if swapped:
            sides.reverse()
        yield sides[0], sides[1]


async def hear_each_other(one: Side, other: Side) -> None:
    await one.hears(other)
    await other.hears(one)


async def read_each_other(one: Side, other: Side, n: int = 0) -> None:
    """Messages to all and to one, both ways; `n` tells them from earlier ones."""
    for sender, receiver in ((one, other), (other, one)):
        await sender.send({"to": "all", "n": n})
        await receiver.got("broadcast", {"to": "all", "n": n}, sender)
        await sender.send_to(receiver.peer_id, {"to": "you", "n": n})
        await receiver.got("direct", {"to": "you", "n": n}, sender)


async def chat(one: Side, other: Side, n: int = 0) -> None:
    """What a person at a page can send and read, both ways."""
    for sender, receiver, words in ((one, other, f"there {n}"), (other, one, f"back {n}")):
        message = {"type": "chat", "text": words}
        await sender.send(message)
        await receiver.got("broadcast", message, sender)


Exchange: TypeAlias = Callable[[Side, Side, int], Awaitable[None]]


async def leave_and_return(
    hub: RunningHub,
    stays: OpenSide,
    comes_and_goes: OpenSide,
    our_id: str,
    exchange: Exchange = read_each_other,
) -> None:
    async with stays(hub, our_id, HZ[0]) as one:
        for n in range(2):
            async with comes_and_goes(hub, "caller", HZ[1]) as other:
                await hear_each_other(one, other)
                await exchange(one, other, n)
                gone = other.peer_id
            await one.misses(gone)


async def come_back_from_a_lost_server(
    cable: Cable, dropped: Side, other: Side, exchange: Exchange = read_each_other
) -> None:
    """`dropped` talks to the hub through `cable`."""
    await hear_each_other(dropped, other)
    await dropped.forget()
    cable.pull()
    cable.plug()
    await dropped.back_with(other)
    await exchange(dropped, other, 1)
    await hear_each_other(dropped, other)


async def come_back_from_a_lost_path(
    breaker: Side, other: Side, exchange: Exchange = read_each_other
) -> None:
    await hear_each_other(breaker, other)
    await breaker.forget()
    await breaker.break_media(other)
    await breaker.back_with(other)
    await hear_each_other(breaker, other)
    await exchange(breaker, other, 2)
