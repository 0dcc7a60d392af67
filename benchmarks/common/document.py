"""docs/benchmarks.md: one section for each program, written by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Every section is what the last full run of its program printed, written by the program, not by hand.
"""


def write_section(program: str, text: str, document: Path = DOCUMENT) -> None:
    """Put `text` (Markdown, its headings from ``##`` on) in place of what `program` wrote before."""
    begin, end = f"<!-- {program} -->", f"<!-- end of {program} -->"
    section = f"{begin}\n\n{text.strip()}\n\n{end}\n"
    content = document.read_text("utf-8") if document.is_file() else _HEAD
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    if pattern.search(content):
        content = pattern.sub(lambda _: section, content)
    else:
        content = f"{content.rstrip()}\n\n{section}"
    document.write_text(content, "utf-8")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
