"""Where the processor time of calls goes, in our process: which part of the way takes how much of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePath

from benchmarks.media.calls import calls_with, on_cores_apart
from benchmarks.media.part import Found, Plan, Table
from benchmarks.media.sides import Voice
from benchmarks.media.speech import CYCLE_S, microphone

CALLS = 10
SETTLE_S = 2.0
QUICK_S = 4.0
MOST_FUNCTIONS = 12


@dataclass(frozen=True)
class Function:
    """What the profiler says of one. `own_s` is without, `all_s` with what it calls."""

    file: str
    line: int
    name: str
    calls: int
    own_s: float
    all_s: float

    @property
    def title(self) -> str:
        if not self.file:
            return self.name.strip("<>").removeprefix("built-in method ").removeprefix("method ")
        path = PurePath(self.file)
        return f"{path.parent.name}/{path.name}: {self.name}"


@dataclass(frozen=True)
class Profile:
    title: str
    window_s: float
    functions: list[Function]


#: Directions with how the agent speaks, and whether the caller does.
DIRECTIONS: tuple[tuple[str, Voice, bool], ...] = (("receiving", "none", True), ("sending", "half", False))


async def measure(plan: Plan) -> Found:
    """Profiles; see the module."""
    window_s = QUICK_S if plan.quick else CYCLE_S
    profiles: list[Profile] = []
    for title, voice, is_heard in DIRECTIONS:
        with plan.console.status(title):
            profiles.append(await profiled(title, voice, is_heard, window_s))
    body: list[str | Table] = [INTRODUCTION]
    for profile in profiles:
        body += [f"**{profile.title.capitalize()}**", shares(profile), functions(profile)]
    return Found("Where the time of a call goes", body, (), [asdict(profile) for profile in profiles])


async def profiled(title: str, voice: Voice, is_heard: bool, window_s: float) -> Profile:
    async with (
        on_cores_apart() as (running, ticking, core),
        calls_with("ours", running, ticking, core) as calls,
    ):
        await calls.add_many(CALLS, voice, microphone() if is_heard else ())
        await asyncio.sleep(SETTLE_S)
        await calls.agent.ask("profile", on=True)
        await asyncio.sleep(window_s)
        told = await calls.agent.ask("profile", on=False)
        return Profile(title, window_s, [Function(*each) for each in told["functions"]])


# ---- telling

INTRODUCTION = f"""{CALLS} calls with our side of them in one process, under Python's profiler, which makes
everything take longer, above all what consists of many small functions: the shares say where to look, not
what a call costs. Waiting for packets is left out."""

#: By what is in the file or the name of a function, in this order.
PLACES = (
    ("waiting for packets", ("select.epoll",)),
    ("sending to the network", ("sendto",)),
    ("receiving from the network", ("recvfrom",)),
    ("SRTP", ("pylibsrtp", "protect")),
    ("Opus", ("realtime/opus", "codecs/opus", "av/", "av.")),
    ("room layer", ("realtime/", "agent/")),
    ("aiortc: RTP, RTCP, statistics", ("aiortc/",)),
    ("aioice", ("aioice/",)),
    ("event loop", ("asyncio/", "selectors.py", "_contextvars", "contextvars", "_asyncio")),
    ("numpy", ("numpy", "ndarray")),
)
WAITING = PLACES[0][0]


def place_of(function: Function) -> str:
    text = f"{function.file} {function.name}"
    return next((title for title, marks in PLACES if any(mark in text for mark in marks)), "other")


def shares(profile: Profile) -> Table:
    seconds: defaultdict[str, float] = defaultdict(float)
    for function in profile.functions:
        seconds[place_of(function)] += function.own_s
    seconds.pop(WAITING, None)
    whole = sum(seconds.values())
    return Table(
        (f"{profile.title}: where", "share of the processor time"),
        [
            (place, f"{100 * spent / whole:.0f} %")
            for place, spent in sorted(seconds.items(), key=lambda item: -item[1])
        ],
    )


def functions(profile: Profile) -> Table:
    return Table(
        (
            f"{profile.title}: functions",
            "own, ms per call-second",
            "with what it calls",
            "times per call-second",
        ),
        list(rows(profile)),
    )


def rows(profile: Profile) -> Iterable[tuple[str, ...]]:
    per = CALLS * profile.window_s
    most = sorted((f for f in profile.functions if place_of(f) != WAITING), key=lambda f: -f.own_s)
    for function in most[:MOST_FUNCTIONS]:
        yield (
            function.title,
            f"{1000 * function.own_s / per:.2f}",
            f"{1000 * function.all_s / per:.2f}",
            f"{function.calls / per:.0f}",
        )
