"""One WebSocket of the hub: reads frames in, writes frames out, and ends for one stated reason."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Counter
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.ratelimit import TokenBucket
from agent.realtime.codes import MAX_CLIENT_FRAME_BYTES, CloseCode, ErrorCode
from agent.realtime.frames import (
    ClientFrame,
    ErrorFrame,
    FrameError,
    Publish,
    Send,
    encode,
    frame_bytes,
    parse_client_frame,
)

#: A queue this long means the reader is many seconds behind; a room's worth of presence and a burst of
#: candidates fit in many times over.
MAX_QUEUED_FRAMES = 1024
MAX_QUEUED_BYTES = 4 * 1024 * 1024
#: Frames of every kind, so that pings and subscribes cannot be used to keep the hub busy either.
FRAMES_PER_S = 500.0
FRAME_BURST = 1000
#: Rosters are long, and whoever is in a room may ask for its roster again: beyond this, the next frame is
#: read later. A hundred rooms of a few members each fit in, or two full ones with all possible metadata.
ROSTER_BYTES_PER_S = 256 * 1024
ROSTER_BURST_BYTES = 2 * 1024 * 1024
#: How long the last frames and the close frame may take to get out.
CLOSE_DEADLINE_S = 5.0

FRAMES = Counter("voice_agent_hub_frames", "Frames the hub received from clients.", ["type"])
CLOSES = Counter("voice_agent_hub_closes", "Connections the hub closed, by close code.", ["code"])
SLOWED = Counter("voice_agent_hub_slowed", "Frames read later because of the rosters asked for.")
SLOW_READERS = Counter("voice_agent_hub_slow_readers", "Connections closed because they did not read.")


@dataclass(frozen=True, slots=True)
class MessageRate:
    """How many publishes and sends one connection may make."""

    per_s: float = 100.0
    burst: int = 200


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    reason: str


class Connection:
    """Owns the sending side of one accepted WebSocket.

    What is to be sent waits in a queue bounded in frames and in bytes. When it is full the reader at the
    other end is too slow: what waits is thrown away and the connection is closed with 1008, because a
    client that missed a frame no longer knows who is in the room. It will reconnect and be told.
    """

    def __init__(
        self,
        connection_id: int,
        websocket: WebSocket,
        rate: MessageRate | None,
        *,
        max_queued_frames: int = MAX_QUEUED_FRAMES,
    ) -> None:
        self.id = connection_id
        self._websocket = websocket
        self._max_queued_frames = max_queued_frames
        self._queue: deque[tuple[str, int] | _Close] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._closing: _Close | None = None
        self._ended = asyncio.Event()
        now_s = asyncio.get_running_loop().time()
        self._messages = TokenBucket(rate.per_s, rate.burst, now_s) if rate else None
        self._frames = TokenBucket(FRAMES_PER_S, FRAME_BURST, now_s) if rate else None
        self._rosters = TokenBucket(ROSTER_BYTES_PER_S, ROSTER_BURST_BYTES, now_s) if rate else None

    def send(self, text: str, size_bytes: int | None = None) -> None:
        """Queue one encoded frame. Never blocks; after `close` it does nothing.

        `size_bytes`: what it has in UTF-8, where that is known.
        """
        if self._closing is not None:
            return
        if len(self._queue) >= self._max_queued_frames or self._queued_bytes >= MAX_QUEUED_BYTES:
            SLOW_READERS.inc()
            self._queue.clear()
            self.close(CloseCode.POLICY_VIOLATION, "reading too slowly")
            return
        size_bytes = frame_bytes(text) if size_bytes is None else size_bytes
        self._queue.append((text, size_bytes))
        self._queued_bytes += size_bytes
        self._wake.set()

    def send_roster(self, text: str, size_bytes: int) -> None:
        """Queue the roster that this connection asked for."""
        if self._rosters is not None:
            self._rosters.take(asyncio.get_running_loop().time(), size_bytes)
        self.send(text, size_bytes)

    def close(self, code: int, reason: str) -> None:
        """End the connection once what is queued has been sent. The first reason given counts."""
        if self._closing is None:
            self._closing = _Close(code, reason)
            CLOSES.labels(str(int(code))).inc()
            self._queue.append(self._closing)
            self._wake.set()
            self._ended.set()

    async def run(
        self,
        handle: Callable[[ClientFrame], None],
        leave: Callable[[], None],
        drained: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Serve the connection until it ends; `handle` is called with each frame, in order.

        `drained`, if given, is awaited before the next frame is read: who asks faster than it can be done
        is slowed down.

        `leave` is called as soon as the end is certain, before the last frames are sent: a reader that is
        stuck must not stay in its rooms meanwhile.
        """
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write())
            reader = tasks.create_task(self._read(handle, drained))
            await self._ended.wait()
            leave()
            if self._closing is not None:
                await asyncio.wait([writer], timeout=CLOSE_DEADLINE_S)
            writer.cancel()
            reader.cancel()

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    item = self._queue.popleft()
                    if isinstance(item, _Close):
                        await self._websocket.close(item.code, item.reason)
                        return
                    text, size_bytes = item
                    self._queued_bytes -= size_bytes
                    await self._websocket.send_text(text)
                self._wake.clear()
                await self._wake.wait()
        except (WebSocketDisconnect, RuntimeError):
            # The server reports a socket that is gone in either way, depending on who noticed first.
            self._ended.set()

    async def _read(
        self, handle: Callable[[ClientFrame], None], drained: Callable[[], Awaitable[object]] | None
    ) -> None:
        while self._closing is None:
            event = await self._websocket.receive()
            # The end may have come meanwhile, and then its rooms no longer know the connection.
            if event["type"] != "websocket.receive" or self._closing is not None:
                break
            self._take(event.get("text"), event.get("bytes"), handle)
            if drained is not None:
                await drained()
            await self._pay_for_rosters()
        self._ended.set()

    async def _pay_for_rosters(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._rosters.wait_s(loop.time()) if self._rosters is not None else 0.0
        if wait_s > 0:
            SLOWED.inc()
            await asyncio.sleep(wait_s)

    def _take(self, text: str | None, data: bytes | None, handle: Callable[[ClientFrame], None]) -> None:
        size_bytes = frame_bytes(text) if text is not None else len(data or b"")
        if size_bytes > MAX_CLIENT_FRAME_BYTES:
            self.close(CloseCode.TOO_BIG, f"a frame may have {MAX_CLIENT_FRAME_BYTES} bytes")
            return
        now_s = asyncio.get_running_loop().time()
        if self._frames is not None and not self._frames.take(now_s):
            self.close(CloseCode.OVER_MESSAGE_RATE, "too many frames")
            return
        try:
            if text is None:
                raise FrameError(ErrorCode.MALFORMED_MESSAGE, "only text frames are understood")
            frame = parse_client_frame(text)
        except FrameError as error:
            FRAMES.labels("invalid").inc()
            self.send(encode(ErrorFrame(error.code, error.request_id, str(error))))
            return
        FRAMES.labels(type(frame).__name__.lower()).inc()
        if (
            self._messages is not None
            and isinstance(frame, (Publish, Send))
            and not self._messages.take(now_s)
        ):
            self.close(CloseCode.OVER_MESSAGE_RATE, "too many messages")
            return
        handle(frame)
