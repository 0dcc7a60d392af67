"""Verdicts as a table for people, as JUnit XML for build servers, and as JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.replay.judge import Verdict

#: Of each text in the table.
CELL_CHARS = 90
#: What XML 1.0 has no way to write.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def show(verdicts: Sequence[Verdict], console: Console) -> None:
    """The table, and under it why each sample failed."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("sample", no_wrap=True)
    for name in ("heard", "answer"):
        table.add_column(name, overflow="fold", ratio=1)
    for name in ("WER", "first sound", "stop"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in verdicts:
        seen = verdict.observation
        table.add_row(
            verdict.sample.name,
            Text(_short(" ".join(seen.heard))),
            Text(" · ".join(_short(a.text + (" …" if a.interrupted else "")) for a in seen.answers) or "—"),
            "—" if verdict.wer is None else f"{verdict.wer:.2f}",
            _ms(verdict.first_sound_ms),
            _ms(seen.stop_ms() if verdict.expectation.limits.stop_ms_max is not None else None),
            Text("ok", "green") if verdict.passed else Text("FAILED", "bold red"),
        )
    console.print(table)
    for verdict in verdicts:
        if not verdict.passed:
            console.print(Text(f"\n{verdict.sample.name}: {verdict.sample.about}".rstrip(": "), "bold red"))
            for failure in verdict.failures:
                console.print(Text(f"  - {failure}"))
    failed = sum(not verdict.passed for verdict in verdicts)
    console.print(Text(f"\n{len(verdicts) - failed} of {len(verdicts)} samples passed", "bold"))


def to_json(verdicts: Sequence[Verdict]) -> str:
    """Everything known about every sample."""
    report = {"passed": all(v.passed for v in verdicts), "samples": [_facts(v) for v in verdicts]}
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def to_junit(verdicts: Sequence[Verdict], duration_s: float) -> str:
    """One test case for each sample."""
    suite = ElementTree.Element(
        "testsuite",
        name="replay",
        tests=str(len(verdicts)),
        failures=str(sum(not v.passed for v in verdicts)),
        errors="0",
        time=f"{duration_s:.3f}",
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="replay", name=verdict.sample.name)
        if not verdict.passed:
            text = _NOT_XML.sub("\ufffd", "\n".join(verdict.failures))
            ElementTree.SubElement(case, "failure", message=text.splitlines()[0]).text = text
        facts = json.dumps(_facts(verdict), ensure_ascii=True)
        ElementTree.SubElement(case, "system-out").text = facts
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _facts(verdict: Verdict) -> dict[str, Any]:
    seen = verdict.observation
    return {
        "sample": verdict.sample.name,
        "passed": verdict.passed,
        "failures": list(verdict.failures),
        "heard": seen.heard,
        "wer": verdict.wer,
        "answers": [{"text": a.text, "interrupted": a.interrupted} for a in seen.answers],
        "first_sound_ms": [_rounded(ms) for ms in seen.first_sounds_ms()],
        "stop_ms": _rounded(seen.stop_ms()),
        "latencies": [
            {"turn": latency.turn, "total_ms": latency.total_ms, "steps_ms": latency.steps_ms}
            for latency in seen.latencies
        ],
        "recording": str(seen.recording) if seen.recording else None,
    }


def _short(text: str) -> str:
    """A table is for the eye; the whole text is in the JSON."""
    shown = " ".join(text.split())
    if len(shown) > CELL_CHARS:
        return f"{shown[:CELL_CHARS]} […]"
    return shown or "—"


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def _ms(ms: float | None) -> str:
    return "—" if ms is None else f"{ms:.0f} ms"
