"""How long the agent waits at the end of a turn, against how often it speaks into one.

    python benchmarks/end_of_turn.py [--quick] [--json FILE] [--peers none|all|plain] [--docs] [--fit]
                                     [--audio DIR] [--models DIR]

The labelled set (`end_of_turn_set.py`) goes through the parts of a call: voice activity detection, prosody,
recogniser, `pipelines.endpoint`. The peer is plain silence at several lengths, which is what most agents do.
`--docs` writes docs/end-of-turn.md and its picture; `--fit` prints the weights that the fitting half gives.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import end_of_turn_docs
import numpy as np
from end_of_turn_fit import fitted
from end_of_turn_pauses import WORDS_KNOWN_MS, Decide, Pause, answered_ms, heard, ours, plain
from end_of_turn_set import Turn, labelled_set

from benchmarks.common.figures import bar, finish
from pipelines.endpoint.decision import PATIENCE

PLAIN_MS = (300, 400, 500, 600, 700, 800, 1000, 1200)
PATIENCES = tuple(np.round(np.arange(-1.0, 4.01, 0.1), 2).tolist())
#: Heard by a recogniser that knows these very sentences: shown, but not counted.
NOT_COUNTED = "callers, whisper-mini"
MAX_MEDIAN_MS = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a way to decide does: silence waited at ends, and the share of inner pauses it speaks into."""

    median_ms: float
    p95_ms: float
    worst_ms: float
    cut_in: float


def outcome(pauses: list[Pause], decide: Decide, *, with_truth: bool = False) -> Outcome:
    answered = [(answered_ms(pause, decide, with_truth=with_truth), pause.length_ms) for pause in pauses]
    waited = [ms for ms, length_ms in answered if length_ms is None] or [float("nan")]
    cut = [ms < length_ms for ms, length_ms in answered if length_ms is not None] or [float("nan")]
    median, p95, worst = np.percentile(waited, (50, 95, 100)).tolist()
    return Outcome(median, p95, worst, float(np.mean(cut)))


def at_rate(curve: list[tuple[float, Outcome]], cut_in: float) -> tuple[float, Outcome]:
    """The fastest point of the curve that cuts in at most so often."""
    fit = [point for point in curve if point[1].cut_in <= cut_in]
    return min(fit, key=lambda point: point[1].median_ms) if fit else curve[-1]


def measure(turns: list[Turn], pauses: list[Pause]) -> dict[str, Any]:
    counted = [p for p in pauses if p.category != NOT_COUNTED]
    held_out = [p for p in counted if p.is_held_out]
    curves = {
        "plain": [(float(ms), outcome(held_out, plain(ms))) for ms in range(200, 1501, 50)],
        "ours": [(c, outcome(held_out, ours(c))) for c in PATIENCES],
        "perfect words": [(c, outcome(held_out, ours(c), with_truth=True)) for c in PATIENCES],
    }
    at_600, at_800 = outcome(held_out, plain(600)), outcome(held_out, plain(800))
    people = [p for p in held_out if p.category.startswith("people")]
    return {
        "words_known_ms": WORDS_KNOWN_MS,
        "patience": PATIENCE,
        "turns": len(turns),
        "people": len({t.caller for t in turns if t.category.startswith("people")}),
        **_counts("", counted),
        **_counts("held_out_", held_out),
        "at_600": asdict(at_600),
        "plain": {ms: asdict(outcome(held_out, plain(ms))) for ms in PLAIN_MS},
        "shipped": asdict(outcome(held_out, ours())),
        "shipped_perfect_words": asdict(outcome(held_out, ours(), with_truth=True)),
        "fit_shipped": asdict(outcome([p for p in counted if not p.is_held_out], ours())),
        "fit_at_600": asdict(outcome([p for p in counted if not p.is_held_out], plain(600))),
        "same_rate": asdict(at_rate(curves["ours"], at_600.cut_in)[1]),
        "same_rate_800": asdict(at_rate(curves["ours"], at_800.cut_in)[1]),
        "people_alone": _people(people),
        "curves": {name: [{"at": at, **asdict(o)} for at, o in points] for name, points in curves.items()},
        "categories": _categories([p for p in pauses if p.is_held_out]),
        "without": _without(held_out, at_600.cut_in),
        "vad_lag_ms": float(np.median([p.vad_lag_ms for p in held_out if p.length_ms is None])),
    }


def _people(pauses: list[Pause]) -> dict[str, Any]:
    """The recorded people alone, at the rate of cut-ins that 600 ms of silence have on them."""
    cut_in = outcome(pauses, plain(600)).cut_in
    curve = [(c, outcome(pauses, ours(c))) for c in PATIENCES]
    true_curve = [(c, outcome(pauses, ours(c), with_truth=True)) for c in PATIENCES]
    return {
        **_counts("", pauses),
        "as often as 600 ms": asdict(at_rate(curve, cut_in)[1]),
        "with words as said": asdict(at_rate(true_curve, cut_in)[1]),
    }


def _without(pauses: list[Pause], cut_in: float) -> dict[str, Any]:
    """The outcome with a piece of evidence taken away, at the same rate of cut-ins."""
    changes: dict[str, dict[str, Any]] = {
        "words": {"text": ""},
        "prosody": {"prosody": None},
        "the caller's habit": {"pauses_ms": ()},
    }
    found = {}
    for name, change in changes.items():
        less = [replace(p, evidence=replace(p.evidence, **change)) for p in pauses]
        found[name] = asdict(at_rate([(c, outcome(less, ours(c))) for c in PATIENCES], cut_in)[1])
    return found


def _counts(prefix: str, pauses: list[Pause]) -> dict[str, int]:
    ends = sum(p.length_ms is None for p in pauses)
    return {f"{prefix}ends": ends, f"{prefix}inner": len(pauses) - ends}


def _categories(pauses: list[Pause]) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for name in dict.fromkeys(p.category for p in pauses):
        group = [p for p in pauses if p.category == name]
        groups[name] = {
            **_counts("", group),
            "ours": asdict(outcome(group, ours())),
            "at_600": asdict(outcome(group, plain(600))),
        }
    return groups


def show(result: dict[str, Any]) -> str:
    return "\n".join(_table(result))


def _table(result: dict[str, Any]) -> Iterator[str]:
    head = f"{'ends':>5} {'inner':>6} {'median':>8} {'p95':>8} {'worst':>8} {'cut in':>8}"
    yield f"{'held out':28s} {head}  at 600 ms"
    n = f"{result['held_out_ends']:5d} {result['held_out_inner']:6d}"
    for ms, row in result["plain"].items():
        yield f"{f'plain silence {ms} ms':28s} {n} {_row(row)}"
    yield f"{'by evidence, as shipped':28s} {n} {_row(result['shipped'])}"
    yield f"{'  as often as 600 ms':28s} {n} {_row(result['same_rate'])}"
    yield f"{'  as often as 800 ms':28s} {n} {_row(result['same_rate_800'])}"
    yield f"{'  with the words as said':28s} {n} {_row(result['shipped_perfect_words'])}"
    for name, row in result["without"].items():
        yield f"{'  without ' + name:28s} {n} {_row(row)}"
    people = result["people_alone"]
    for name in ("as often as 600 ms", "with words as said"):
        n = f"{people['ends']:5d} {people['inner']:6d}"
        yield f"{'people ' + name:28s} {n} {_row(people[name])}"
    yield ""
    for name, group in result["categories"].items():
        count = f"{group['ends']:5d} {group['inner']:6d}"
        yield f"{name:28s} {count} {_row(group['ours'])} {_share(group['at_600']['cut_in']):>9}"


def _row(row: dict[str, float]) -> str:
    waited = " ".join(f"{row[name]:5.0f} ms" for name in ("median_ms", "p95_ms", "worst_ms"))
    return f"{waited} {_share(row['cut_in']):>8}"


def _share(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def bars(result: dict[str, Any]) -> list[str]:
    wanted = [
        (
            "median silence with as many cut-ins as 600 ms of silence, ms",
            result["same_rate"]["median_ms"],
            MAX_MEDIAN_MS,
        ),
        ("cut-ins as shipped, %", 100 * result["shipped"]["cut_in"], 100 * result["at_600"]["cut_in"]),
        ("median silence as shipped, ms", result["shipped"]["median_ms"], MAX_MEDIAN_MS),
    ]
    return [bar(name, value, "<=", limit) for name, value, limit in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the set")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peers", choices=("none", "all", "plain"), default="all", help="costs nothing")
    parser.add_argument("--docs", action="store_true", help="write docs/end-of-turn.md and .svg")
    parser.add_argument("--fit", action="store_true", help="print the weights the fitting half gives")
    parser.add_argument(
        "--audio", type=Path, default=os.environ.get("VOICE_AGENT_TEST_AUDIO", "../shared/audio")
    )
    parser.add_argument(
        "--models", type=Path, default=os.environ.get("VOICE_AGENT_TEST_MODELS", "../shared/models")
    )
    options = parser.parse_args()
    turns = labelled_set(options.audio, options.models, 20 if options.quick else 1)
    pauses = heard(turns, options.models)
    if options.fit:
        for name, weight in fitted([p for p in pauses if not p.is_held_out]).items():
            print(f"    {name:28s} {weight:6.2f}")
    result = measure(turns, pauses)
    if options.peers == "none":
        result["plain"] = {}
    print(show(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    if options.docs:
        end_of_turn_docs.write(Path("docs"), result, show(result), bars(result))
    finish(bars(result))


if __name__ == "__main__":
    main()
