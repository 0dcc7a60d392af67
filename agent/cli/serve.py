"""``voice-agent serve``: the service with its page."""

from __future__ import annotations

import asyncio

from rich.table import Table

from agent.cli.app import ConfigOption, SetOption, app, err, fail, settings_from
from agent.cli.progress import DownloadProgress
from agent.service import running_service
from agent.settings import Settings, SettingsError
from pipelines.base import EngineError, EngineInfo

_KINDS = {"stt": "hears with", "llm": "thinks with", "tts": "speaks with"}


@app.command()
def serve(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Start the service: the page, the API, and rooms for agents and callers.

    Ctrl-C lets agents finish their sentence and leave.
    """
    loaded = settings_from(config, set_)
    try:
        asyncio.run(_serve(loaded.settings))
    except (SettingsError, EngineError) as error:
        fail(describe(error))


async def _serve(settings: Settings) -> None:
    with DownloadProgress(err) as progress:
        async with running_service(settings, progress=progress) as service:
            progress.stop()
            err.print(engine_table(service.engines.report()))
            err.print(f"\nOpen [bold link={service.url}]{service.url}[/] and press Call.  (Ctrl-C stops.)\n")
            await service.stopped()
            err.print("Stopping: agents finish their sentence …")


def engine_table(engines: tuple[EngineInfo, ...]) -> Table:
    """Which engine runs and why."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for info in engines:
        table.add_row(_KINDS[info.kind], f"[bold]{info.engine}[/]", info.model, f"[dim]{info.reason}[/]")
    return table


def describe(error: Exception) -> str:
    """The message and, where the error knows one, the fix."""
    fix = getattr(error, "fix", None)
    return f"{error}\n{fix}" if fix else str(error)
