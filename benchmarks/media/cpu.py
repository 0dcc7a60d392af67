"""What calls cost: processor time of the agent's side, to receive, to send, and for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.common.figures import bar, percentile
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.part import TITLES, Found, Plan, Table, UnfitError
from benchmarks.media.sides import SystemName, Voice
from benchmarks.media.speech import CYCLE_S, microphone
from benchmarks.media.window import ENOUGH, Window, missing, watched

#: Before what is counted.
SETTLE_S = 3.0
#: As long as everybody's speech and silence together, and so often in each of two processes.
WINDOW_S, WINDOWS, ROUNDS = CYCLE_S, 2, 2
QUICK_SETTLE_S, QUICK_WINDOW_S = 1.0, 5.0


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
    loads = QUICK_LOADS if plan.quick else LOADS
    for number in range(1 if plan.quick else ROUNDS):
        for load in loads:
            for system in plan.systems_in(number):
                with plan.console.status(f"{load.title}, {TITLES[system]}"):
                    used = await used_by(system, load, plan)
                shares.setdefault((load, system), []).extend(used)
    results = [Result(load, system, shares[load, system]) for load in loads for system in plan.systems]
    return Found(
        "What calls cost",
        [INTRODUCTION, table(results)],
        list(bars(results)),
        [asdict(result) for result in results],
    )


async def used_by(system: SystemName, load: Load, plan: Plan) -> list[float]:
    """How much of a core in each window. Raises `UnfitError` where sound was missing twice."""
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with(system, running, ticking, core) as calls,
    ):
        await calls.add_many(load.calls, load.voice, microphone() if load.is_heard else ())
        await asyncio.sleep(QUICK_SETTLE_S if plan.quick else SETTLE_S)
        windows = [await fit(calls, plan) for _ in range(1 if plan.quick else WINDOWS)]
    for window in windows:
        if what := missing(window.flows):
            raise UnfitError(f"{TITLES[system]}, {load.title}: {what}")
    return [window.agent_share for window in windows]


async def fit(calls: Calls, plan: Plan) -> Window:
    """A window in which no sound was missing, or the second in which some was."""
    window_s = QUICK_WINDOW_S if plan.quick else WINDOW_S
    window = await watched(calls, window_s)
    if what := missing(window.flows):
        plan.say(f"{TITLES[calls.agent.setup.system]}: once more, {what}")
        window = await watched(calls, window_s)
    return window


# ---- telling

INTRODUCTION = f"""Processor time of the process with the agent's side of the calls, all its threads, once the
calls are set up: {ROUNDS} processes and {WINDOWS} times {WINDOW_S:.0f} s in each. It has a core of its own;
callers and hub are on another. Half of the time the caller speaks, half of the time the agent does, not all
of them at once. What is received is read as mono at 16 kHz; what is said is pushed as mono at 16 kHz, to
plain aiortc as frames of 48 kHz that are there already. Only windows count in which every caller spoke, every
agent heard and every caller received for at least {100 * ENOUGH:.0f} % of the time; otherwise there would be
no figure."""


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
        # What costs nothing was not measured.
        ratio = ten["ours"] / ten["aiortc"] if ten["ours"] and ten["aiortc"] else None
        yield bar("CPU for ten calls, of plain aiortc's", ratio, "<=", 0.5)
