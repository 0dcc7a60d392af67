"""One line over calls, as a picture for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 70, 20, 20, 60
LINE, GRID, TEXT = "#0b6bcb", "#e6e6e6", "#333333"
#: So many lines of the grid, about.
LINES = 6


def plot(points: Sequence[tuple[float, float]], *, across: str, up: str) -> str:
    """An SVG with `points` (x, y) as a line; both axes begin at 0."""
    most_x, most_y = (_above(max(point[axis] for point in points)) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + x / most_x * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / most_y * (HEIGHT - TOP - BOTTOM),
        )

    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for y in _ticks(most_y):
        (left, level), (right, _) = place(0, y), place(most_x, y)
        parts.append(f'<path d="M{left:.1f} {level:.1f}H{right:.1f}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 8, level + 4, f"{y:g}", "end"))
    parts += [_text(place(x, 0)[0], HEIGHT - BOTTOM + 18, f"{x:g}") for x in _ticks(most_x)]
    parts += [
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across),
        f'<g transform="translate(18 {(TOP + HEIGHT - BOTTOM) // 2}) rotate(-90)">{_text(0, 0, up)}</g>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _above(value: float) -> float:
    """The end of an axis: the next line of the grid."""
    step = _step(value)
    return max(step, math.ceil(value / step) * step)


def _step(value: float) -> float:
    """1, 2 or 5 times a power of ten."""
    rough = max(value, 1e-9) / LINES
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _ticks(most: float) -> Iterator[float]:
    step = _step(most)
    return (step * number for number in range(int(most / step + 0.5) + 1))


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{TEXT}">{text}</text>'
