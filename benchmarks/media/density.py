"""How many calls one core is enough for, and how much memory each of them takes.

Calls are added until one of them is not sent a frame every 20 ms any more: the 99th percentile of how late
its packets are is over `LATE_MS`. Lateness is read at the caller: a packet's time stamp says when it ought to
be there, and the kernel when the agent's side handed it over; one that was left out is infinitely late. So it
is the sending clock, encoding, encryption and the event loop that are judged, and not how busy the callers
are. Nor is a call kept of which the agent's side hears less than `ENOUGH` of what its caller said.

Callers that have too much to do say less than they ought to, and several packets at a time, which is less
work for whoever takes the most calls. So a climb ends where their processor is over `BUSY` or one of them has
left packets out, whatever became of the agent's side: it might have taken more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.common.figures import bar, percentile
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import CYCLE_S, microphone
from benchmarks.media.window import ENOUGH, Window, least, watched

LATE_MS = 10.0
#: Whose processor is busier than this is what limits the number of calls.
BUSY = 0.9
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
    #: Of the call that fares worst: how much of the time its caller spoke, and how much of that was heard.
    said_share: float
    heard_share: float

    @classmethod
    def of(cls, window: Window) -> Look:
        return cls(
            len(window.flows),
            max(flow.late_ms for flow in window.flows),
            window.agent_share,
            window.callers_share,
            window.rss_bytes,
            least(flow.said for flow in window.flows),
            least(flow.heard / flow.said for flow in window.flows if flow.said and flow.heard is not None),
        )

    @property
    def is_kept(self) -> bool:
        return self.p99_late_ms <= LATE_MS and self.heard_share >= ENOUGH

    @property
    def is_whole(self) -> bool:
        """These were so many calls."""
        return self.said_share >= ENOUGH

    @property
    def is_limited(self) -> bool:
        """By the callers."""
        return self.callers_share > BUSY or not self.is_whole

    @property
    def is_easy(self) -> bool:
        return self.is_kept and not self.is_limited and self.p99_late_ms < EASY_MS


@dataclass(frozen=True)
class Climb:
    """One agent's side, from no call to too many."""

    system: SystemName
    looks: list[Look] = field(default_factory=list)

    @property
    def most(self) -> Look | None:
        """The last at which every call was kept; None if not even the first was."""
        kept = [look for look in self.looks if look.is_kept and look.is_whole]
        return kept[-1] if kept else None

    @property
    def slipped(self) -> Look | None:
        """None: it might have taken more."""
        last = self.looks[-1]
        return None if last.is_kept or last.is_limited else last

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
        for system in plan.systems_in(number):
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
                f"{100 * look.heard_share:.0f} % heard, {100 * look.agent_share:.0f} % of the core, "
                f"callers {100 * look.callers_share:.0f} %, {100 * look.said_share:.0f} % said"
                f"{', which limits it' if look.is_limited else ''}"
            )
            if look.is_limited or not look.is_kept:
                break
    return climbed


def counts(*, quick: bool) -> Iterator[int]:
    count = FIRST
    while count <= (QUICK_MOST if quick else MOST):
        yield count
        count += QUICK_STEP if quick else max(STEP, count // 10)


async def looked_at(calls: Calls, *, quick: bool) -> Look:
    """Shortly if that says enough; otherwise for a while, and once more before it is believed to slip."""
    look = Look.of(await watched(calls, GLANCE_S))
    if quick or look.is_easy:
        return look
    for _ in range(2):
        look = Look.of(await watched(calls, WINDOW_S))
        if look.is_kept and not look.is_limited:
            break
    return look


# ---- telling


def introduction() -> str:
    others = "" if os.cpu_count() != 1 else " There was only one core, which they shared."
    return f"""One process with the agent's side of all calls, on one core; callers and hub are on
another.{others} Both speak half of the time. Calls are added, a tenth at a time, until one of them is not
sent a frame every 20 ms any more: p99 of how late its packets are over {LATE_MS:.0f} ms in {WINDOW_S:.0f} s,
and again in another {WINDOW_S:.0f} s, by the time at which the kernel had them from the agent's side; or
until less than {100 * ENOUGH:.0f} % of what one of the callers said is heard. Where callers and hub use more
than {100 * BUSY:.0f} % of their core, or a caller says less than it should, it is they who limit the number,
and it is "at least" what it was. {ROUNDS} times each, by turns. Memory: how much more the process holds with
the most calls than with the first {FIRST}, divided by how many more they are."""


BySystem = Sequence[tuple[SystemName, list[Climb]]]


def table(by_system: BySystem) -> Table:
    headings = (
        "agent's side",
        "calls with every frame in time: median (all)",
        "late with these: p99 of the worst call",
        "late with more",
        "heard with more, % of what was said",
        "of the core: agent's / callers'",
        "memory per call",
    )
    return Table(headings, [row(system, climbs) for system, climbs in by_system])


def row(system: SystemName, climbs: Sequence[Climb]) -> tuple[str, ...]:
    most = [look for climb in climbs if (look := climb.most) is not None]
    counts_kept = sorted(0 if climb.most is None else climb.most.calls for climb in climbs)
    slipped = [look for climb in climbs if (look := climb.slipped) is not None]
    megabytes = [each for climb in climbs if (each := climb.call_megabytes) is not None]
    at_least = "" if len(slipped) == len(climbs) else "at least "
    limited = ", limited by the callers" if any(climb.looks[-1].is_limited for climb in climbs) else ""
    sides = [[look.agent_share for look in most], [look.callers_share for look in most]]
    return (
        TITLES[system],
        f"{at_least}{percentile(counts_kept, 50):.0f} ({', '.join(map(str, counts_kept))}){limited}",
        middle([look.p99_late_ms for look in most], "{:.1f} ms"),
        middle([look.p99_late_ms for look in slipped], "{:.1f} ms"),
        middle([100 * look.heard_share for look in slipped], "{:.0f} %"),
        " / ".join(middle([100 * share for share in shares], "{:.0f} %") for shares in sides),
        middle(megabytes, "{:.2f} MB"),
    )


def middle(values: Sequence[float], shown: str) -> str:
    return shown.format(percentile(values, 50)) if values else "-"


def bars(by_system: BySystem) -> Iterable[str]:
    of = dict(by_system)
    if "aiortc" not in of:
        return
    ours, plain = (
        percentile([0 if climb.most is None else climb.most.calls for climb in of[system]], 50)
        for system in ("ours", "aiortc")
    )
    # Who might have taken more is no measure for others.
    is_known = plain > 0 and all(climb.slipped for climb in of["aiortc"])
    yield bar("calls on one core, of plain aiortc's", ours / plain if is_known else None, ">=", 2)
