"""From a click handed to a caller's packets to the reader of the received track, on paths good and bad."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import numpy as np

from agent.recording import RATE_HZ
from benchmarks.common.figures import Spread, bar
from benchmarks.common.sound import FRAME_SAMPLES
from benchmarks.media.agent import hub
from benchmarks.media.caller import callers
from benchmarks.media.calls import Calls, calls_with
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import FRAME_S, click, packets
from tests.netlab.path import Conditions, Fate

CALLS, CLICKS = 4, 50
QUICK_CALLS, QUICK_CLICKS = 2, 6
#: More than any system delays, so that a click cannot be taken for the one before.
PERIOD_S = 0.5
#: At the beginning and at the end, when nothing is measured.
MARGIN_S = 1.0
BURST_S = 0.2
#: After a burst, and how many clicks are then counted, in how many calls.
AFTER_S, AFTER_CLICKS, BURST_CALLS = 10.0, 20, 10
QUICK_AFTER_S, QUICK_AFTER_CLICKS = 3.0, 5
JITTER_MS = 30
#: One packet in so many takes a packet's length longer than the next: two even chances.
OVERTAKEN = 2 / (1 - 1000 * FRAME_S / JITTER_MS) ** 2
#: Of all clicks, on a path that loses none of them.
LEAST_HEARD = 0.98

CLEAN, BURST = "clean", f"after {1000 * BURST_S:.0f} ms without a packet"
PATHS = {
    CLEAN: Conditions(),
    "1 % loss": Conditions(loss=0.01),
    "5 % loss": Conditions(loss=0.05),
    "10 % loss": Conditions(loss=0.1),
    f"{JITTER_MS} ms jitter": Conditions(jitter_ms=JITTER_MS),
}
QUICK_PATHS = (CLEAN, "5 % loss")


@dataclass(frozen=True)
class Result:
    """What one system heard on one path."""

    path: str
    system: SystemName
    calls: int
    clicks: int
    #: From the moment a click was sent to the moment the reader had it, of those heard.
    delays_ms: list[float]
    #: How much of the time sent came out as sound, made up or not.
    sound_share: float


class Path:
    """What becomes of the packets of one caller, and when those with clicks were handed over."""

    def __init__(self, clicks: Collection[int], conditions: Conditions, lost: range, seed: int) -> None:
        self.at_s: dict[int, float] = {}
        self._clicks = clicks
        self._conditions = conditions
        self._lost = lost
        self._fate, self._delays = Fate(seed), random.Random(seed)

    def __call__(self, number: int, data: bytes, send: Callable[[bytes], None]) -> None:
        now_s = time.monotonic()
        if number in self._clicks:
            self.at_s.setdefault(number, now_s)
        if number in self._lost or self._fate.is_lost(self._conditions, now_s):
            return
        if self._conditions.jitter_ms:
            asyncio.get_running_loop().call_later(self.delay_s(), send, data)
        else:
            send(data)

    def delay_s(self) -> float:
        """Of the next packet, whatever the others take: one that takes long is overtaken."""
        return self._conditions.jitter_ms / 1000 * self._delays.random()


def click_numbers(count: int, from_s: float, seed: int) -> list[int]:
    """Packets that hold a click: no rhythm that others might have, too."""
    gaps = random.Random(seed)
    numbers = [round(from_s / FRAME_S)]
    while len(numbers) < count:
        numbers.append(numbers[-1] + round(PERIOD_S / FRAME_S) + gaps.randrange(6))
    return numbers


def sound(numbers: Sequence[int]) -> tuple[bytes, ...]:
    """Almost silence with clicks in it, as a browser sends it, `MARGIN_S` longer than the last of them."""
    frames = numbers[-1] + round(MARGIN_S / FRAME_S)
    samples = np.random.default_rng(1).normal(0, 30, (frames, FRAME_SAMPLES))
    samples[list(numbers)] = click(RATE_HZ)
    return packets(samples.ravel().astype(np.int16), expected_loss=0.05)


@dataclass(frozen=True)
class Scene:
    """The same for all systems: a call for each of `clicks`, the numbers of the packets that hold one."""

    name: str
    conditions: Conditions
    clicks: Sequence[Sequence[int]]
    #: Packets that are lost whatever the conditions.
    lost: range = range(0)


# ---- measuring


async def measure(plan: Plan) -> Found:
    """Click to ear; see the module."""
    results: list[Result] = []
    for scene in scenes(quick=plan.quick):
        with plan.console.status(scene.name):
            results += await heard(scene, plan.systems)
    return Found(
        "Click to ear",
        [INTRODUCTION, table(results)],
        list(bars(results)),
        [asdict(result) for result in results],
    )


def scenes(*, quick: bool) -> Iterator[Scene]:
    calls, clicks = (QUICK_CALLS, QUICK_CLICKS) if quick else (CALLS, CLICKS)
    for path in QUICK_PATHS if quick else PATHS:
        yield Scene(path, PATHS[path], [click_numbers(clicks, MARGIN_S, seed) for seed in range(calls)])
    after_s, clicks = (QUICK_AFTER_S, QUICK_AFTER_CLICKS) if quick else (AFTER_S, AFTER_CLICKS)
    calls = QUICK_CALLS if quick else BURST_CALLS
    begin = round(2 * MARGIN_S / FRAME_S)
    lost = range(begin, begin + round(BURST_S / FRAME_S))
    numbers = [click_numbers(clicks, lost.stop * FRAME_S + after_s, seed) for seed in range(calls)]
    yield Scene(BURST, PATHS[CLEAN], numbers, lost)


async def heard(scene: Scene, systems: Iterable[SystemName]) -> list[Result]:
    """All systems at the same time, each in a process of its own."""
    said = [sound(each) for each in scene.clicks]
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(hub())
        ticking = await stack.enter_async_context(callers())
        everyone = []
        for system in systems:
            calls = await stack.enter_async_context(calls_with(system, running, ticking, attention="clicks"))
            everyone.append(asyncio.create_task(one_system(scene, said, calls)))
        return await asyncio.gather(*everyone)


async def one_system(scene: Scene, said: Sequence[Sequence[bytes]], calls: Calls) -> Result:
    async def one_call(seed: int) -> tuple[int, list[float], float]:
        path = Path(frozenset(scene.clicks[seed]), scene.conditions, scene.lost, seed)
        caller = await calls.add("none", said[seed], path)
        await caller.has_said(len(said[seed]))
        told = await calls.agent.ask("heard", number=caller.number)
        delays = [
            (min(later) - at_s) * 1000
            for at_s in path.at_s.values()
            if (later := [s for s in told["clicks_s"] if at_s <= s < at_s + PERIOD_S])
        ]
        return len(path.at_s), delays, told["heard_ms"] / (len(said[seed]) * 1000 * FRAME_S)

    each = await asyncio.gather(*(one_call(seed) for seed in range(len(scene.clicks))))
    return Result(
        scene.name,
        calls.agent.setup.system,
        len(each),
        sum(clicks for clicks, _, _ in each),
        [delay for _, delays, _ in each for delay in delays],
        sum(share for _, _, share in each) / len(each),
    )


# ---- telling

INTRODUCTION = f"""From a click leaving the caller in a packet to the reader of the received track, who wants
mono at 16 kHz. Every system has a process of its own and the same calls at the same time, with the same
losses: {CALLS} calls of {CLICKS} clicks on each path, {BURST_CALLS} of {AFTER_CLICKS} from
{AFTER_S:.0f} s after the burst on. The caller's packets tell of the one before (in-band FEC), as a browser's
do. With jitter every packet takes between 0 and {JITTER_MS} ms longer, whatever the others take, so that one
in {OVERTAKEN:.0f} is overtaken by the next: who receives them has to wait for both. "Sound" is how much of
the time sent came out, made up or not."""


def table(results: Iterable[Result]) -> Table:
    headings = (
        "path",
        "receiver",
        "clicks",
        "heard",
        "click to ear: median / p95 / worst, ms",
        "sound, % of time",
    )
    return Table(
        headings,
        [
            (
                each.path,
                TITLES[each.system],
                str(each.clicks),
                str(len(each.delays_ms)),
                str(Spread.of(each.delays_ms) or "-"),
                f"{100 * each.sound_share:.1f}",
            )
            for each in results
        ],
    )


def bars(results: Sequence[Result]) -> Iterable[str]:
    median = {
        (each.path, each.system): spread.median
        for each in results
        if (spread := Spread.of(each.delays_ms)) is not None
    }
    ours, plain = median.get((CLEAN, "ours")), median.get((CLEAN, "aiortc"))
    if plain is not None:
        yield bar("clean click to ear, of plain aiortc's", None if ours is None else ours / plain, "<=", 0.6)
    after = median.get((BURST, "ours"))
    late = None if after is None or ours is None else after - ours
    for path in (CLEAN, BURST):
        said = sum(each.clicks for each in results if (each.path, each.system) == (path, "ours"))
        heard = sum(len(each.delays_ms) for each in results if (each.path, each.system) == (path, "ours"))
        yield bar(f"clicks heard, {path}, share", heard / said if said else None, ">=", LEAST_HEARD)
    yield bar("later after a burst than on a clean path, ms", late, "<=", 10)
