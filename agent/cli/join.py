"""``voice-agent join``: one agent in one room, in the foreground."""

from __future__ import annotations

import asyncio
import secrets
import signal
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from agent.access import ROLE_AGENT, Access, PeerAccess
from agent.cli.app import ConfigOption, SetOption, app, err, fail, settings_from
from agent.cli.progress import DownloadProgress
from agent.cli.serve import describe, engine_table
from agent.client import ServiceAddressError, ServiceClient, ServiceError, service_url
from agent.dispatch.base import (
    ROOM_PATTERN,
    AgentRequest,
    DispatchError,
    UnknownPersonaError,
    reason_of,
)
from agent.personas import Personas
from agent.realtime.signalling.opening import check_url
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
    except ServiceAddressError as error:
        fail(str(error), code=2)
    except (SettingsError, EngineError, DispatchError, ServiceError) as error:
        fail(describe(error))
    except BaseExceptionGroup as group:
        reason = reason_of(group)
        if reason is None:
            raise
        fail(reason)


async def _join(settings: Settings, request: AgentRequest, service: str | None) -> None:
    persona = Personas(settings.agents.personas_dir).for_request(request)
    agent_id = secrets.token_hex(6)
    async with AsyncExitStack() as stack:
        if settings.rooms.embedded:
            key = settings.server.api_key
            client = ServiceClient(
                service or service_url(settings), api_key=key.get_secret_value() if key else None
            )
            await stack.enter_async_context(client)
            access = await _service_access(client, request.room, persona.name)
        else:
            rooms = Access(settings.rooms, local=True)
            stack.push_async_callback(rooms.close)
            access = rooms.for_agent(agent_id, request.room, persona.name)
        with DownloadProgress(err) as progress:
            engines = await Engines.load(
                settings.models,
                settings.stt,
                settings.tts,
                settings.llm,
                end_of_turn_model=settings.turns.end_of_turn_model,
                progress=progress,
            )
        stack.push_async_callback(engines.close)
        settle_memory()
        err.print(engine_table(engines.report()))
        worker = Worker(agent_id, request, persona, access=access, engines=engines, settings=settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, worker.leave)
        async with asyncio.TaskGroup() as tasks:
            announcing = tasks.create_task(_announce(worker))
            await worker.run()
            announcing.cancel()


async def _announce(worker: Worker) -> None:
    await worker.joined.wait()
    for warning in worker.warnings:
        err.print("warning:", warning, style="yellow", markup=False)
    err.print(f"In room {worker.request.room}, listening.  (Ctrl-C leaves.)", markup=False)


async def _service_access(service: ServiceClient, room: str, name: str) -> PeerAccess:
    """An agent's access to a room of a running service, renewed at every reconnect."""
    first = await service.access(room, name, role=ROLE_AGENT)
    try:
        check_url(first.url)
    except ValueError:
        raise DispatchError(
            f"the rooms of {service.url} are not encrypted, so they can be joined on its own machine only; "
            "from elsewhere its address has to be one with https://"
        ) from None

    if first.key is not None:
        return PeerAccess(first.url, key=first.key)

    async def provide() -> str:
        access = await service.access(room, name, role=ROLE_AGENT)
        assert access.token is not None
        return access.token

    return PeerAccess(first.url, token_provider=provide)
