"""A language model of known speed, the same for every system: OpenAI's chat completions, streamed.

    python -m benchmarks.common.chat_server NOTE_FILE

The first token comes `FIRST_TOKEN_MS` after the request, each further one `TOKEN_MS` later, on a clock that
does not drift. It answers what the note says (see `benchmarks.common.said`), whatever it is asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from benchmarks.common.said import Note
from benchmarks.common.setup import announce

FIRST_TOKEN_MS = 100.0
TOKEN_MS = 20.0
FALLBACK_REPLY = "I am here. What can I do for you?"


def tokens(text: str) -> list[str]:
    """Words with the space before them, and punctuation apart, as tokenizers of language models cut."""
    return re.findall(r"\s?[\w'’]+|\s?[^\w\s]", text)


def app(note: Note) -> FastAPI:
    service = FastAPI()

    @service.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        began_s = time.monotonic()
        body: dict[str, Any] = await request.json()
        said = note.read()
        reply = tokens(said.reply if said else FALLBACK_REPLY)
        if body.get("stream"):
            return StreamingResponse(_stream(reply, began_s), media_type="text/event-stream")
        await _until(began_s, len(reply) - 1)
        message = {"role": "assistant", "content": "".join(reply)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return JSONResponse(_envelope("chat.completion") | {"choices": choices})

    return service


async def _stream(reply: list[str], began_s: float) -> AsyncIterator[str]:
    for number, token in enumerate(reply):
        await _until(began_s, number)
        yield _event({"role": "assistant", "content": token}, None)
    yield _event({}, "stop")
    yield "data: [DONE]\n\n"


async def _until(began_s: float, number: int) -> None:
    due_s = began_s + (FIRST_TOKEN_MS + TOKEN_MS * number) / 1000
    await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _event(delta: dict[str, str], finish_reason: str | None) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return f"data: {json.dumps(_envelope('chat.completion.chunk') | {'choices': choices})}\n\n"


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chat-1", "object": kind, "created": int(time.time()), "model": "benchmark"}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    announce(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    config = uvicorn.Config(app(Note(Path(sys.argv[1]))), log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
