"""How long it takes from a click at the sender to the reader of the received track.

    python benchmarks/media_path.py [--quick] [--json FILE] [--peers none|all|aiortc] [--clicks N]

A sender on plain aiortc plays clicks to two receivers at the same time, each in a process of its own: ours,
and plain aiortc. The packets of both suffer the same on their way, in the sender, after they were encrypted.
A full run writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.metadata
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import av  # noqa: E402
import numpy as np  # noqa: E402
from aiortc import (  # noqa: E402
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.realtime.playout import FRAME_SAMPLES, RATE_HZ, Pacer  # noqa: E402
from benchmarks.common.document import write_section  # noqa: E402
from benchmarks.common.figures import Spread, bar, machine  # noqa: E402
from tests.netlab.path import Conditions, Fate  # noqa: E402

CLICKS = 200
QUICK_CLICKS = 12
#: More than any system delays, so that a click cannot be taken for the one before.
PERIOD_S = 0.5
#: At the beginning and at the end, when nothing is measured.
MARGIN_S = 1.0
BURST_S = 0.2
#: After a burst, and how many clicks are then counted, how often.
AFTER_S, AFTER_CLICKS, BURSTS = 10.0, 10, 5
QUICK_AFTER_S = 3.0

SYSTEMS = ("ours", "aiortc")
TITLES = {"ours": "ours", "aiortc": "plain aiortc"}
CLEAN, BURST = "clean", "after a burst"
PATHS = {
    CLEAN: Conditions(),
    "1 % loss": Conditions(loss=0.01),
    "5 % loss": Conditions(loss=0.05),
    "10 % loss": Conditions(loss=0.1),
    "30 ms jitter": Conditions(jitter_ms=30),
}
QUICK_PATHS = (CLEAN, "5 % loss")


@dataclass(frozen=True)
class Result:
    """What one receiver heard on one path."""

    path: str
    system: str
    clicks: int
    #: From the moment a click was handed to the sender to the moment the reader had it, of those heard.
    delays_ms: list[float]
    #: How much of the time sent came out as sound, made up or not.
    sound_share: float
    #: How much of a core the receiver used, of which nobody did anything with the sound.
    cpu_share: float


def main() -> None:
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 160)
    systems = SYSTEMS[:1] if arguments.peers == "none" else SYSTEMS
    results = asyncio.run(measure(systems, arguments, console))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    rows = list(table(results))
    show(rows, console)
    if not arguments.quick and systems == SYSTEMS:
        write_section("media_path", document(rows, arguments.clicks))
        console.print("written: docs/benchmarks.md")
    for line in bars(results):
        console.print(line, highlight=False)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few clicks on two paths and after one burst")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single delay there")
    parser.add_argument("--peers", choices=("none", "all", "aiortc"), default="all")
    parser.add_argument("--clicks", type=int, default=CLICKS, metavar="N", help="on each path")
    return parser.parse_args()


# ---- sending ----------------------------------------------------------------------------------------


class Clicks(MediaStreamTrack):
    """20 ms frames in real time, almost silent; some are clicks. Notes when each of those is handed over."""

    kind = "audio"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.at_s: list[float] = []
        self.frames = 0
        self._pacer = Pacer()
        self._clicked = asyncio.Event()
        self._random = random.Random(seed)
        self._next = round(MARGIN_S * RATE_HZ / FRAME_SAMPLES)
        noise = np.random.default_rng(seed).normal(0, 30, FRAME_SAMPLES)
        self._quiet = noise.astype(np.int16)
        self._click = (20_000 * np.sin(2 * np.pi * 1000 * np.arange(FRAME_SAMPLES) / RATE_HZ)).astype(
            np.int16
        )

    async def played(self, count: int) -> None:
        """Return when there were so many."""
        while len(self.at_s) < count:
            self._clicked.clear()
            await self._clicked.wait()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(self._pacer.delay_s(time.monotonic()))
        is_click = self.frames == self._next
        frame = av.AudioFrame.from_ndarray(
            (self._click if is_click else self._quiet)[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = self.frames * FRAME_SAMPLES
        self.frames += 1
        if is_click:
            self.at_s.append(time.monotonic())
            self._clicked.set()
            # No rhythm that others might have, too.
            self._next += round(PERIOD_S * RATE_HZ / FRAME_SAMPLES) + self._random.randrange(6)
        return frame


class Way:
    """What happens to the packets of sound on their way to one receiver."""

    def __init__(self, pc: RTCPeerConnection, seed: int) -> None:
        self.conditions = Conditions()
        transport: Any = pc.getSenders()[0].transport.transport
        self._send: Callable[[bytes], Awaitable[None]] = transport._send
        self._fate = Fate(seed)
        self._sending: set[asyncio.Task[None]] = set()
        transport._send = self._take

    async def _take(self, data: bytes) -> None:
        is_sound = 127 < data[0] < 192 and not 64 <= data[1] & 127 <= 95
        if not is_sound or self.conditions == Conditions():
            await self._send(data)
            return
        now_s = time.monotonic()
        if not self.conditions.up or self._fate.is_lost(self.conditions, now_s):
            return
        delay_s = self._fate.due_s(self.conditions, now_s) - now_s
        asyncio.get_running_loop().call_later(delay_s, self._start, data)

    def _start(self, data: bytes) -> None:
        task = asyncio.ensure_future(self._deliver(data))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, data: bytes) -> None:
        # What was still under way when the connection was closed.
        with suppress(ConnectionError):
            await self._send(data)


@dataclass
class Ears:
    """A receiver in a process of its own, and the connection to it."""

    system: str
    process: asyncio.subprocess.Process
    clicks: Clicks
    way: Way

    async def heard(self) -> dict[str, Any]:
        """Everything it heard; it ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        heard: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return heard


@asynccontextmanager
async def connected(system: str, seed: int) -> AsyncIterator[Ears]:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    is_connected = asyncio.Event()

    @pc.on("connectionstatechange")
    def state_changed() -> None:
        if pc.connectionState == "connected":
            is_connected.set()

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.common.click_ears",
        system,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        clicks = Clicks(seed)
        pc.addTrack(clicks)
        await pc.setLocalDescription(await pc.createOffer())
        process.stdin.write(json.dumps(pc.localDescription.sdp).encode() + b"\n")
        answer = json.loads(await process.stdout.readline())
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await is_connected.wait()
        yield Ears(system, process, clicks, Way(pc, seed))
    finally:
        await pc.close()
        process.stdin.close()
        await process.wait()


# ---- measuring --------------------------------------------------------------------------------------


async def measure(systems: Sequence[str], arguments: argparse.Namespace, console: Console) -> list[Result]:
    count = QUICK_CLICKS if arguments.quick else arguments.clicks
    results: list[Result] = []
    for path in QUICK_PATHS if arguments.quick else PATHS:
        with console.status(path):
            results += await on_path(path, systems, count)
    with console.status(BURST):
        after: dict[str, list[Result]] = {system: [] for system in systems}
        for number in range(1 if arguments.quick else BURSTS):
            after_s = QUICK_AFTER_S if arguments.quick else AFTER_S
            for result in await after_burst(systems, number, after_s):
                after[result.system].append(result)
    return results + [together(each) for each in after.values()]


async def on_path(path: str, systems: Sequence[str], count: int) -> list[Result]:
    async with AsyncExitStack() as stack:
        ears = [await stack.enter_async_context(connected(system, seed=7)) for system in systems]
        for each in ears:
            each.way.conditions = PATHS[path]
        await clicks_played(ears, count)
        return [await result(path, each, 0.0, count) for each in ears]


async def after_burst(systems: Sequence[str], number: int, after_s: float) -> list[Result]:
    """Of clicks from `after_s` after a burst of losses on."""
    async with AsyncExitStack() as stack:
        ears = [await stack.enter_async_context(connected(system, seed=number)) for system in systems]
        await clicks_played(ears, 4)
        for each in ears:
            each.way.conditions = Conditions(up=False)
        await asyncio.sleep(BURST_S)
        for each in ears:
            each.way.conditions = Conditions()
        await asyncio.sleep(after_s)
        from_s = time.monotonic()
        before = max(len(each.clicks.at_s) for each in ears)
        await clicks_played(ears, before + AFTER_CLICKS)
        return [await result(BURST, each, from_s, AFTER_CLICKS) for each in ears]


async def clicks_played(ears: Sequence[Ears], count: int) -> None:
    for each in ears:
        await each.clicks.played(count)
    await asyncio.sleep(MARGIN_S)


async def result(path: str, ears: Ears, from_s: float, count: int) -> Result:
    sent_ms = ears.clicks.frames * 1000 * FRAME_SAMPLES / RATE_HZ
    heard = await ears.heard()
    played = [at_s for at_s in ears.clicks.at_s if at_s >= from_s][:count]
    delays = [
        (min(later) - at_s) * 1000
        for at_s in played
        if (later := [s for s in heard["clicks_s"] if at_s <= s < at_s + PERIOD_S])
    ]
    return Result(path, ears.system, len(played), delays, heard["heard_ms"] / sent_ms, heard["cpu_share"])


def together(results: Sequence[Result]) -> Result:
    first = results[0]
    return Result(
        first.path,
        first.system,
        sum(each.clicks for each in results),
        [delay for each in results for delay in each.delays_ms],
        sum(each.sound_share for each in results) / len(results),
        sum(each.cpu_share for each in results) / len(results),
    )


# ---- telling ----------------------------------------------------------------------------------------

HEADINGS = (
    "path",
    "receiver",
    "clicks",
    "heard",
    "click to ear: median / p95 / worst, ms",
    "sound, % of time",
)


def table(results: Iterable[Result]) -> Iterable[tuple[str, ...]]:
    for each in results:
        yield (
            each.path,
            TITLES[each.system],
            str(each.clicks),
            str(len(each.delays_ms)),
            str(Spread.of(each.delays_ms) or "-"),
            f"{100 * each.sound_share:.1f}",
            f"{60 * each.cpu_share:.2f}",
        )


def show(rows: Iterable[tuple[str, ...]], console: Console) -> None:
    shown = Table(*HEADINGS)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def document(rows: Sequence[tuple[str, ...]], clicks: int) -> str:
    lines = [
        "## The way of sound in",
        "",
        f"`python benchmarks/media_path.py --clicks {clicks}`, {datetime.date.today():%d %B %Y}, {machine()},"
        f" aiortc {importlib.metadata.version('aiortc')}. From a click handed to a sender on plain aiortc to"
        " the reader of the received track in another process; both receivers at the same time, on one path."
        f" After a burst: {AFTER_S:.0f} s after {1000 * BURST_S:.0f} ms without a packet.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"|{'---|' * len(HEADINGS)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


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
    yield bar("later after a burst than on a clean path, ms", late, "<=", 10)


if __name__ == "__main__":
    main()
