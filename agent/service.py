"""The whole service in one process: engines, embedded hub, controller, page, agents."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import uvicorn

from agent.access import Access
from agent.controller.app import LOCAL_HOSTS, create_app
from agent.controller.parts import Parts, PersonaInfo
from agent.dispatch.local import LocalDispatcher
from agent.hub import UVICORN_OPTIONS
from agent.personas import Personas
from agent.ratelimit import RateLimit, RateLimiter
from agent.serving import WILDCARDS, GracefulServer, listen, reachable
from agent.settings import LOOPBACK_HOSTS, Settings
from pipelines.engines import Engines, Progress

_log = logging.getLogger(__name__)
#: On this machine there are no strangers, but there may be a program gone wild.
_LOCAL_LIMIT = RateLimit(per_minute=6000, burst=600)
#: Where agents find the service that they belong to, when it listens on one address of a network.
_OWN_HOST = "127.0.0.1"
_ADVICE = "choose another with --set server.port=…"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that takes requests."""

    #: ``http://127.0.0.1:8000``
    url: str
    engines: Engines
    _server: GracefulServer

    async def stopped(self) -> None:
        """Returns when the service is asked to stop (Ctrl-C, SIGTERM)."""
        await self._server.asked_to_stop.wait()


@asynccontextmanager
async def running_service(
    settings: Settings, *, engines: Engines | None = None, progress: Progress | None = None
) -> AsyncIterator[RunningService]:
    """Serve until the block ends; then agents finish their sentences and leave, and everything is closed.

    `engines`: use these, which stay the caller's, instead of loading some. Raises `SettingsError` when the
    settings do not fit this machine and `EngineUnavailableError` when an engine named in them cannot be had.
    """
    personas = Personas(settings.agents.personas_dir)
    access = Access(settings.rooms, local=settings.server.is_local)
    with _listeners(settings.server.host, settings.server.port) as listeners:
        # The first is for everybody, the last for the agents of this process.
        port, own_port = (listeners[n].getsockname()[1] for n in (0, -1))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(access.close)
            if engines is None:
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
            if access.hub is not None:
                access.url = f"ws://{_own_host(settings.server.host)}:{own_port}"
            dispatcher = LocalDispatcher(settings, engines, personas, access)
            server = GracefulServer(_config(settings, personas, dispatcher, access, engines))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(server.serve(sockets=listeners))
            stack.callback(setattr, server, "should_exit", True)
            if access.hub is not None:
                stack.push_async_callback(access.hub.close)
            await stack.enter_async_context(dispatcher)
            yield RunningService(f"http://{reachable(settings.server.host)}:{port}", engines, server)


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight.

    A full collection walks every object of every package: 150-190 ms with the engines loaded, in which no
    call gets a packet. What was loaded once is never garbage; what is left to walk is a few milliseconds.
    """
    gc.collect()
    gc.freeze()


def _config(
    settings: Settings, personas: Personas, dispatcher: LocalDispatcher, access: Access, engines: Engines
) -> uvicorn.Config:
    parts = Parts(
        dispatcher=dispatcher,
        rooms=access,
        engines=engines.report,
        personas=lambda: [PersonaInfo(p.name, p.description, p.language) for p in personas.all()],
        version=version("voice-agent"),
    )
    options = settings.server
    api_key = options.api_key.get_secret_value() if options.api_key else None
    app = create_app(
        parts,
        api_key=api_key,
        allowed_hosts=(*LOCAL_HOSTS, options.host, *options.allowed_hosts),
        local=options.is_local,
        limiter=RateLimiter(_LOCAL_LIMIT if options.is_local else RateLimit()),
    )
    if access.hub is not None:
        app.include_router(access.hub.router)
    # The access log would hold tokens: they are part of the signalling address.
    return uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", **UVICORN_OPTIONS)


@contextmanager
def _listeners(host: str, port: int) -> Iterator[list[socket.socket]]:
    """One socket for `host` and, where that is not reached over loopback, one more that is.

    Agents join their own service's rooms without TLS, which a `Peer` does over loopback only.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(listen(host, port, advice=_ADVICE))]
        if _own_host(host) != reachable(host):
            sockets.append(stack.enter_context(listen(_OWN_HOST, 0, advice=_ADVICE)))
        yield sockets


def _own_host(host: str) -> str:
    """Where this process finds itself."""
    return reachable(host) if host in (*LOOPBACK_HOSTS, *WILDCARDS) else _OWN_HOST
