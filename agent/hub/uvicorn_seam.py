"""What the hub needs of its HTTP server, and what it mends in it: all that is known of uvicorn's inside."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

#: A token may hold 8 KiB of metadata, 4 KiB of peer metadata and a hundred channels, in base64, and travels
#: in the address. The head of a request as a whole is bounded by h11, at 64 KiB.
MAX_QUERY_BYTES = 48 * 1024
#: The websockets library reads no longer line, and says nothing when there is one.
MAX_LINE_BYTES = 8 * 1024 - 2
#: How long a socket that is done may take to get its last bytes out.
LINGER_S = 10.0
#: How long a client may take to say what it wants, however little at a time.
HEAD_DEADLINE_S = 10.0


class RequestProtocol(H11Protocol):
    """HTTP, and the beginning of every WebSocket; uvicorn itself waits for a request for ever."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_a_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_a_request()

    def handle_websocket_upgrade(self, event: Any) -> None:
        # From here on the connection is another protocol's, and this one is only garbage.
        self._stop_expecting()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_expecting()

    def _expect_a_request(self) -> None:
        self._stop_expecting()
        self._head_deadline = self.loop.call_later(HEAD_DEADLINE_S, self._head_overdue)

    def _stop_expecting(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()

    def _head_overdue(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering:
            self.transport.abort()


class RoomSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that strangers can neither fill memory with nor leave hanging.

    Mended are: a request with a long line or with bytes outside ASCII is answered; tokens of any legal size
    pass; pongs that nobody takes are not piled up, because then nothing more is read; a socket that takes no
    bytes ends with the connection instead of lingering; neither a refusal nor a lost client floods the log.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._query = ""
        self._is_greeted = False
        self._linger: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not self._is_greeted:
            # The whole head of the request, which the HTTP protocol has already read.
            self._is_greeted = True
            try:
                data = self._checked(data)
            except ValueError:
                self._refuse()
                return
        super().data_received(data)
        if not self.writable.is_set():
            self.transport.pause_reading()

    def _checked(self, head: bytes) -> bytes:
        text = head.decode("ascii")
        request, _, headers = text.partition("\r\n")
        method, target, version = request.split(" ")
        target, _, self._query = target.partition("?")
        if len(self._query) > MAX_QUERY_BYTES:
            raise ValueError
        lines = [f"{method} {target} {version}", *headers.split("\r\n")]
        if max(map(len, lines)) > MAX_LINE_BYTES:
            raise ValueError
        return "\r\n".join(lines).encode()

    def _refuse(self) -> None:
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        event.path = f"{event.path}?{self._query}"
        super().handle_connect(event)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():
            # Closing would wait for a peer that takes nothing, and the hub would not hear of its end.
            self.transport.abort()

    async def receive(self) -> Any:
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():
            # Writing on would be one warning in the log for each frame that waits.
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._linger is not None:
            self._linger.cancel()

    def _end_in_time(self) -> None:
        if self._linger is None and not self.disconnected:
            self._linger = self.loop.call_later(LINGER_S, self.transport.abort)


#: What uvicorn has to be told. Its frame limit is above the protocol's own: it drops the connection
#: without reading the rest of an oversized frame, and the close frame is lost on the way; the hub reads
#: the frame and closes properly with 1009. Compression would cost a window per connection for nothing. h11
#: bounds the head of a request, whatever else is installed.
UVICORN_OPTIONS: dict[str, Any] = {
    "http": RequestProtocol,
    "ws": RoomSocketProtocol,
    "ws_max_size": 1_048_576,
    "ws_ping_interval": 30.0,
    "ws_ping_timeout": 10.0,
    "ws_per_message_deflate": False,
    "timeout_graceful_shutdown": 10,
}
