"""``voice-agent replay``: recorded callers against a fresh agent, with a verdict for each."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agent.cli.app import ConfigOption, SetOption, app, err, fail, out, settings_from
from agent.cli.serve import describe, engine_table
from agent.client import ServiceAddressError, ServiceClient, ServiceError
from agent.recording import AudioFileError, read_audio
from agent.replay import (
    Observation,
    Sample,
    SampleError,
    Verdict,
    find_samples,
    judge,
    load_sample,
    play_sample,
)
from agent.replay.report import show, to_json, to_junit
from agent.service import running_service
from agent.settings import Settings, SettingsError
from pipelines.base import EngineError


@dataclass(frozen=True, slots=True)
class _Job:
    samples: list[Sample]
    out_dir: Path
    service_url: str | None
    jobs: int


@app.command()
def replay(  # noqa: PLR0917 (named on the command line)
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Sample files (*.yaml), or folders of them; default: samples/")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Where the answers' WAVs go.")] = Path(
        "replay-out"
    ),
    junit: Annotated[
        Path | None, typer.Option(help="Write JUnit XML to this file.", show_default=False)
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all results to this file.", show_default=False)
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--service", help="Use this running service; default: one of its own, just for this."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=32, help="Samples at the same time.")] = 1,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Play recorded callers to an agent, in real time over WebRTC, and judge its answers.

    Exit codes: 0 all is as expected, 1 it is not, 2 a sample or the command is wrong.
    """
    settings = settings_from(config, set_).settings
    if settings.log.level == "info":
        # The table says what matters here.
        logging.getLogger().setLevel(logging.ERROR)
    try:
        samples = _load(paths or [Path("samples")])
    except (SampleError, AudioFileError) as error:
        fail(str(error), code=2)
    began_s = time.monotonic()
    try:
        verdicts = asyncio.run(_run(_Job(samples, out_dir, service, jobs), settings))
        show(verdicts, out)
        if junit is not None:
            junit.write_text(to_junit(verdicts, time.monotonic() - began_s), "utf-8")
        if json_file is not None:
            json_file.write_text(to_json(verdicts), "utf-8")
    except ServiceAddressError as error:
        fail(str(error), code=2)
    except (ServiceError, SettingsError, EngineError, OSError) as error:
        fail(describe(error))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _load(paths: list[Path]) -> list[Sample]:
    samples = [load_sample(path) for path in find_samples(paths)]
    for wav in dict.fromkeys(wav for sample in samples for wav in sample.wavs):
        # Found out now and not after minutes of playing.
        read_audio(wav)
    return samples


async def _run(job: _Job, settings: Settings) -> list[Verdict]:
    async with AsyncExitStack() as stack:
        url = job.service_url
        if url is None:
            with err.status("loading engines …"):
                # Its own service, for nobody else: any free port of this machine.
                options = settings.server.model_copy(update={"host": "127.0.0.1", "port": 0})
                running = running_service(settings.model_copy(update={"server": options}))
                own = await stack.enter_async_context(running)
            err.print(engine_table(own.engines.report()))
            url = own.url
        key = settings.server.api_key
        client = ServiceClient(url, api_key=key.get_secret_value() if key else None)
        return await _play_all(job, await stack.enter_async_context(client))


async def _play_all(job: _Job, service: ServiceClient) -> list[Verdict]:
    languages = tuple(
        code
        for engine in (await service.about()).engines
        if engine.kind == "stt"
        for code in engine.languages
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    turn = asyncio.Semaphore(job.jobs)
    with Progress(*columns, console=err, transient=True) as progress:
        overall = progress.add_task("samples", total=len(job.samples))

        async def play(sample: Sample) -> Verdict:
            async with turn:
                shown = progress.add_task(f"playing {sample.name}", total=None)
                silent = sample.expectation(languages).silent
                try:
                    seen = await play_sample(sample, service, silent=silent, out_dir=job.out_dir)
                except ServiceError as error:
                    seen = Observation(failure=str(error))
                progress.remove_task(shown)
                progress.advance(overall)
                return await asyncio.to_thread(judge, sample, seen, languages)

        async with asyncio.TaskGroup() as tasks:
            playing = [tasks.create_task(play(sample)) for sample in job.samples]
        return [task.result() for task in playing]
