"""The way of sound in and out, and for how many calls: ours beside plain aiortc and the vendor's client.

    python benchmarks/media_path.py [PART ...] [--quick] [--json FILE] [--peers none|all|aiortc|vendor]

Every part is a module of `benchmarks.media`, says there what it measures, and can be run alone: clicks,
voice, words, cpu, density, setups, soak, profile. Without any, all are run, for about an hour. A full run of
a part writes its section of docs/benchmarks.md. The machine should have nothing else to do. A bar that is
missed, or a part that fails, ends it with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.metadata
import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from benchmarks.common.document import write_section  # noqa: E402
from benchmarks.common.figures import finish, machine  # noqa: E402
from benchmarks.media import clicks, cpu, density, profile, setups, soak, voice, words  # noqa: E402
from benchmarks.media.part import Found, Part, Plan, UnfitError  # noqa: E402
from benchmarks.media.sides import SystemName  # noqa: E402

PARTS: dict[str, Part] = {
    "clicks": clicks.measure,
    "voice": voice.measure,
    "words": words.measure,
    "cpu": cpu.measure,
    "density": density.measure,
    "setups": setups.measure,
    "soak": soak.measure,
    "profile": profile.measure,
}
PEERS: tuple[SystemName, ...] = ("aiortc", "vendor")


def main() -> None:
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 160)
    plan = Plan(arguments.quick, systems(arguments.peers, console), console)
    figures: dict[str, Any] = {}
    bars: list[str] = []
    failed: list[str] = []
    for name in arguments.part or PARTS:
        try:
            found = asyncio.run(PARTS[name](plan))
        except UnfitError as error:
            console.print(f"[red]{name}: no figures: {error}", highlight=False)
            failed.append(name)
            continue
        except Exception:
            # The others take an hour; they shall not be for nothing.
            console.print_exception()
            failed.append(name)
            continue
        figures[name] = found.figures
        bars += found.bars
        for table in found.tables:
            table.show(console)
        if not plan.quick and arguments.peers == "all":
            write_section(f"media_path {name}", section(name, found, plan))
            console.print(f"written: docs/benchmarks.md, {found.heading}")
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if failed:
        for line in bars:
            print(line)
        sys.exit(f"failed: {', '.join(failed)}")
    finish(bars)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few of everything, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    parser.add_argument("--peers", choices=("none", "all", *PEERS), default="all")
    arguments = parser.parse_args()
    if unknown := set(arguments.part) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return arguments


def systems(peers: str, console: Console) -> tuple[SystemName, ...]:
    chosen = tuple(peer for peer in PEERS if peers in {"all", peer})
    if "vendor" in chosen and importlib.util.find_spec("metered_realtime") is None:
        console.print("[yellow]without the vendor's client: install this project with its extra `test`")
        chosen = tuple(peer for peer in chosen if peer != "vendor")
    return ("ours", *chosen)


def section(name: str, found: Found, plan: Plan) -> str:
    versions = [f"aiortc {importlib.metadata.version('aiortc')}"]
    if "vendor" in plan.systems:
        versions.append(f"metered-realtime {importlib.metadata.version('metered-realtime')}")
    return "\n\n".join(
        (
            f"## The media path: {found.heading[0].lower()}{found.heading[1:]}",
            f"`python benchmarks/media_path.py {name}`, {datetime.date.today():%d %B %Y}, {machine()}, "
            f"Python {platform.python_version()}, {', '.join(versions)}.",
            found.markdown(),
        )
    )


if __name__ == "__main__":
    main()
