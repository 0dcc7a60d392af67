"""What calls cost: processor time of the agent's side, to receive, to send, and for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.common.figures import bar, percentile
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName, Voice
from benchmarks.media.speech import CYCLE_S, microphone

#: Before what is counted.
SETTLE_S = 3.0
#: As long as everybody's speech and silence together, and so often in each of two processes.
WINDOW_S, WINDOWS, ROUNDS = CYCLE_S, 3, 2
QUICK_SETTLE_S, QUICK_WINDOW_S = 1.0, 3.0


@dataclass(frozen=True)
class Load:
    """What goes on at the same time."""

    title: str
    calls: int
    voice: Voice
    is_heard: bool


LOADS = (
    Load("1 call", 1, "half", True),
    Load("10 calls", 10, "half", True),
    Load("10 calls, only received", 10, "none", True),
    Load("10 calls, only sent", 10, "half", False),
)
QUICK_LOADS = LOADS[1:]
THE_LOAD = LOADS[1]


@dataclass(frozen=True)
class Result:
    load: Load
    system: SystemName
    #: How much of a core was used in each window.
    shares: list[float]

    @property
    def median(self) -> float:
        return percentile(self.shares, 50)

    def per_call_minute_s(self, share: float) -> float:
        return 60 * share / self.load.calls


async def measure(plan: Plan) -> Found:
    """Processor time; see the module."""
    shares: dict[tuple[Load, SystemName], list[float]] = {}
    for _ in range(1 if plan.quick else ROUNDS):
        for load in QUICK_LOADS if plan.quick else LOADS:
            for system in plan.systems:
                with plan.console.status(f"{load.title}, {TITLES[system]}"):
                    used = await used_by(system, load, quick=plan.quick)
                shares.setdefault((load, system), []).extend(used)
    results = [Result(load, system, each) for (load, system), each in shares.items()]
    return Found(
        "What calls cost",
        [INTRODUCTION, table(results)],
        list(bars(results)),
        [asdict(result) for result in results],
    )


async def used_by(system: SystemName, load: Load, *, quick: bool) -> list[float]:
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with(system, running, ticking, core) as calls,
    ):
        await calls.add_many(load.calls, load.voice, microphone() if load.is_heard else ())
        await asyncio.sleep(QUICK_SETTLE_S if quick else SETTLE_S)
        if quick:
            return [await share_of(calls, QUICK_WINDOW_S)]
        return [await share_of(calls, WINDOW_S) for _ in range(WINDOWS)]


async def share_of(calls: Calls, window_s: float) -> float:
    before = await calls.agent.spent()
    await asyncio.sleep(window_s)
    return (await calls.agent.spent()).cpu_since(before)


# ---- telling

INTRODUCTION = f"""Processor time of the process with the agent's side of the calls, all its threads, once the
calls are set up: {ROUNDS} processes and {WINDOWS} times {WINDOW_S:.0f} s in each. It has a core of its own;
callers and hub are on another. Half of the time the caller speaks, half of the time the agent does, not all
of them at once. What is received is read as mono at 16 kHz; what is said is pushed as mono at 16 kHz, to
plain aiortc as frames of 48 kHz that are there already."""


def table(results: Iterable[Result]) -> Table:
    headings = (
        "calls",
        "agent's side",
        "n",
        "of a core: median / p95",
        "CPU seconds per call-minute: median / p95",
    )
    rows = []
    for each in results:
        p95 = percentile(each.shares, 95)
        per_call = [f"{each.per_call_minute_s(share):.2f}" for share in (each.median, p95)]
        shares = f"{100 * each.median:.1f} % / {100 * p95:.1f} %"
        rows.append(
            (each.load.title, TITLES[each.system], str(len(each.shares)), shares, " / ".join(per_call))
        )
    return Table(headings, rows)


def bars(results: Sequence[Result]) -> Iterable[str]:
    ten = {each.system: each.median for each in results if each.load == THE_LOAD}
    if "aiortc" in ten:
        yield bar("CPU for ten calls, of plain aiortc's", ten["ours"] / ten["aiortc"], "<=", 0.5)
