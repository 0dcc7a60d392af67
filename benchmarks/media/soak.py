"""Calls that come, talk and go, one after the other: what they leave behind in the agent's process.

After every few calls everybody has left, and what the process holds is counted: memory, threads, descriptors,
tasks. All of it has to be flat once caches and pools have their size. Writes docs/media-path-soak.svg.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.common.document import DOCUMENT
from benchmarks.common.figures import bar
from benchmarks.media.calls import Calls, calls_with, on_cores_apart
from benchmarks.media.holdings import Holdings
from benchmarks.media.part import Found, Plan, Table
from benchmarks.media.plot import plot
from benchmarks.media.speech import microphone

CALLS, TOGETHER, TALK_S = 200, 5, 4.0
QUICK_CALLS, QUICK_TALK_S = 30, 0.5
#: Calls after which caches and pools have their size.
WARM_UP = 50
QUICK_WARM_UP = 15
PICTURE = "media-path-soak.svg"
#: What a call may leave behind, in bytes. A connection that stays is 0.3 MB; what an allocator's pools still
#: grow by was 1.4 kB a call.
LEFT_BYTES = 10_000
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Count:
    calls: int
    held: Holdings


async def measure(plan: Plan) -> Found:
    """What is left of calls; see the module."""
    counts = await counted(plan)
    warm_up = QUICK_WARM_UP if plan.quick else WARM_UP
    if not plan.quick:
        points = [(each.calls, each.held.rss_bytes / MEGABYTE) for each in counts]
        picture = plot(points, across="calls that came, talked and went", up="memory of the process, MB")
        DOCUMENT.with_name(PICTURE).write_text(picture, "utf-8")
    body: list[str | Table] = [
        INTRODUCTION,
        f"![memory of the process after so many calls]({PICTURE})",
        table(counts),
    ]
    return Found("What calls leave behind", body, list(bars(counts, warm_up)), [asdict(e) for e in counts])


async def counted(plan: Plan) -> list[Count]:
    calls_in_all, talk_s = (QUICK_CALLS, QUICK_TALK_S) if plan.quick else (CALLS, TALK_S)
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with("ours", running, ticking, core) as calls,
    ):
        counts = [Count(0, await held(calls))]
        with plan.console.status("soak") as status:
            while (done := counts[-1].calls) < calls_in_all:
                status.update(f"soak: {done} of {calls_in_all} calls")
                await asyncio.gather(*(one_call(calls, talk_s) for _ in range(TOGETHER)))
                counts.append(Count(done + TOGETHER, await held(calls)))
    return counts


async def one_call(calls: Calls, talk_s: float) -> None:
    """Both have heard each other, and talked for a while."""
    caller = await calls.add("always", microphone())
    await caller.hears()
    await calls.agent.ask("hears", number=caller.number)
    await asyncio.sleep(talk_s)
    await calls.end(caller)


async def held(calls: Calls) -> Holdings:
    return Holdings(**await calls.agent.ask("held"))


# ---- telling

INTRODUCTION = f"""{CALLS} calls in one process with our side of them, {TOGETHER} at a time: join, hear each
other, talk for {TALK_S:.0f} s, leave. What the process holds is counted whenever all have left, after
everything that can be freed has been. The bar for memory is on the slope of the line (least squares) after
the first {WARM_UP} calls, in which caches and pools get their size; a connection that stays is 0.3 MB."""


def table(counts: Sequence[Count]) -> Table:
    headings = ("after calls", "memory, MB", "threads", "descriptors", "tasks")
    step = max(1, (len(counts) - 1) // 8)
    rows = [
        (
            str(each.calls),
            f"{each.held.rss_bytes / MEGABYTE:.1f}",
            str(each.held.threads),
            str(each.held.descriptors),
            str(each.held.tasks),
        )
        for each in counts[::step]
    ]
    return Table(headings, rows)


def left_bytes(counts: Sequence[Count]) -> float:
    """By how much memory grows with a call: the slope of the line through `counts`."""
    slope, _ = np.polyfit([each.calls for each in counts], [each.held.rss_bytes for each in counts], 1)
    return float(slope)


def bars(counts: Sequence[Count], warm_up: int) -> Iterable[str]:
    before = next(each.held for each in counts if each.calls >= warm_up)
    after = counts[-1].held
    yield bar(
        f"memory that a call leaves behind after the first {warm_up}, kB",
        left_bytes([each for each in counts if each.calls >= warm_up]) / 1000,
        "<=",
        LEFT_BYTES / 1000,
    )
    grown = f"more after {counts[-1].calls} calls than after {warm_up}"
    for what in ("threads", "descriptors", "tasks"):
        yield bar(f"{what} {grown}", getattr(after, what) - getattr(before, what), "<=", 0)
