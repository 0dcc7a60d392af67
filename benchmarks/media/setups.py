"""Many calls set up at the same moment: how long until all of them speak.

The hub and the agent's side are there; then all callers come at once, and the agent's side is told of each. A
call speaks when the first packet of the agent's voice is at the caller, and hears when the first sound of the
caller has been read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.common.figures import bar, percentile
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import microphone

CALLS, QUICK_CALLS = 28, 8
ROUNDS = 3
#: Whoever does not speak by then never does.
GIVE_UP_S = 40.0
#: Who speaks may not hear yet.
SETTLE_S = 2.0
LIMIT_S = 5.0


@dataclass(frozen=True)
class Result:
    system: SystemName
    calls: int
    #: Of those that did at all: from the moment at which all were begun.
    spoke_s: list[float] = field(default_factory=list)
    heard_s: list[float] = field(default_factory=list)


async def measure(plan: Plan) -> Found:
    """Set-ups; see the module."""
    results: list[Result] = []
    count = QUICK_CALLS if plan.quick else CALLS
    for _ in range(1 if plan.quick else ROUNDS):
        for system in plan.systems:
            with plan.console.status(TITLES[system]):
                results.append(await all_at_once(system, count))
    return Found(
        "Calls set up at once",
        [INTRODUCTION, table(plan.systems, results)],
        list(bars(results)),
        [asdict(result) for result in results],
    )


async def all_at_once(system: SystemName, count: int) -> Result:
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with(system, running, ticking, core) as calls,
    ):
        # Encoding it is no part of a call.
        microphone()
        began_s = time.monotonic()
        spoke = await asyncio.gather(*(first_sound(calls, began_s) for _ in range(count)))
        await asyncio.sleep(SETTLE_S)
        told = [await calls.agent.ask("heard", number=caller.number) for caller in calls.callers]
        heard = [each["first_s"] - began_s for each in told if each["first_s"] is not None]
        return Result(system, count, [each for each in spoke if each is not None], heard)


async def first_sound(calls: Calls, began_s: float) -> float | None:
    try:
        async with asyncio.timeout(GIVE_UP_S):
            caller = await calls.add("always", microphone())
            await caller.hears()
    except TimeoutError:
        return None
    # The kernel's clock is that of the wall.
    return time.monotonic() - (time.time() - caller.arrivals.at_s[0]) - began_s


# ---- telling

INTRODUCTION = f"""{CALLS} callers who come at the same moment, {ROUNDS} times. The agent's side has one core;
hub and callers have another. "Speaks": until the first packet of the agent's voice was at the caller.
"Hears": until the first sound of the caller had been read. Both from the moment at which all came."""


def table(systems: Sequence[SystemName], results: Sequence[Result]) -> Table:
    headings = (
        "agent's side",
        "calls",
        "speaks: median / p95 / worst, s",
        "hears: median / p95 / worst, s",
        "never",
    )
    rows = []
    for system in systems:
        same = [each for each in results if each.system == system]
        count = sum(each.calls for each in same)
        spoke = [moment for each in same for moment in each.spoke_s]
        heard = [moment for each in same for moment in each.heard_s]
        rows.append((TITLES[system], str(count), spread(spoke), spread(heard), str(count - len(spoke))))
    return Table(headings, rows)


def spread(values_s: Sequence[float]) -> str:
    if not values_s:
        return "-"
    return " / ".join(
        f"{value:.2f}" for value in (*(percentile(values_s, p) for p in (50, 95)), max(values_s))
    )


def bars(results: Sequence[Result]) -> Iterable[str]:
    ours = [each for each in results if each.system == "ours"]
    spoke = [moment for each in ours for moment in each.spoke_s]
    everybody = sum(each.calls for each in ours)
    yield bar("calls set up at once that speak", len(spoke), ">=", everybody)
    yield bar("calls set up at once, the last speaks after, s", max(spoke, default=None), "<=", LIMIT_S)
