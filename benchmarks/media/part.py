"""What every part of the benchmark is given, and what it gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table as ShownTable

from benchmarks.common.document import markdown
from benchmarks.media.sides import SystemName

TITLES: dict[SystemName, str] = {"ours": "ours", "aiortc": "plain aiortc", "vendor": "vendor's client"}


class UnfitError(Exception):
    """What was run is not what is to be measured; the message says what was wrong."""


@dataclass(frozen=True)
class Plan:
    quick: bool
    systems: tuple[SystemName, ...]
    console: Console

    def systems_in(self, round_number: int) -> tuple[SystemName, ...]:
        """Every round begins with another: whatever else the machine does befalls them alike."""
        first = round_number % len(self.systems)
        return self.systems[first:] + self.systems[:first]

    def say(self, text: str) -> None:
        """Something that was measured; runs are long."""
        self.console.print(text, highlight=False)


@dataclass(frozen=True)
class Table:
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        return markdown(self.headings, self.rows)

    def show(self, console: Console) -> None:
        shown = ShownTable(*self.headings)
        for row in self.rows:
            shown.add_row(*row)
        console.print(shown)


@dataclass(frozen=True)
class Found:
    """What a part measured: a section of the document, lines about bars, and every single figure."""

    heading: str
    #: Markdown paragraphs and tables in their order.
    body: Sequence[str | Table]
    bars: Sequence[str] = ()
    figures: Any = field(default=None, repr=False)

    @property
    def tables(self) -> list[Table]:
        return [part for part in self.body if isinstance(part, Table)]

    def markdown(self) -> str:
        parts = [part.markdown() if isinstance(part, Table) else part for part in self.body]
        return "\n\n".join(parts)


Part: TypeAlias = Callable[[Plan], Coroutine[Any, Any, Found]]


@contextmanager
def kept_to(core: int | None) -> Iterator[None]:
    """This process, and those it starts meanwhile, stay on one processor."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
