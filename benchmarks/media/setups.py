"""Many calls set up at the same moment: how long until all of them speak.

The hub and the agent's side are there; then all callers come at once, and the agent's side is told of each. A
call speaks when the first packet that is louder than a quiet room, once decoded, is at the caller, and hears
when the first such sound of the caller has been read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from agent.realtime.opus import OpusDecoder
from benchmarks.common.figures import bar, percentile
from benchmarks.media.caller import Caller
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.ear import AUDIBLE, peak
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import microphone
from pipelines.audio import SPEECH_RATE_HZ

CALLS, QUICK_CALLS = 28, 8
ROUNDS = 3
#: Whoever does not speak by then never does.
GIVE_UP_S = 40.0
#: How often callers look for it; the moment is the packet's.
LOOK_S = 0.1
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
    for number in range(1 if plan.quick else ROUNDS):
        for system in plan.systems_in(number):
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
            caller = await calls.add("always", microphone(), keep=True)
            at_s = await first_audible_s(caller)
    except TimeoutError:
        return None
    # The kernel's clock is that of the wall.
    return time.monotonic() - (time.time() - at_s) - began_s


async def first_audible_s(caller: Caller) -> float:
    """When the kernel had the first packet that can be heard."""
    decoder, number = OpusDecoder(SPEECH_RATE_HZ), 0
    while True:
        for payload in caller.payloads():
            if peak(decoder.decode(payload)) > AUDIBLE:
                return caller.arrivals.at_s[number]
            number += 1
        await asyncio.sleep(LOOK_S)


# ---- telling

INTRODUCTION = f"""{CALLS} callers who come at the same moment, {ROUNDS} times. The agent's side has one core;
hub and callers have another. "Speaks": until the first packet of the agent's voice was at the caller in which
there is anything louder than a quiet room, once it is decoded. "Hears": until the first such sound of the
caller had been read. Both from the moment at which all came."""


def table(systems: Sequence[SystemName], results: Sequence[Result]) -> Table:
    headings = (
        "agent's side",
        "calls",
        "speaks: median / p95 / worst, s",
        "hears: median / p95 / worst, s",
        "never: speak, hear",
    )
    rows = []
    for system in systems:
        same = [each for each in results if each.system == system]
        count = sum(each.calls for each in same)
        spoke = [moment for each in same for moment in each.spoke_s]
        heard = [moment for each in same for moment in each.heard_s]
        never = f"{count - len(spoke)}, {count - len(heard)}"
        rows.append((TITLES[system], str(count), spread(spoke), spread(heard), never))
    return Table(headings, rows)


def spread(values_s: Sequence[float]) -> str:
    if not values_s:
        return "-"
    return " / ".join(
        f"{value:.2f}" for value in (*(percentile(values_s, p) for p in (50, 95)), max(values_s))
    )


def bars(results: Sequence[Result]) -> Iterable[str]:
    ours = [each for each in results if each.system == "ours"]
    everybody = sum(each.calls for each in ours)
    for does, moments in (
        ("speaks", [moment for each in ours for moment in each.spoke_s]),
        ("hears", [moment for each in ours for moment in each.heard_s]),
    ):
        yield bar(f"calls set up at once of which the agent {does}", len(moments), ">=", everybody)
        last_s = max(moments, default=None)
        yield bar(f"calls set up at once, the agent {does} in the last after, s", last_s, "<=", LIMIT_S)
