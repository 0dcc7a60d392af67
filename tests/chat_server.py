"""A chat-completions endpoint on a real socket that does what the model's name says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

#: Pieces in which the tool call of the model ``tools`` arrives.
TOOL_FRAGMENTS = (
    {"index": 0, "id": "call_a", "type": "function", "function": {"name": "roll_dice", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"si'}},
    {"index": 1, "id": "call_b", "type": "function", "function": {"name": "current_time", "arguments": "{}"}},
    {"index": 0, "function": {"arguments": 'des": 20}'}},
)


class ChatServer:
    """Models: echo, tools, stall-first, stall-middle, cut, unfinished, garbage, empty, status-NNN."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        #: Set when a stream was closed by the client before its end.
        self.gone = threading.Event()
        #: Set when a request came.
        self.asked = threading.Event()
        self._app = FastAPI()
        self._app.post("/v1/chat/completions")(self._complete)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        config = uvicorn.Config(self._app, log_config=None, lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.asked.set()
        self.headers.append(dict(request.headers))
        model: str = body["model"]
        if model.startswith("status-"):
            error = {"message": f"heard {body['messages'][-1]['content']}", "type": "x", "code": "x"}
            headers = {"retry-after": "0"}
            return JSONResponse({"error": error}, status_code=int(model[7:]), headers=headers)
        stream = StreamingResponse(self._stream(model, body), media_type="text/event-stream")
        if model == "cut":
            # Announces more than it sends: the connection breaks in the middle of the body.
            stream.headers["content-length"] = "1000000"
        return stream

    async def _stream(self, model: str, body: dict[str, Any]) -> AsyncIterator[str]:
        try:
            if model == "stall-first":
                await asyncio.sleep(3600)
            if model == "garbage":
                yield "data: {this is not json}\n\n"
                return
            if model == "empty":
                return
            if model == "tools":
                for fragment in TOOL_FRAGMENTS:
                    yield _chunk({"tool_calls": [fragment]})
                yield _chunk({}, finish="tool_calls")
                yield "data: [DONE]\n\n"
                return
            said = body["messages"][-1]["content"] if body["messages"] else ""
            for word in f"You said {said}".split(" "):
                yield _chunk({"content": f"{word} "})
            if model == "stall-middle":
                await asyncio.sleep(3600)
            while model == "endless":
                yield _chunk({"content": "more "})
                await asyncio.sleep(0.01)
            if model in ("cut", "unfinished"):
                return
            yield _chunk({}, finish="stop")
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.gone.set()
            raise


def _chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"
