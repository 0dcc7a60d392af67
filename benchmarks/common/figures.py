"""Figures and the lines that benchmarks end with."""

from __future__ import annotations

import math
import operator
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` values: the middle one, the one that 95 of 100 do not exceed, the greatest."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None when there are no values."""
        ordered = sorted(values)
        if not ordered:
            return None
        return cls(len(ordered), statistics.median(ordered), percentile(ordered, 95), ordered[-1])

    def __str__(self) -> str:
        return f"{self.median:.0f} / {self.p95:.0f} / {self.worst:.0f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that is not exceeded by `percent` of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def bar(what: str, value: float | None, op: str, limit: float | None) -> str:
    """``bar: <what> <value> <op> <limit> ok``, or ``short``; a figure that is missing falls short."""
    shown = [("-" if number is None else f"{number:.4g}") for number in (value, limit)]
    is_met = value is not None and limit is not None and _OPERATORS[op](value, limit)
    return f"bar: {what} {shown[0]} {op} {shown[1]} {'ok' if is_met else 'short'}"


def finish(bars: Iterable[str]) -> None:
    """Print them, and end the program with 1 when one falls short: everything else is written by then."""
    short = 0
    for line in bars:
        print(line)
        short += line.endswith(" short")
    if short:
        sys.exit(f"bars missed: {short}")


def machine() -> str:
    """The machine in words: processor, cores, system."""
    named = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return f"{next(named, platform.machine())}, {os.cpu_count()} cores, {platform.system()}"
