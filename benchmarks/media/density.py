"""How many calls one core is enough for, and how much memory each of them takes.

Calls are added until one of them is not sent a frame every 20 ms any more: the 99th percentile of how late
its packets are is over `LATE_MS`. Lateness is read at the caller: a packet's time stamp says when it ought to
be there, and the kernel when the agent's side handed it over; one that was left out is infinitely late. So it
is the sending clock, encoding, encryption and the event loop that are judged, and not how busy the callers
are.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.common.figures import bar, percentile
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import CYCLE_S, microphone

LATE_MS, LATE_PERCENT = 10.0, 99.0
#: As long as everybody's speech and silence together. A call that slips has to do so twice.
WINDOW_S = CYCLE_S
SETTLE_S = 1.0
#: While the worst call is this far from slipping, a shorter look is enough.
GLANCE_S, EASY_MS = 3.0, 4.0
#: As many more each time as make a tenth, but not fewer than these.
FIRST, STEP, MOST = 8, 2, 200
ROUNDS = 3
QUICK_STEP, QUICK_MOST = 8, 24
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Look:
    """At so many calls for a while."""

    calls: int
    #: Of the call that fares worst.
    p99_late_ms: float
    #: How much of its core each side used.
    agent_share: float
    callers_share: float
    rss_bytes: int

    @property
    def is_kept(self) -> bool:
        return self.p99_late_ms <= LATE_MS


@dataclass(frozen=True)
class Climb:
    """One agent's side, from no call to too many."""

    system: SystemName
    looks: list[Look] = field(default_factory=list)

    @property
    def most(self) -> Look | None:
        """The last at which every call kept its 20 ms; None if not even the first did."""
        kept = [look for look in self.looks if look.is_kept]
        return kept[-1] if kept else None

    @property
    def slipped(self) -> Look | None:
        return None if self.looks[-1].is_kept else self.looks[-1]

    @property
    def call_megabytes(self) -> float | None:
        """What a call takes beyond what the first of them load once; None without two counts to compare."""
        first, most = self.looks[0], self.most
        if most is None or most.calls == first.calls:
            return None
        return (most.rss_bytes - first.rss_bytes) / (most.calls - first.calls) / MEGABYTE


async def measure(plan: Plan) -> Found:
    """Calls for each core; see the module."""
    climbs: list[Climb] = []
    for number in range(1 if plan.quick else ROUNDS):
        for system in plan.systems:
            with plan.console.status(f"{TITLES[system]}, {number + 1}"):
                climbs.append(await climb(system, plan))
    by_system = [(system, [one for one in climbs if one.system == system]) for system in plan.systems]
    return Found(
        "Calls on one core",
        [introduction(), table(by_system)],
        list(bars(by_system)),
        [asdict(one) for one in climbs],
    )


async def climb(system: SystemName, plan: Plan) -> Climb:
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with(system, running, ticking, core) as calls,
    ):
        climbed = Climb(system)
        for count in counts(quick=plan.quick):
            await calls.add_many(count - len(calls.callers), "half", microphone())
            await asyncio.sleep(SETTLE_S)
            look = await looked_at(calls, quick=plan.quick)
            climbed.looks.append(look)
            plan.say(
                f"{TITLES[system]}: {look.calls} calls, {look.p99_late_ms:.1f} ms late, "
                f"{100 * look.agent_share:.0f} % of the core, callers {100 * look.callers_share:.0f} %"
            )
            if not look.is_kept:
                break
    return climbed


def counts(*, quick: bool) -> Iterator[int]:
    count = FIRST
    while count <= (QUICK_MOST if quick else MOST):
        yield count
        count += QUICK_STEP if quick else max(STEP, count // 10)


async def looked_at(calls: Calls, *, quick: bool) -> Look:
    """Shortly if that says enough; otherwise for a while, and once more before it is believed to slip."""
    look = await one_look(calls, GLANCE_S)
    if quick or look.p99_late_ms < EASY_MS:
        return look
    for _ in range(2):
        look = await one_look(calls, WINDOW_S)
        if look.is_kept:
            break
    return look


async def one_look(calls: Calls, window_s: float) -> Look:
    since = [len(caller.arrivals) for caller in calls.callers]
    before, began = await calls.agent.spent(), (time.process_time(), time.monotonic())
    await asyncio.sleep(window_s)
    after = await calls.agent.spent()
    callers_share = (time.process_time() - began[0]) / (time.monotonic() - began[1])
    late_ms = [
        percentile(caller.arrivals.lateness_ms(first).tolist(), LATE_PERCENT)
        for caller, first in zip(calls.callers, since, strict=True)
    ]
    return Look(len(late_ms), max(late_ms), after.cpu_since(before), callers_share, after.rss_bytes)


# ---- telling


def introduction() -> str:
    others = "" if os.cpu_count() != 1 else " There was only one core, which they shared."
    return f"""One process with the agent's side of all calls, on one core; callers and hub are on
another.{others} Both speak half of the time. Calls are added, a tenth at a time, until one of them is not
sent a frame every 20 ms any more: p99 of how late its packets are over {LATE_MS:.0f} ms in {WINDOW_S:.0f} s,
and again in another {WINDOW_S:.0f} s, by the time at which the kernel had them from the agent's side.
{ROUNDS} times each, by turns. Memory: how much more the process holds with the most calls than with the
first {FIRST}, divided by how many more they are."""


BySystem = Sequence[tuple[SystemName, list[Climb]]]


def table(by_system: BySystem) -> Table:
    headings = (
        "agent's side",
        "calls with every frame in time: median (all)",
        "late with these: p99 of the worst call",
        "late with more",
        "of the core",
        "memory per call",
    )
    return Table(headings, [row(system, climbs) for system, climbs in by_system])


def row(system: SystemName, climbs: Sequence[Climb]) -> tuple[str, ...]:
    most = [climb.most for climb in climbs]
    counts_kept = sorted(0 if look is None else look.calls for look in most)
    late = [look.p99_late_ms for look in most if look is not None]
    slipped = [look.p99_late_ms for climb in climbs if (look := climb.slipped) is not None]
    shares = [look.agent_share for look in most if look is not None]
    megabytes = [each for climb in climbs if (each := climb.call_megabytes) is not None]
    at_least = "" if len(slipped) == len(climbs) else "at least "
    return (
        TITLES[system],
        f"{at_least}{percentile(counts_kept, 50):.0f} ({', '.join(map(str, counts_kept))})",
        f"{percentile(late, 50):.1f} ms" if late else "-",
        f"{percentile(slipped, 50):.1f} ms" if slipped else "-",
        f"{100 * percentile(shares, 50):.0f} %" if shares else "-",
        f"{percentile(megabytes, 50):.2f} MB" if megabytes else "-",
    )


def bars(by_system: BySystem) -> Iterable[str]:
    kept = {
        system: percentile([0 if climb.most is None else climb.most.calls for climb in climbs], 50)
        for system, climbs in by_system
    }
    if kept.get("aiortc"):
        yield bar("calls on one core, of plain aiortc's", kept["ours"] / kept["aiortc"], ">=", 2)
