"""``voice-agent doctor``: what is here, what works, and how to fix what does not."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agent.cli.app import ConfigOption, SetOption, app, err, out, settings_from
from agent.doctor import Check, examine

_MARKS = {"ok": Text("ok", "green"), "warn": Text("warn", "yellow"), "fail": Text("FAIL", "bold red")}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Check engines, weights, codecs, ports and servers, and say how to fix what is red.

    Exit codes: 0 nothing is red, 1 something is, 2 the settings are wrong.
    """
    settings = settings_from(config, set_).settings
    if settings.log.level != "debug":
        # What libraries complain about is in the table, in words.
        logging.getLogger().setLevel(logging.CRITICAL)
    with err.status("checking …"):
        checks = asyncio.run(examine(settings))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        _show(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(check.detail)
        if check.fix and check.status != "ok":
            found.append(f"\n→ {check.fix}", "bold" if check.status == "fail" else "dim")
        table.add_row(Text(check.name), _MARKS[check.status], found)
    out.print(table)
    reds = sum(check.status == "fail" for check in checks)
    out.print(f"\n{reds} of {len(checks)} checks are red" if reds else "\nnothing is red", style="bold")
