"""``voice-agent models``: which weights there are, where they live, and fetching more."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from agent.cli.app import ConfigOption, SetOption, app, err, fail, out, settings_from
from agent.cli.progress import DownloadProgress
from agent.cli.serve import describe
from pipelines.base import EngineUnavailableError
from pipelines.models import ModelStore

models = typer.Typer(help="Whisper models and Piper voices: list, fetch, show where they live.")
app.add_typer(models, name="models")

_PURPOSE = {"whisper": "hears", "piper": "speaks"}


@models.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(config: ConfigOption = None, set_: SetOption = None) -> None:
    """List known models and voices, and where those on disk lie."""
    store = ModelStore(settings_from(config, set_).settings.models)
    table = Table("kind", "name", "on disk", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for model in store.known():
        where = str(model.path) if model.path else "[dim]not fetched[/]"
        table.add_row(_PURPOSE[model.kind], model.name, where)
    out.print(table)
    out.print(f"\nWeights live in {store.dir}. Any Piper voice can be named, not only these.")


@models.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="e.g. base.en or en_US-lessac-medium")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fetch models or voices by name, with every checksum compared."""
    with DownloadProgress(err) as progress:
        store = ModelStore(settings_from(config, set_).settings.models, progress=progress)
        for name in names:
            # A voice's name has a locale in it, a Whisper model's has none.
            kind = "piper" if "_" in name else "whisper"
            try:
                path = store.find(kind, name) or store.fetch(kind, name)  # type: ignore[arg-type]
            except EngineUnavailableError as error:
                progress.stop()
                fail(describe(error))
            out.print(f"{name}: {path}", soft_wrap=True)


@models.command()
def path(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Print the folder that weights live in."""
    typer.echo(ModelStore(settings_from(config, set_).settings.models).dir)
