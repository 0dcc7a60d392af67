"""Writes what `end_of_turn.py` measured to docs/end-of-turn.md, with the curve as docs/end-of-turn.svg."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 460, 70, 30, 20, 60
MAX_MS = 1300.0
COLOURS = {"plain": "#999999", "ours": "#0b6bcb", "perfect words": "#2a9d4a"}
LEGEND = {"plain": "plain silence", "ours": "by evidence", "perfect words": "by evidence, words as said"}


PAGE = """# End of turn: how long a silence ends it

Written by `python benchmarks/end_of_turn.py --docs`. What is measured, and on what, is described there and in
`benchmarks/end_of_turn_set.py`.

![waiting time against false cut-ins](end-of-turn.svg)

At each pause there are two mistakes: waiting for nothing, and speaking into a turn that goes on. Plain
silence trades one for the other along the grey curve. `pipelines.endpoint` knows the words so far, how they
sounded and how this caller pauses, and waits as long as that makes sensible: the blue curve, with the words
as the recogniser here heard them. The green one has the words that were really said, without punctuation:
what a better recogniser would bring.

All figures are of the held-out part: other sentences in other voices than those the weights were fitted to,
and everything recorded. The words are taken to be there {words_known_ms:.0f} ms after the last sound. Silence
is counted from the last sound that the voice activity detection found (median {vad_lag_ms:.0f} ms after the
last sample within 40 dB of the loudest). "Cut in" is the share of the pauses inside turns, of at least
200 ms, at which the agent would have started to speak.

```
{table}
```

```
{bars}
```

{machine}: {turns} turns, {ends} ends and {inner} pauses inside turns, of which
{held_out_ends} and {held_out_inner} are held out. There are {people} recordings of people. All else is
synthetic, and the pauses put in are drawn from a distribution, so the absolute figures are worth less than
the difference between the curves. Synthetic voices end their sentences with a plainer fall than people do,
and these people read aloud: see their own rows. "Second thought" is whole sentences that go on after all,
which nobody could know. The weights come from the fitting half alone. The lists of words, how much a
caller's own pauses count and how patient it is as shipped were chosen with both halves in sight: that much
the held-out part has been seen.
"""


def write(folder: Path, result: dict[str, Any], table: str, bars: list[str]) -> None:
    machine = f"Measured on {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    page = PAGE.format(**result, table=table, bars="\n".join(bars), machine=machine)
    (folder / "end-of-turn.md").write_text(page, encoding="utf-8")
    picture = curve(result["curves"], result["at_600"]["cut_in"])
    (folder / "end-of-turn.svg").write_text(picture, encoding="utf-8")


def curve(curves: dict[str, list[dict[str, float]]], at_600: float) -> str:
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13"'
    middle_x, middle_y = (WIDTH + LEFT) // 2, HEIGHT // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(),
        _line([(at_600, 0.0), (at_600, MAX_MS)], "#cc4444", "4 4"),
        _text(_x(at_600) + 5, TOP + 12, "as often as 600 ms of silence", "start", "#cc4444"),
        _text(middle_x, HEIGHT - 14, "cut in: share of the pauses inside turns"),
        f'<g transform="translate(18 {middle_y}) rotate(-90)">',
        _text(0, 0, "silence waited at the end, ms (line: median, dots: 95 %)"),
        "</g>",
    ]
    for row, (name, points) in enumerate(curves.items()):
        parts.append(_line([(p["cut_in"], p["median_ms"]) for p in points], COLOURS[name], width=2.5))
        parts.append(_line([(p["cut_in"], p["p95_ms"]) for p in points], COLOURS[name], "2 3"))
        parts.append(_text(WIDTH - RIGHT - 10, TOP + 40 + 20 * row, LEGEND[name], "end", COLOURS[name]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid() -> Iterator[str]:
    for ms in range(0, int(MAX_MS) + 1, 200):
        yield _line([(0.0, ms), (1.0, ms)], "#e6e6e6")
        yield _text(LEFT - 8, _y(ms) + 4, str(ms), "end")
    for percent in range(0, 101, 20):
        yield _line([(percent / 100, 0.0), (percent / 100, MAX_MS)], "#e6e6e6")
        yield _text(_x(percent / 100), HEIGHT - BOTTOM + 18, f"{percent} %")


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#333333") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(ms: float) -> float:
    return HEIGHT - BOTTOM - min(ms, MAX_MS) / MAX_MS * (HEIGHT - TOP - BOTTOM)


def _line(points: list[tuple[float, float]], colour: str, dash: str = "none", width: float = 1.0) -> str:
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    style = f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"'
    return f'<polyline points="{path}" {style}/>'
