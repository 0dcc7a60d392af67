"""One WebSocket to a signalling server, from opening to loss. Knows nothing of reconnecting."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import websockets.exceptions
from websockets.asyncio.client import ClientConnection, connect

from .backoff import ping_after_s
from .codes import MAX_SERVER_FRAME_BYTES, CloseCode, ErrorCode
from .errors import (
    AckTimeoutError,
    DisconnectedError,
    FrameTooLargeError,
    ServerRequestError,
    SignallingConnectError,
)
from .frames import (
    Ack,
    Direct,
    ErrorFrame,
    FrameError,
    GoingAway,
    Message,
    Ping,
    Presence,
    Publish,
    Send,
    ServerFrame,
    Subscribe,
    Unsubscribe,
    Welcome,
    encode,
    frame_bytes,
    parse_server_frame,
)

logger = logging.getLogger(__name__)

#: The WebSocket library writes addresses and contents to its log at DEBUG: credentials, and words people
#: say. Its logger is therefore fixed one level above, whatever the rest of the service is set to.
_wire_logger = logging.getLogger(f"{__name__}.websocket")
_wire_logger.setLevel(logging.INFO)

Request: TypeAlias = Subscribe | Unsubscribe | Publish | Send
Incoming: TypeAlias = Message | Direct | Presence | GoingAway | ErrorFrame


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a signalling client waits, in seconds."""

    #: For the socket to open, and again for the welcome.
    welcome_s: float = 10.0
    ack_s: float = 15.0
    token_s: float = 10.0
    close_s: float = 1.0
    #: Without any frame for this long the connection counts as dead; None or 0: never.
    inactivity_s: float | None = 60.0
    #: Between the repetitions of a subscription the server would not give back after a reconnect.
    replay_pause_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a link ended."""

    code: int
    reason: str


def check_url(url: str) -> str:
    """Return the base address without a trailing slash.

    Raises `ValueError` unless it is ``wss://host[:port]``, or ``ws://`` for this machine itself.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError("the signalling address must look like wss://host or wss://host:port")
    if parts.scheme == "ws" and not is_loopback(parts.hostname):
        raise ValueError("the signalling address must be wss://; ws:// is accepted for localhost only")
    if parts.path not in {"", "/"} or "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError("the signalling address must have no path, query, fragment or user name")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("the signalling address has an impossible port") from None
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Link:
    """An open, welcomed connection. Made by `open_link`; `serve` runs it until it is lost."""

    def __init__(self, websocket: ClientConnection, welcome: Welcome, timeouts: Timeouts) -> None:
        self.welcome = welcome
        self._websocket = websocket
        self._timeouts = timeouts
        self._pending: dict[str, asyncio.Future[None]] = {}
        self._loss: Loss | None = None
        self._heard_s = asyncio.get_running_loop().time()

    async def request(self, make_frame: Callable[[str], Request]) -> None:
        """Send a frame and wait for its ack.

        Raises `FrameTooLargeError`, `ServerRequestError`, `AckTimeoutError`, `DisconnectedError`, and
        `ValueError` for data that is not JSON.
        """
        request_id = str(uuid.uuid4())
        text = encode(make_frame(request_id))
        if frame_bytes(text) > self.welcome.max_message_size:
            raise FrameTooLargeError(frame_bytes(text), self.welcome.max_message_size)
        if self._loss is not None:
            raise DisconnectedError("the signalling connection was lost")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = answer
        try:
            async with asyncio.timeout(self._timeouts.ack_s):
                await self._websocket.send(text)
                await answer
        except TimeoutError:
            raise AckTimeoutError(f"no answer within {self._timeouts.ack_s:g} s") from None
        except websockets.exceptions.ConnectionClosed:
            raise DisconnectedError("the signalling connection was lost") from None
        finally:
            self._pending.pop(request_id, None)

    async def serve(self, deliver: Callable[[Incoming], bool]) -> Loss:
        """Read until the connection is lost; then every request still waiting fails.

        When `deliver` returns False its owner cannot take more, and the connection is given up: a frame
        left out would leave the owner with a wrong picture of the room and no way to notice.
        """
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self._keep_alive())
            loss = Loss(CloseCode.ABNORMAL, "connection lost")
            try:
                loss = await self._read(deliver)
            finally:
                keeper.cancel()
                loss = self._end(loss)
        return loss

    async def close(self, code: int, reason: str) -> None:
        """Close with a handshake, for which the other side has the close timeout."""
        self._end(Loss(code, reason))
        await self._websocket.close(code, reason)

    def _end(self, loss: Loss) -> Loss:
        """Settle why the link ends; the first reason counts. What waits for an answer fails."""
        self._loss = self._loss or loss
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(DisconnectedError("the signalling connection was lost"))
        return self._loss

    async def _read(self, deliver: Callable[[Incoming], bool]) -> Loss:
        try:
            while True:
                raw = await self._websocket.recv()
                self._heard_s = asyncio.get_running_loop().time()
                frame = _understand(raw)
                match frame:
                    case Ack(request_id):
                        self._answer(request_id, None)
                    case ErrorFrame(_, request_id) if request_id is not None:
                        self._answer(request_id, frame)
                    case ErrorFrame(ErrorCode.UNKNOWN_TYPE, None):
                        # A server that does not know our ping says so this way.
                        pass
                    case Welcome():
                        logger.warning("a second welcome on one connection was passed over")
                    case Message() | Direct() | Presence() | GoingAway() | ErrorFrame():
                        if not deliver(frame):
                            await self.close(CloseCode.CLIENT_INACTIVITY, "event queue full")
                            # What the library still holds belongs to a picture that is being thrown away.
                            return Loss(CloseCode.CLIENT_INACTIVITY, "event queue full")
        except websockets.exceptions.ConnectionClosed as closed:
            return _loss(closed)

    def _answer(self, request_id: str, error: ErrorFrame | None) -> None:
        answer = self._pending.get(request_id)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(ServerRequestError(error.code, error.message))

    async def _keep_alive(self) -> None:
        limit_s = self._timeouts.inactivity_s
        if not limit_s:
            return
        loop = asyncio.get_running_loop()
        pinged_s = self._heard_s
        while (now_s := loop.time()) < self._heard_s + limit_s:
            ping_s = max(self._heard_s, pinged_s) + ping_after_s(limit_s)
            if now_s >= ping_s:
                pinged_s = now_s
                try:
                    await self._websocket.send(encode(Ping()))
                except websockets.exceptions.ConnectionClosed:
                    return
            else:
                await asyncio.sleep(min(ping_s, self._heard_s + limit_s) - now_s)
        await self.close(CloseCode.CLIENT_INACTIVITY, "inactivity")


async def open_link(base_url: str, credential: tuple[str, str], timeouts: Timeouts) -> Link:
    """Open a socket and wait for the welcome. `credential` is (``key`` or ``token``, value).

    Raises `SignallingConnectError`; its text names no address and no credential.
    """
    name, value = credential
    host = urlsplit(base_url).hostname or ""
    try:
        websocket = await connect(
            f"{base_url}/v1?{name}={quote(value, safe='')}",
            open_timeout=timeouts.welcome_s,
            close_timeout=timeouts.close_s,
            ping_interval=None,
            max_size=MAX_SERVER_FRAME_BYTES,
            user_agent_header=None,
            logger=_wire_logger,
            proxy=None if is_loopback(host) else True,
        )
    except websockets.exceptions.InvalidStatus as refused:
        status, body = refused.response.status_code, refused.response.body
        raise SignallingConnectError(status, _error_code(body) or f"HTTP {status}") from None
    except TimeoutError:
        raise SignallingConnectError(CloseCode.ABNORMAL, "no answer in time") from None
    except OSError as error:
        raise SignallingConnectError(CloseCode.ABNORMAL, error.strerror or type(error).__name__) from None
    except websockets.exceptions.WebSocketException as error:
        # Its text may hold the address, and the credential with it.
        raise SignallingConnectError(CloseCode.ABNORMAL, type(error).__name__) from None
    return Link(websocket, await _welcome(websocket, timeouts.welcome_s), timeouts)


async def _welcome(websocket: ClientConnection, timeout_s: float) -> Welcome:
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                frame = _understand(await websocket.recv())
                if isinstance(frame, Welcome):
                    return frame
    except websockets.exceptions.ConnectionClosed as closed:
        loss = _loss(closed)
        raise SignallingConnectError(loss.code, loss.reason) from None
    except TimeoutError:
        await websocket.close(CloseCode.CLIENT_INACTIVITY, "welcome timeout")
        raise SignallingConnectError(CloseCode.CLIENT_INACTIVITY, "no welcome in time") from None
    except asyncio.CancelledError:
        websocket.transport.abort()
        raise


def _understand(raw: str | bytes) -> ServerFrame | None:
    if isinstance(raw, bytes):
        logger.warning("a binary frame was passed over")
        return None
    try:
        return parse_server_frame(raw)
    except FrameError as error:
        logger.warning("a frame was passed over: %s", error)
        return None


def _loss(closed: websockets.exceptions.ConnectionClosed) -> Loss:
    close = closed.rcvd or closed.sent
    return Loss(close.code, close.reason) if close else Loss(CloseCode.ABNORMAL, "connection lost")


def _error_code(body: bytes | None) -> str | None:
    """The error code in the body of a refused upgrade, if it is one: short and harmless to show."""
    try:
        answer: Any = json.loads(body or b"")
    except ValueError:
        return None
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and len(code) <= 64 and code.isidentifier() else None
