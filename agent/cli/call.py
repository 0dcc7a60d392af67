"""``voice-agent call``: act as a caller: play a sound file to an agent, hear and save the answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.status import Status
from rich.text import Text

from agent.call_log import Line, TurnLatency
from agent.caller import Caller, CallFailedError, News
from agent.cli.app import ConfigOption, SetOption, app, err, fail, out, settings_from
from agent.client import ServiceAddressError, ServiceClient, ServiceError, service_url
from agent.dispatch.base import ROOM_PATTERN
from agent.recording import AudioFileError, Int16, read_audio, write_wav

#: How long the agent may be silent before it is taken to have no greeting, or nothing more to say.
SETTLED_MS = 1500.0


@dataclass(frozen=True, slots=True)
class _Call:
    room: str
    name: str
    samples: Int16
    reply_path: Path | None
    service_url: str
    api_key: str | None
    #: None: talk to the agent that is in the room already.
    agent: dict[str, str | None] | None
    timeout_s: float


@app.command()
def call(  # noqa: PLR0917 (named on the command line)
    room: Annotated[str, typer.Argument(help="The room to call, e.g. lobby.")],
    wav: Annotated[Path, typer.Option("--wav", "-w", help="What to say: any sound file.")],
    reply: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save what was heard as this WAV.", show_default=False)
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--service", help="Address of the service; default: as the settings say."),
    ] = None,
    persona: Annotated[str | None, typer.Option(help="Who is to answer.", show_default=False)] = None,
    language: Annotated[str | None, typer.Option(help="What is spoken, e.g. de.", show_default=False)] = None,
    greeting: Annotated[
        str | None, typer.Option(help="What the agent says first; '' for nothing.", show_default=False)
    ] = None,
    dispatch: Annotated[
        bool, typer.Option("--dispatch/--no-dispatch", help="Bring an agent into the room first.")
    ] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, max=600, help="Seconds to wait.")] = 30.0,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Call an agent: play a sound file to it, show both sides' words, save the answer.

    Exit codes: 0 it answered, 1 it did not or the call failed, 2 the command was wrong.
    """
    if not ROOM_PATTERN.fullmatch(room):
        fail("a room has 1 to 128 letters, digits, '.', '_', '-' or '/', the first a letter or digit", code=2)
    settings = settings_from(config, set_).settings
    try:
        samples = read_audio(wav)
    except AudioFileError as error:
        fail(str(error), code=2)
    key = settings.server.api_key
    job = _Call(
        room,
        wav.name,
        samples,
        reply,
        service or service_url(settings),
        key.get_secret_value() if key else None,
        {"persona": persona, "language": language, "greeting": greeting} if dispatch else None,
        timeout_s,
    )
    try:
        answered = asyncio.run(_call(job))
    except ServiceAddressError as error:
        fail(str(error), code=2)
    except (ServiceError, CallFailedError, OSError) as error:
        fail(str(error))
    if not answered:
        fail("the agent did not answer")


async def _call(job: _Call) -> bool:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(ServiceClient(job.service_url, api_key=job.api_key))
        status = stack.enter_context(err.status("calling …"))
        agent_peer = None
        if job.agent is not None:
            agent, is_ours = await service.dispatch(job.room, **job.agent)
            agent_peer = agent.peer_id
            if is_ours:
                stack.push_async_callback(service.remove, agent.id)
            for warning in agent.warnings:
                err.print("warning:", warning, style="yellow", markup=False, highlight=False)
        caller = await stack.enter_async_context(
            Caller(service, job.room, agent_peer_id=agent_peer, on_news=lambda news: _show(news, status))
        )
        await caller.ready(job.timeout_s)
        await caller.wait_for_quiet(SETTLED_MS, job.timeout_s)
        status.update(f"playing {job.name} …")
        spoken = await caller.say(job.name, job.samples)
        status.update("waiting for the answer …")
        await caller.wait_for_reply(job.timeout_s)
        status.stop()
        return _conclude(caller, spoken.said_by_ms, job.reply_path)


def _conclude(caller: Caller, said_by_ms: float, reply_path: Path | None) -> bool:
    answer = next((sound for sound in caller.heard() if sound.start_ms >= said_by_ms), None)
    if reply_path is not None:
        write_wav(reply_path, caller.recording.render()[1])
        err.print(f"saved what was heard to {reply_path}", markup=False, highlight=False, soft_wrap=True)
    if answer is None:
        return False
    out.print(f"first sound of the answer after {answer.start_ms - said_by_ms:.0f} ms", highlight=False)
    return True


def _show(news: News, status: Status) -> None:
    match news:
        case Line(final=False):
            status.update(Text(f"{_who(news)}: {news.text} …", style="dim"))
        case Line() if news.text:
            cut = " — (interrupted)" if news.interrupted else ""
            out.print(Text.assemble((f"{_who(news)}: ", "bold"), news.text, (cut, "dim")))
        case TurnLatency(_, total_ms, steps_ms):
            steps = ", ".join(f"{name.removesuffix('_ms')} {ms:.0f}" for name, ms in steps_ms.items() if ms)
            out.print(Text(f"answered within {total_ms:.0f} ms ({steps})", style="dim"))
        case str():
            err.print("the agent reports:", news, style="yellow", markup=False, highlight=False)


def _who(line: Line) -> str:
    return "you" if line.speaker == "caller" else "agent"
