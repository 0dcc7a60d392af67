"""The commands put together, and what all of them share: settings, exit codes, errors without tracebacks."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from agent.settings import Loaded, SettingsError, load_settings

app = typer.Typer(
    name="voice-agent",
    help="An AI voice agent that joins WebRTC rooms, listens, thinks, and answers out loud.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Standard output is for results; everything said on the way goes to standard error.
out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML file with settings of yours.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override one setting, e.g. stt.model=small.", show_default=False),
]

#: Each module adds its commands to `app` when it is imported.
COMMANDS = ("serve", "hub", "join", "call", "replay", "models", "doctor", "config")


def settings_from(config: Path | None, overrides: list[str] | None) -> Loaded:
    """The effective settings; a mistake in them ends the command with exit code 2."""
    try:
        loaded = load_settings(config, overrides=overrides or ())
    except SettingsError as error:
        fail(str(error), code=2)
    logging.basicConfig(
        level=loaded.settings.log.level.upper(),
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=err, show_path=False)],
    )
    for chatty in ("aioice", "aiortc", "httpx", "faster_whisper"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return loaded


def fail(message: str, *, code: int = 1) -> typer.Exit:
    """Say what is wrong and end the command. Exit codes: 1 it did not work, 2 it was asked wrongly."""
    err.print("error:", message, style="red", markup=False, highlight=False)
    raise typer.Exit(code)


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        out.print(version("voice-agent"))
        raise typer.Exit


def run() -> None:
    """Load the commands and do what the command line says."""
    for name in COMMANDS:
        import_module(f"agent.cli.{name}")
    app()
