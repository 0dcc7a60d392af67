"""A real HTTP server for tests of REST clients: it records what it is asked and answers as told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Asked:
    method: str
    #: As it came over the wire, still percent-encoded.
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


Answer = Callable[[Asked], Response | Awaitable[Response]]


def answering(status: int, body: Any, **headers: str) -> Answer:
    """The same answer for everything."""
    return lambda _: JSONResponse(body, status, headers)


@dataclass
class RestServer:
    """Set `answer` to what is to come next; `asked` is every request so far."""

    url: str = ""
    answer: Answer = field(default=lambda _: JSONResponse({"error": "not_found"}, 404))
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        text = await request.body()
        asked = Asked(
            request.method,
            scope["raw_path"].decode(),
            dict(parse_qsl(scope["query_string"].decode(), strict_parsing=bool(scope["query_string"]))),
            dict(request.headers),
            json.loads(text) if text else None,
        )
        self.asked.append(asked)
        answer = self.answer(asked)
        response = answer if isinstance(answer, Response) else await answer
        await response(scope, receive, send)


def _config(app: RestServer) -> uvicorn.Config:
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
    return uvicorn.Config(app, **options, timeout_graceful_shutdown=1)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stop.wait()


@asynccontextmanager
async def rest_server() -> AsyncIterator[RestServer]:
    app = RestServer()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _Server(_config(app))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            try:
                yield app
            finally:
                server.stop.set()
