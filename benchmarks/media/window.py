"""A window of time in calls: what both sides used of their processors, and what sound went through meanwhile.

Whoever neither listens nor speaks costs nothing and is never late. So nothing is made of a window before
what was said, heard and received in it has been looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.common.figures import percentile
from benchmarks.media.caller import Caller
from benchmarks.media.calls import Calls
from benchmarks.media.speech import FRAME_S
from benchmarks.media.wire import lateness_ms

#: Sound for less of the time than this is not a call.
ENOUGH = 0.98
LATE_PERCENT = 99.0
#: Until callers have looked at everything that came within the window.
LOOK_S = 3 * FRAME_S


@dataclass(frozen=True)
class Flow:
    """One call: sound as a share of the time that the window lasted; None where there should not be any."""

    #: By the caller.
    said: float | None
    #: By whoever reads what the agent's side received.
    heard: float | None
    #: From the agent's side to the caller.
    came: float | None
    #: p99 of how late the agent's packets were; those that never came are infinitely late.
    late_ms: float = 0.0


@dataclass(frozen=True)
class Window:
    #: How much of its processor each side used; the callers' with the hub.
    agent_share: float
    callers_share: float
    #: Of the agent's side.
    rss_bytes: int
    flows: Sequence[Flow]


async def watched(calls: Calls, window_s: float) -> Window:
    """Let the calls go on for a while."""
    callers = list(calls.callers)
    since = [len(caller.arrivals) for caller in callers]
    before, used_s = await calls.agent.spent(), await calls.callers_cpu_s()
    said, began_s, from_s = [caller.said for caller in callers], time.monotonic(), time.time()
    await asyncio.sleep(window_s)
    said = [caller.said - earlier for caller, earlier in zip(callers, said, strict=True)]
    lasted_s, until_s = time.monotonic() - began_s, time.time()
    after, used_s = await calls.agent.spent(), await calls.callers_cpu_s() - used_s
    callers_share = used_s / (time.monotonic() - began_s)
    await asyncio.sleep(LOOK_S)
    flows = []
    for caller, packets, first in zip(callers, said, since, strict=True):
        heard_s = (after.heard_ms[caller.number] - before.heard_ms[caller.number]) / 1000
        came, late_ms = received(caller, first, from_s, until_s)
        flows.append(
            Flow(
                packets * FRAME_S / lasted_s if caller.speaks else None,
                heard_s / (after.at_s - before.at_s) if caller.speaks else None,
                came if caller.listens else None,
                late_ms if caller.listens else 0.0,
            )
        )
    return Window(after.cpu_since(before), callers_share, after.rss_bytes, flows)


def received(caller: Caller, first: int, from_s: float, until_s: float) -> tuple[float, float]:
    """How much of the time came, and p99 of how late it was; of the packets from number `first` on."""
    at_s = np.array(caller.arrivals.at_s[first:])
    inside = (at_s >= from_s) & (at_s < until_s)
    timestamps = np.array(caller.arrivals.timestamps[first:], np.int64)[inside]
    late_ms = lateness_ms(at_s[inside], timestamps, until_s - from_s)
    return len(timestamps) * FRAME_S / (until_s - from_s), percentile(late_ms.tolist(), LATE_PERCENT)


def least(shares: Iterable[float | None]) -> float:
    """Of the call that fared worst; 1 when there is none."""
    return min((share for share in shares if share is not None), default=1.0)


def missing(flows: Sequence[Flow]) -> str | None:
    """What there was too little of, in words; None: there was sound wherever there should have been."""
    for what, shares in (
        ("said by a caller", [flow.said for flow in flows]),
        ("heard by the agent's side", [flow.heard for flow in flows]),
        ("received by a caller", [flow.came for flow in flows]),
    ):
        if (share := least(shares)) < ENOUGH:
            return f"sound for {100 * share:.1f} % of the time was {what}, not for {100 * ENOUGH:.0f} %"
    return None
