"""From a click given to the agent's voice to the packet that brings it to the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import numpy as np

from agent.realtime.opus import OpusDecoder
from agent.recording import RATE_HZ
from benchmarks.common.figures import Spread
from benchmarks.media.agent import hub
from benchmarks.media.caller import Caller, callers
from benchmarks.media.calls import Calls, calls_with
from benchmarks.media.ear import FULL_SCALE, LOUD
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import CLICK_GAP_S, FRAME_S

CALLS, CLICKS = 4, 50
QUICK_CALLS, QUICK_CLICKS = 2, 6


@dataclass(frozen=True)
class Result:
    system: SystemName
    clicks: int
    delays_ms: list[float]


async def measure(plan: Plan) -> Found:
    """Voice to wire; see the module."""
    calls, clicks = (QUICK_CALLS, QUICK_CLICKS) if plan.quick else (CALLS, CLICKS)
    with plan.console.status("voice to wire"):
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(hub())
            ticking = await stack.enter_async_context(callers())
            sides = [
                await stack.enter_async_context(calls_with(system, running, ticking))
                for system in plan.systems
            ]
            results = await asyncio.gather(*(one_system(side, calls, clicks) for side in sides))
    return Found("Voice to wire", [INTRODUCTION, table(results)], (), [asdict(result) for result in results])


async def one_system(calls: Calls, count: int, clicks: int) -> Result:
    each = await asyncio.gather(*(one_call(calls, clicks) for _ in range(count)))
    return Result(
        calls.agent.setup.system,
        sum(said for said, _ in each),
        [delay for _, delays in each for delay in delays],
    )


async def one_call(calls: Calls, clicks: int) -> tuple[int, list[float]]:
    """How many clicks were said, and how late each was on its way."""
    caller = await calls.add("clicks", ())
    caller.arrivals.kept = []
    first = len(caller.arrivals)
    await asyncio.sleep((clicks + 2) * (CLICK_GAP_S + FRAME_S))
    heard_s = clicks_in(caller, first)
    told = await calls.agent.ask("heard", number=caller.number)
    # Those said before it was listened to, and those that may still be on their way, do not count.
    said = [at_s for at_s in told["said_s"] if heard_s and at_s > heard_s[0]][:clicks]
    delays = [
        1000 * (min(later) - at_s)
        for at_s in said
        if (later := [s for s in heard_s if at_s <= s < at_s + CLICK_GAP_S])
    ]
    return len(said), delays


def clicks_in(caller: Caller, first: int) -> list[float]:
    """When packets with the beginning of a click came, on the monotonic clock; from packet `first` on."""
    decoder, was_loud, found = OpusDecoder(RATE_HZ), False, []
    # The kernel's clock is that of the wall.
    wall_s = time.time() - time.monotonic()
    for at_s, payload in zip(caller.arrivals.at_s[first:], caller.payloads(), strict=False):
        is_loud = len(payload) > 0 and int(np.abs(decoder.decode(payload)).max()) > LOUD * FULL_SCALE
        if is_loud and not was_loud:
            found.append(at_s - wall_s)
        was_loud = is_loud
    return found


# ---- telling

INTRODUCTION = f"""From a click pushed into the agent's voice, at any moment, to the packet with its
beginning, by the time at which the kernel had it from the agent's side. Of that a frame of 20 ms takes 10 ms
on average until its time has come. All systems at the same time, {CALLS} calls each. Plain aiortc has no
voice to push into: there it is a queue of ready frames in a track."""


def table(results: Iterable[Result]) -> Table:
    headings = ("agent's side", "clicks", "found", "voice to wire: median / p95 / worst, ms")
    rows = []
    for each in results:
        spread = str(Spread.of(each.delays_ms) or "-")
        rows.append((TITLES[each.system], str(each.clicks), str(len(each.delays_ms)), spread))
    return Table(headings, rows)
