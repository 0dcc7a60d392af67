"""Whether a call comes back after what networks do to it, how fast, and how much of it is lost.

    python benchmarks/networks.py [--quick] [--json FILE] [--peers none|all|vendor] [--repeat N] [--jobs N]

Plays the scenarios of `tests.netlab` in network namespaces, so it has to be root on Linux. The vendor's
Python client is the peer: by itself, and talking to ours. A full run writes docs/networks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.common.figures import bar, finish  # noqa: E402
from tests.netlab import namespaces  # noqa: E402
from tests.netlab.lab import open_lab  # noqa: E402
from tests.netlab.scenarios import ALL, Client, Outcome, Pair, Scenario, play, why_no_turn  # noqa: E402

DOCUMENT = ROOT / "docs" / "networks.md"
VENDOR = "metered-realtime"
#: How long is waited for sound to come back.
WAIT_S = 60.0
REPEAT = 5
QUICK = ("device-down", "hub-killed")
#: Where the page is part of it: what lasts, and what is done to its own side.
IN_THE_PAGE = ("device-down", "outage-45", "address")

NAMES: dict[str, str] = {
    "ours-ours": "ours ↔ ours",
    "ours-vendor": "ours ↔ vendor's",
    "ours-page": "ours ↔ our page in Chromium",
    "vendor-vendor": "vendor's ↔ vendor's",
}


@dataclass(frozen=True)
class Job:
    scenario: Scenario
    pair: Pair
    number: int


def main() -> None:
    arguments = parse()
    if (reason := namespaces.why_not()) is not None:
        sys.exit(f"networks cannot be made bad here: {reason}")
    namespaces.remove_left_over()
    # A pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 160)
    scenarios = [s for s in ALL if not arguments.quick or s.name in QUICK]
    if (reason := why_no_turn()) is not None:
        console.print(f"[yellow]without TURN: {reason}")
        scenarios = [s for s in scenarios if s.turn is None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vendor = None if arguments.peers == "none" else vendor_python(folder, console)
        version = "" if vendor is None else version_in(vendor)
        repeat = 1 if arguments.quick else arguments.repeat
        jobs = list(planned(scenarios, repeat, vendor))
        outcomes = asyncio.run(play_all(jobs, folder, arguments.jobs, console))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    rows = list(table(scenarios, outcomes))
    show(rows, console)
    if not arguments.quick and arguments.peers != "none":
        DOCUMENT.write_text(document(rows, repeat, version))
        console.print(f"written: {DOCUMENT.relative_to(ROOT)}")
    finish(bars(outcomes))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="once, and only what takes seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single outcome there")
    parser.add_argument("--peers", choices=("none", "all", "vendor"), default="all")
    parser.add_argument("--repeat", type=int, default=REPEAT, metavar="N")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="labs at a time"
    )
    return parser.parse_args()


# ---- playing ----------------------------------------------------------------------------------------


def vendor_python(folder: Path, console: Console) -> str:
    """The interpreter of an environment of its own with the vendor's client in it."""
    with console.status(f"installing {VENDOR} into an environment of its own"):
        subprocess.run([sys.executable, "-m", "venv", folder / "vendor"], check=True)
        python = str(folder / "vendor" / "bin" / "python")
        wanted = ("install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt")
        subprocess.run(
            [python, "-m", "pip", *wanted, f"{VENDOR}[webrtc]", "numpy"], check=True, stderr=subprocess.PIPE
        )
    return python


def planned(scenarios: Sequence[Scenario], repeat: int, vendor: str | None) -> Iterable[Job]:
    """Ours and the peer's by turns, so that whatever else the machine does befalls them alike."""
    clients: list[tuple[Client, Client]] = [("ours", "ours")]
    if vendor is not None:
        clients += [("vendor", "vendor"), ("ours", "vendor")]
    for number in range(repeat):
        for scenario in sorted(scenarios, key=lambda s: -s.takes_s):
            with_page: list[tuple[Client, Client]] = (
                [("ours", "page")] if scenario.name in IN_THE_PAGE else []
            )
            for room, caller in clients + with_page:
                # Whose id is the smaller yields when both offer: among equals the one and the other by turns,
                # while the service gives its agents ids that are greater than any caller's.
                room_id = ("agent", "the-agent")[number % 2] if room == caller else "~agent"
                python = vendor or sys.executable
                yield Job(scenario, Pair(room, caller, room_id, vendor_python=python), number)


async def play_all(jobs: Sequence[Job], folder: Path, at_a_time: int, console: Console) -> list[Outcome]:
    outcomes: list[Outcome] = []
    room = asyncio.Semaphore(at_a_time)
    columns = (TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("", total=len(jobs))

        async def run(number: int, job: Job) -> None:
            async with room:
                where = folder / str(number)
                where.mkdir()
                async with open_lab(where, seed=job.number) as lab:
                    outcome = await play(lab, job.scenario, job.pair, wait_s=WAIT_S)
                    logs = lab.logs()
            outcomes.append(outcome)
            said = "-" if outcome.back_after_s is None else f"{outcome.back_after_s:.1f} s"
            progress.console.print(f"{job.scenario.title}, {NAMES[job.pair.name]}: back after {said}")
            if not outcome.back and job.pair.room == "ours":
                progress.console.print({name: log for name, log in logs.items() if log})
            progress.update(bar, advance=1, description=job.scenario.title)

        async with asyncio.TaskGroup() as tasks:
            for number, job in enumerate(jobs):
                tasks.create_task(run(number, job))
    return outcomes


# ---- telling ----------------------------------------------------------------------------------------

HEADER = ("network", "who", "joined after", "sound back", "after", "data after", "longest silence", "missed")


def table(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome]) -> Iterable[tuple[str, ...]]:
    for scenario in scenarios:
        for pair, name in NAMES.items():
            same = [o for o in outcomes if (o.scenario, o.pair) == (scenario.name, pair)]
            if same:
                yield scenario.title, name, *row(scenario, same)


def row(scenario: Scenario, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    back = [o for o in outcomes if o.back]
    missed = [o.missed_s for o in back if o.missed_s is not None]
    listened = [o.listened_s for o in back if o.listened_s]
    is_lasting = scenario.is_lasting
    part = sum(missed) / sum(listened) if listened else 0.0
    return (
        spread(o.connected_after_s for o in outcomes),
        f"{len(back)} of {len(outcomes)}",
        "–" if is_lasting else spread(o.back_after_s for o in back),
        "–" if is_lasting else spread(o.data_back_after_s for o in back),
        spread(o.gap_s for o in back),
        (f"{100 * part:.1f} %" if is_lasting else spread(missed)) if back else "–",
    )


def spread(values: Iterable[float | None]) -> str:
    """Median and worst, in seconds."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f} / {max(known):.1f} s" if known else "–"


def show(rows: Sequence[tuple[str, ...]], console: Console) -> None:
    shown = Table(*HEADER)
    for one in rows:
        shown.add_row(*one)
    console.print(shown)


def document(rows: Sequence[tuple[str, ...]], repeat: int, version: str) -> str:
    lines = [" | ".join(("", *one, "")).strip() for one in (HEADER, ("---",) * len(HEADER), *rows)]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("aiortc", "aioice", "websockets")
    )
    today = datetime.datetime.now(datetime.UTC).date()
    return f"""# Networks that misbehave

Written by `python benchmarks/networks.py` on {today}; not by hand. {machine()}, Python
{platform.python_version()}, {versions}, {VENDOR} {version}.
{repeat} calls each, ours and the vendor's by turns.

Two people talk across a path between two network namespaces, the hub (over TLS) on one side, and both say
tones the other tells apart. Times are median / worst over the calls and the worse of both directions:

- **joined after**: from both joining to both heard, over the path as it is in that row; a dash if they never
  were;
- **sound back**: calls with sound both ways in the end, {WAIT_S:g} s at most after the network works again;
- **after**: from the network working again until sound flows and goes on flowing;
- **data after**: the same for messages through the hub;
- **longest silence**: with no sound at all, from the first fault on;
- **missed**: what was said and not heard, from the first fault on; where the path stays bad, the part of all.

Nobody restarts or calls anything: what comes back comes back by itself. Who yields when both sides offer at
once depends on their ids: our agent's is `~agent` towards other clients, as the service names its agents, and
by turns the smaller and the greater one among equals.

{chr(10).join(lines)}

`make test-network` plays the same scenarios as tests.
"""


def machine() -> str:
    named = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return f"{next(named, platform.machine())}, {os.cpu_count()} cores, {platform.system()}"


def version_in(python: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({VENDOR!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def bars(outcomes: Sequence[Outcome]) -> Iterable[str]:
    ours = [o for o in outcomes if "vendor" not in o.pair]
    back = sum(o.back for o in ours)
    yield bar("calls of ours with sound in the end", back, ">=", len(ours))
    for scenario, limit_s in (("outage-45", 10.0), ("device-down", 5.0), ("address", 10.0)):
        took = [o.back_after_s for o in ours if o.scenario == scenario and o.back_after_s is not None]
        if took:
            yield bar(f"{scenario}: sound back after, s, worst", round(max(took), 1), "<=", limit_s)
    for scenario in ("hub-killed", "signalling"):
        silent = [o.gap_s for o in ours if o.scenario == scenario and o.gap_s is not None]
        if silent:
            yield bar(f"{scenario}: longest silence, s, worst", round(max(silent), 1), "<=", 0.5)


if __name__ == "__main__":
    main()
