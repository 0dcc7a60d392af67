"""``voice-agent join``: one agent in one room, in the foreground."""

from __future__ import annotations

import asyncio
import secrets
import signal
from typing import Annotated

import httpx
import typer

from agent.access import Access, PeerAccess
from agent.cli.app import ConfigOption, SetOption, app, err, fail, settings_from
from agent.cli.progress import DownloadProgress
from agent.cli.serve import describe, engine_table
from agent.dispatch.base import ROOM_PATTERN, AgentRequest, DispatchError, UnknownPersonaError
from agent.personas import Personas
from agent.service import settle_memory
from agent.settings import Settings, SettingsError
from agent.worker import Worker
from pipelines.base import EngineError
from pipelines.engines import Engines


@app.command()
def join(
    room: Annotated[str, typer.Argument(help="The room to join.")],
    persona: Annotated[str, typer.Option("--persona", "-p", help="Who the agent is.")] = "default",
    service: Annotated[
        str | None,
        typer.Option(
            "--service", help="The service whose room it is.", show_default="the one of the settings"
        ),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Join ROOM with one agent, in this process, until Ctrl-C or until the room is empty.

    With Metered keys in the settings the room is there; otherwise it is one of a running
    'voice-agent serve'.
    """
    if not ROOM_PATTERN.fullmatch(room):
        fail(f"a room's name has 1 to 128 letters, digits, '.', '_', '-' or '/'; not {room!r}", code=2)
    settings = settings_from(config, set_).settings
    request = AgentRequest(room, persona)
    try:
        asyncio.run(_join(settings, request, service))
    except UnknownPersonaError as error:
        fail(str(error), code=2)
    except (SettingsError, EngineError, DispatchError) as error:
        fail(describe(error))
    except BaseExceptionGroup as group:
        known, other = group.split(DispatchError)
        if other or known is None:
            raise
        fail(str(known.exceptions[0]))


async def _join(settings: Settings, request: AgentRequest, service: str | None) -> None:
    persona = Personas(settings.agents.personas_dir).for_request(request)
    agent_id = secrets.token_hex(6)
    if settings.rooms.embedded:
        host = "127.0.0.1" if settings.server.is_loopback else settings.server.host
        base_url = service or f"http://{host}:{settings.server.port}"
        access = await _service_access(settings, base_url, request.room, persona.name)
    else:
        access = Access(settings.rooms, local=True).for_agent(agent_id, request.room, persona.name)
    with DownloadProgress(err) as progress:
        engines = await Engines.load(
            settings.models, settings.stt, settings.tts, settings.llm, progress=progress
        )
    settle_memory()
    try:
        err.print(engine_table(engines.report()))
        worker = Worker(agent_id, request, persona, access=access, engines=engines, settings=settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, worker.leave)
        async with asyncio.TaskGroup() as tasks:
            announcing = tasks.create_task(_announce(worker))
            await worker.run()
            announcing.cancel()
    finally:
        await engines.close()


async def _announce(worker: Worker) -> None:
    await worker.joined.wait()
    for warning in worker.warnings:
        err.print("warning:", warning, style="yellow", markup=False)
    err.print(f"In room {worker.request.room}, listening.  (Ctrl-C leaves.)", markup=False)


async def _service_access(settings: Settings, base_url: str, room: str, name: str) -> PeerAccess:
    """Access to a room of a running service, renewed at every reconnect."""

    async def ask() -> dict[str, str]:
        key = settings.server.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        try:
            async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=10) as client:
                response = await client.post("/tokens", json={"room": room, "name": name})
                answer: dict[str, str] = response.raise_for_status().json()
                return answer
        except httpx.HTTPStatusError as error:
            raise DispatchError(f"{base_url} refused: HTTP {error.response.status_code}") from None
        except httpx.HTTPError:
            raise DispatchError(
                f"no service answers at {base_url}: start one with 'voice-agent serve', "
                "or name another with --service"
            ) from None

    async def provide() -> str:
        return (await ask())["token"]

    return PeerAccess((await ask())["url"], token_provider=provide)
