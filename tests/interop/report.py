"""Runs the interop tests and writes what came out as docs/interop.md: ``python -m tests.interop.report``.

The file is the same after every run with the same results: no date, no durations.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.browsers import chromium
from tests.interop.pages import CLIENT

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "interop.md"

#: The tests of each pair, by file. What pairs a file holds is told by the parameters of its tests.
FILES = {
    "test_interop_python.py": "Our peer and the vendor's Python client",
    "test_vendor_media.py": "Our peer and the vendor's Python client: tracks that change",
    "test_interop_browser.py": "Our peer and the vendor's JavaScript client in Chromium",
    "test_interop_page.py": "Our page in Chromium, with our peer and with the vendor's Python client",
    "test_interop_agent.py": "A whole agent and the vendor's JavaScript client in Chromium",
    "test_hub_vendor.py": "Our hub and the vendor's Python signalling client",
}
WHOLE_AGENT = "tests/agent/test_service.py::test_the_vendors_own_client_calls_the_agent"
PLACES = ("tests/interop", "tests/agent/realtime/test_vendor_media.py", "tests/agent/hub/test_hub_vendor.py")

HEAD = """# Interoperability

What was run against clients that nobody here wrote, with which version and what result. Written by
`python -m tests.interop.report`; not to be edited.

In each test both ends are real: real sockets, real WebRTC, real Opus, a real browser. Each end says a
tone, and the other must hear that pitch; messages go to everybody and to one. "polite" and "impolite" say
whether we give way when both offer at once, as the order of the peer ids decides; "first" and "second", when
we join. A lost server is a TCP connection cut without a word; a lost path is one that carries nothing any
more, or that the client in question takes for lost.
What bad networks do to a call is in [networks.md](networks.md).
"""

#: Client, limit, what it means.
LIMITS = (
    (
        "JavaScript",
        "It looks track metadata up by the id of the received track. Where it sends a microphone itself, "
        "that track has a random id.",
        "Our metadata is `undefined` there. The stream id is right every time, and is what our voice should "
        "be known by. A client that only listens gets the metadata.",
    ),
    (
        "JavaScript, Python",
        "They make a new connection after every reconnect of their signalling.",
        "Sound is interrupted for a moment when they lose the server, and not when we do.",
    ),
    (
        "Python",
        "It gives a connection up for good once the other side has closed it.",
        "We replace a connection without closing the old one first.",
    ),
    (
        "JavaScript",
        "Its client has no time limit for an answer. Where it yields to another offer, Chromium now and then "
        "has no addresses for the answer.",
        "With the vendor's Python client both wait for ever; we start over after some seconds.",
    ),
    (
        "JavaScript, Python",
        "Data channels are lost with the connection.",
        "Who opened a channel opens it again.",
    ),
)


class Results:
    """What each test came to, as pytest tells it."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail"):
            self.by_test[report.nodeid] = f"known to fail: {report.wasxfail}"
        elif report.failed:
            self.by_test[report.nodeid] = "**failed**"
        elif report.skipped:
            self.by_test[report.nodeid] = "skipped"
        elif report.when == "call":
            self.by_test[report.nodeid] = "passed"


def main() -> int:
    results = Results()
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "-m", "network or not network", *PLACES, WHOLE_AGENT],
        plugins=[results],
    )
    TARGET.write_text(page(results.by_test))
    counts: dict[str, int] = defaultdict(int)
    for outcome in results.by_test.values():
        counts[outcome.split(":")[0].strip("*")] += 1
    print(f"{TARGET.relative_to(ROOT)}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    return int(counts["failed"] > 0 or counts["skipped"] > 0)


def page(outcomes: dict[str, str]) -> str:
    parts = [HEAD, versions()]
    for file, title in FILES.items():
        here = {test: outcome for test, outcome in outcomes.items() if f"/{file}::" in test}
        parts.append(table(title, here))
    agent = {test: outcome for test, outcome in outcomes.items() if test.startswith(WHOLE_AGENT)}
    parts.append(table("A whole agent and the vendor's Python client", agent))
    parts.append(limits())
    return "\n".join(parts)


def table(title: str, outcomes: dict[str, str]) -> str:
    """One row per test; its variants stand in the second column."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for test, outcome in outcomes.items():
        _, name = test.split("::")
        bare, _, variant = name.removesuffix("]").partition("[")
        rows[bare, outcome].append(variant)
    lines = [f"## {title}", "", "| What | Variants | Result |", "|---|---|---|"]
    for (bare, outcome), variants in rows.items():
        what = re.sub("_", " ", bare.removeprefix("test_")).replace("vendors", "vendor's")
        shown = "; ".join(variant for variant in variants if variant)
        lines.append(f"| {what} | {shown} | {outcome} |")
    return "\n".join([*lines, ""])


def limits() -> str:
    lines = [
        "## What the vendor's clients do not do",
        "",
        "| Client | Limit | What it means |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {client} | {limit} | {means} |" for client, limit, means in LIMITS), ""])


def versions() -> str:
    browser = subprocess.run([chromium(), "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"[\d.]+", browser)
    rows = [
        ("metered-realtime, the vendor's Python client", version("metered-realtime")),
        ("@metered-ca/realtime, the vendor's JavaScript client", client_version()),
        ("Chromium", number[0] if number else "unknown"),
        ("aiortc", version("aiortc")),
        ("aioice", version("aioice")),
        ("Python", platform.python_version()),
    ]
    return "\n".join(["| | Version |", "|---|---|", *(f"| {name} | {number} |" for name, number in rows), ""])


def client_version() -> str:
    return str(json.loads((CLIENT / "package.json").read_text())["version"])


if __name__ == "__main__":
    sys.exit(main())
