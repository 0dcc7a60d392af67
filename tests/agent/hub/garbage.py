"""Hostile input for the hub, from a seed: frames and sockets that no well-behaved client sends."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

from tests.conftest import RunningHub

MAX_FRAME_BYTES = 65_536
TYPES = ("subscribe", "unsubscribe", "publish", "send", "ping", "pong", "welcome", "ack", "", "Subscribe")
FIELDS = ("channel", "to", "data", "requestId", "includeSenderMetadata", "type", "from", "__proto__")
#: What is said as it stands, JSON or not.
SNIPPETS = (
    "null",
    "true",
    "0",
    '""',
    "[]",
    "{}",
    "NaN",
    "-Infinity",
    "1e999",
    "-0",
    "9" * 4000,
    "9" * 5000,
    '"\\ud83d"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    '"\\u007f\\u0085"',
    '"é\u2028\U0001f600"',
    '"_metered/x"',
    '"_SYSTEM/x"',
    '"**"',
    '"*"',
    '"pair/*"',
    '"fuzz/*"',
    '"\\\\*"',
    '"' + "x" * 128 + '"',
    '"' + "x" * 129 + '"',
    '"' + "é" * 256 + '"',
    '"' + "x" * 257 + '"',
    '"' + "*/" * 128 + '"',
    "[" * 65 + "]" * 65,
    "[" * 60 + "]" * 60,
    '{"a":' * 63 + "1" + "}" * 63,
)


class Garbage:
    """Texts and bytes by the seed. `names` are channels and peers that exist, to be reached for."""

    def __init__(self, seed: int, names: tuple[str, ...]) -> None:
        self.random = random.Random(seed)
        self._snippets = (*SNIPPETS, *map(json.dumps, names))
        self._right = {
            "channel": [json.dumps(name) for name in names],
            "to": [json.dumps(name) for name in names],
            "type": [f'"{name}"' for name in TYPES[:5]],
            "__proto__": ["{}"],
            "data": ["null", "1", '"é"', '{"a":[1,{}]}'],
            "from": ['"eve"'],
            "requestId": ['"1"', '"é"'],
            "includeSenderMetadata": ["true", "false"],
        }
        self._kinds: dict[Callable[[], str | bytes], int] = {
            self.frame: 12,
            self.cut: 3,
            self.flipped: 3,
            self.text: 2,
            self.bytes: 2,
            self.nested: 1,
            self.large: 1,
        }

    def one(self) -> str | bytes:
        """Anything of at most `MAX_FRAME_BYTES`; str can be written as UTF-8."""
        [kind] = self.random.choices(list(self._kinds), list(self._kinds.values()))
        return kind()

    def frame(self) -> str:
        """An object with fields of the protocol, right or wrong."""
        pick = self.random.choice
        fields = [f'"type":"{pick(TYPES)}"'] if self.random.random() < 0.95 else []
        for name in self.random.sample(FIELDS, self.random.randint(0, len(FIELDS))):
            right = self.random.random() < 0.9 and name in self._right
            fields.append(f"{json.dumps(name)}:{pick(self._right[name] if right else self._snippets)}")
        self.random.shuffle(fields)
        return "{" + ",".join(fields) + "}"

    def cut(self) -> str:
        text = self.frame()
        return text[: self.random.randrange(len(text))]

    def flipped(self) -> str:
        text = list(self.frame())
        for _ in range(self.random.randint(1, 4)):
            text[self.random.randrange(len(text))] = chr(self.random.randrange(0x20, 0x2FF))
        return "".join(text)

    def text(self) -> str:
        length = self.random.randint(0, 60)
        return "".join(map(chr, self.random.choices(range(0xD800), k=length)))

    def nested(self) -> str:
        opening = self.random.choice(("[", '{"a":', '{"type":[', "[[{"))
        return opening * int((MAX_FRAME_BYTES // len(opening)) ** self.random.random())

    def bytes(self) -> bytes:
        return self.random.randbytes(self.random.randint(0, 200))

    def large(self) -> str | bytes:
        """At the limit or a little under it."""
        size = MAX_FRAME_BYTES - self.random.randint(0, 2)
        match self.random.randrange(4):
            case 0:
                return self.random.randbytes(size)
            case 1:
                head = '{"type":"publish","channel":"fuzz/large","data":"'
                return head + "x" * (size - len(head) - 2) + '"}'
            case 2:
                head = '{"type":"send","to":"nobody","data":['
                return head + "1," * ((size - len(head) - 3) // 2) + "1]}"
        return "é" * (size // 2)


def size_bytes(item: str | bytes) -> int:
    return len(item.encode()) if isinstance(item, str) else len(item)


# ---- a socket that keeps no rules -------------------------------------------------------------------

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def ws_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0, length: int = -1
) -> bytes:
    """One WebSocket frame; `length` is what it claims to have."""
    claimed = len(payload) if length < 0 else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if claimed < 126:
        head += bytes([bit | claimed])
    elif claimed < 65_536:
        head += bytes([bit | 126]) + struct.pack("!H", claimed)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", claimed)
    # A key of zeros masks nothing, which the other end cannot tell.
    return head + (b"\0\0\0\0" if mask else b"") + payload


class Socket:
    """A TCP connection to the hub."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> bytes:
        """Send bytes; returns what came back until the other end closed, or its first 64 KiB."""
        answer = b""
        with suppress(ConnectionError):
            self.writer.write(request)
            await self.writer.drain()
            self.writer.write_eof()
        with suppress(ConnectionError):
            while len(answer) < 65_536 and (data := await self.reader.read(65_536)):
                answer += data
        return answer

    async def upgrade(self, hub: RunningHub, query: str | None = None) -> dict[str, Any]:
        """Open a WebSocket; returns the welcome."""
        self.writer.write(upgrade_request(hub, query))
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return json.loads((await self.frame())[1])  # type: ignore[no-any-return]

    async def frame(self) -> tuple[int, bytes]:
        """The opcode and payload of the next frame."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            [length] = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            [length] = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """Read until the end; the code it was closed with, 1006 for none."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    return int(struct.unpack("!H", payload[:2])[0]) if payload else 1005
        return 1006


def upgrade_request(hub: RunningHub, query: str | None = None, **headers: str) -> bytes:
    query = f"key={quote(hub.key, safe='')}" if query is None else query
    lines = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    text = f"GET /v1?{query} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return text.encode("latin-1") + b"\r\n"


@asynccontextmanager
async def socket_to(hub: RunningHub) -> AsyncIterator[Socket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=2**21)
    try:
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
