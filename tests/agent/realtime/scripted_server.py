"""A server that says exactly what it is told to, byte for byte, whether a server may say it or not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from agent.realtime.frames import Direct
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Connected, Event

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    """One WebSocket frame as servers send it: not masked (RFC 6455, section 5.2)."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + bytes([126]) + struct.pack("!H", len(payload)) + payload
    return head + bytes([127]) + struct.pack("!Q", len(payload)) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


class Wire:
    """The server's end of one TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        #: The request as it came, once `request` has read it.
        self.request_text = ""

    async def request(self) -> str:
        """Read the HTTP request."""
        self.request_text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return self.request_text

    async def accept(self) -> None:
        """Read the request and switch to WebSocket."""
        await self.request()
        headers = dict(line.split(": ", 1) for line in self.request_text.split("\r\n")[1:-2])
        key = headers["Sec-WebSocket-Key"].encode()
        answer = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
        )

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    def say(self, *texts: str) -> None:
        """Send text frames."""
        for text in texts:
            self.raw(frame(TEXT, text.encode()))

    async def flush(self) -> None:
        await self._writer.drain()

    async def hear(self) -> tuple[int, bytes]:
        """The next frame of the client: opcode and payload, unmasked."""
        first, second = await self._reader.readexactly(2)
        assert second & 0x80, "clients must mask"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length)
        return first & 0x0F, bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))

    async def hear_text(self) -> str:
        opcode, payload = await self.hear()
        assert opcode == TEXT, (opcode, payload)
        return payload.decode()

    async def hear_close(self) -> int:
        """The code the client closes with; what else it says before is passed over."""
        while True:
            opcode, payload = await self.hear()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def until_gone(self) -> None:
        """Listen, and answer nothing but a goodbye, until the client has gone."""
        while True:
            opcode, payload = await self.hear()
            if opcode == CLOSE:
                self.raw(frame(CLOSE, payload))
                await self.flush()
                return

    def abort(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Wire], Awaitable[object]]


@asynccontextmanager
async def scripted_server(*scripts: Script) -> AsyncIterator[str]:
    """Plays one script per connection, the last one for all that follow. What fails in one fails here."""
    remaining = list(scripts)
    playing: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        playing.add(task)
        script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        try:
            # That the client goes is how most scripts end.
            with suppress(asyncio.IncompleteReadError, OSError):
                await script(Wire(reader, writer))
        except Exception as error:
            failures.append(error)
        finally:
            playing.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(play, "127.0.0.1", 0, limit=2**22)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
    assert not failures, failures


WELCOME = '{"type":"welcome","peerId":"me","expiresAt":null,"serverTime":1715535600,"maxMessageSize":65536}'
#: Nested deeper than anybody reads.
DEEP = "[" * 100_000 + "]" * 100_000
#: Sent behind what is tested: when it arrives, the connection has survived.
MARK = '{"type":"direct","from":"mark","data":"mark"}'
MARKED = Direct("mark", "mark")


def saying(*texts: str) -> Script:
    """Welcomes, says something, and listens to the end."""

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME, *texts)
        await wire.until_gone()

    return script


def sending(data: bytes) -> Script:
    """Welcomes and sends raw bytes."""

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        wire.raw(data)
        await wire.until_gone()

    return script


def welcome(**fields: Any) -> str:
    """The frame with other `fields`; one that is ``...`` is left out."""
    body = {"type": "welcome", "peerId": "me", "expiresAt": None, "serverTime": 1, "maxMessageSize": 65536}
    body |= fields
    return json.dumps({name: value for name, value in body.items() if value is not ...})


async def events_until_mark(url: str, **options: Any) -> list[Event]:
    """What a client tells before the mark, without its `Connected`."""
    seen: list[Event] = []
    async with SignallingClient(url, key="k", **options) as client:
        assert isinstance(await anext(client.events()), Connected)
        async for event in client.events():
            if event == MARKED:
                break
            seen.append(event)
    return seen
