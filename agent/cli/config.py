"""``voice-agent config``: the effective settings and where each came from."""

from __future__ import annotations

from rich.table import Table

from agent.cli.app import ConfigOption, SetOption, app, out, settings_from


@app.command("config")
def show_config(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show every setting, its value, and where that came from."""
    table = Table("setting", "value", "from", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for key, value, origin in settings_from(config, set_).rows():
        changed = not origin.startswith("config/")
        table.add_row(key, value, origin, style="bold" if changed else None)
    out.print(table)
