"""What tests of the whole tree share: a real hub on a real port."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

from agent.hub import ALL_ACTIONS, UVICORN_OPTIONS, Hub, HubOptions, PublishableKey, SecretKey, rest_router
from pipelines.engines import Engines
from pipelines.options import LlmOptions, ModelsOptions, SttOptions, TtsOptions

# The same examples in every run, and no clock: a busy machine must not make a test fail.
settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Any:
    """A timeout that goes off inside a callback of the event loop is swallowed there: it goes off again."""
    armed = yield
    remaining_s, _ = signal.getitimer(signal.ITIMER_REAL)
    if remaining_s:
        signal.setitimer(signal.ITIMER_REAL, remaining_s, 1.0)
    return armed


@dataclass(frozen=True)
class RunningHub:
    """A hub served by uvicorn in this event loop."""

    hub: Hub
    #: ``ws://127.0.0.1:PORT``, as clients take it.
    url: str
    port: int
    #: A publishable key that allows everything.
    key: str
    #: A secret pair that allows everything.
    key_id: str
    secret: str


class _Server(uvicorn.Server):
    """Stops when told instead of looking ten times a second whether it should: many tests, many servers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stop.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ctrl-C and SIGTERM are for the test run: kept by this server, which waits for `stop` alone, they
        # would be lost, and a test that waits for ever could not be stopped by anything but SIGKILL.
        yield


StartHub = Callable[..., AbstractAsyncContextManager[RunningHub]]


@asynccontextmanager
async def _start_hub(
    options: HubOptions | None = None, *, port: int = 0, clock: Callable[[], float] = time.time
) -> AsyncIterator[RunningHub]:
    """Serve a hub with `options` and, besides its keys, the two every test needs."""
    key = PublishableKey("pk_live_" + secrets.token_urlsafe(8) + "+/=", actions=ALL_ACTIONS)
    pair = SecretKey("sk_id_" + secrets.token_hex(4), "sk_secret_" + secrets.token_urlsafe(32))
    options = options or HubOptions(connects_per_minute=None)
    options = replace(
        options,
        publishable_keys=(*options.publishable_keys, key),
        secret_keys=(*options.secret_keys, pair),
    )
    hub, app = Hub(options, clock=clock), FastAPI()
    app.include_router(hub.router)
    app.include_router(rest_router(hub))
    # asyncio sends small frames without delay only on sockets that name their protocol.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        # Connections wait in the backlog until the server takes them: no need to wait for it here.
        listener.listen(128)
        port = listener.getsockname()[1]
        server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", **UVICORN_OPTIONS))
        async with asyncio.TaskGroup() as tasks:
            await hub.start()
            serving = tasks.create_task(server.serve(sockets=[listener]))
            try:
                yield RunningHub(hub, f"ws://127.0.0.1:{port}", port, key.key, pair.key_id, pair.secret)
            finally:
                await hub.close()
                server.stop.set()
                # A test that fails must not leave a listener in the loop that the next one shares.
                await asyncio.wait([serving])


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """Commands set the level for their whole process, which here is that of all tests."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


@pytest.fixture
def start_hub() -> StartHub:
    """Starts a hub with options of the test's own: ``async with start_hub(HubOptions(...)) as hub``."""
    return _start_hub


@pytest.fixture
async def hub() -> AsyncIterator[RunningHub]:
    async with _start_hub() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines() -> AsyncIterator[Engines]:
    """The embedded engines, loaded once; tests that use them run on the session's loop."""
    engines = await Engines.load(
        ModelsOptions(fetch=False),
        SttOptions(engine="pocketsphinx"),
        TtsOptions(voice="builtin"),
        LlmOptions(engine="scripted"),
    )
    yield engines
    await engines.close()
