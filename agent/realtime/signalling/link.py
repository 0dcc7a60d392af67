"""One WebSocket to a signalling server, from its welcome to its loss. Knows nothing of reconnecting."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import websockets.exceptions
from prometheus_client import Counter
from websockets.asyncio.client import ClientConnection

from agent.realtime.addresses import is_still_ours
from agent.realtime.codes import CloseCode, ErrorCode
from agent.realtime.errors import (
    AckTimeoutError,
    DisconnectedError,
    FrameTooLargeError,
    NotConnectedError,
    ServerRequestError,
)
from agent.realtime.frames import (
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
from agent.realtime.signalling.liveness import Due, Liveness

logger = logging.getLogger(__name__)

CHECKS = Counter("voice_agent_signalling_checks", "Times the signalling connection was doubted and asked.")

Request: TypeAlias = Subscribe | Unsubscribe | Publish | Send
Incoming: TypeAlias = Message | Direct | Presence | GoingAway | ErrorFrame

#: What may wait for a server that does not read; a dozen of the largest frames.
MAX_UNSENT_BYTES = 1_048_576
#: Frames that arrived together are taken this many at a time, so that their reader gets its turn in between.
FRAMES_AT_A_TIME = 32
#: How long reading what has arrived may take before a line that looks dead is given up.
HELD_UP_S = 0.05


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a signalling client waits, in seconds."""

    #: For a TCP (and TLS) connection. A lost SYN is repeated after 1, 3 and 7 s: a new attempt finds a
    #: network that has come back sooner than one that began without it.
    reach_s: float = 4.0
    #: For the upgrade, and again for the welcome.
    welcome_s: float = 10.0
    ack_s: float = 15.0
    token_s: float = 10.0
    close_s: float = 1.0
    #: Without any frame for this long the connection counts as dead; None or 0: never.
    inactivity_s: float | None = 60.0
    #: A request without an answer, and nothing else heard, is reason to doubt the connection after this.
    doubt_s: float = 3.0
    #: A doubted connection that stays silent for this long is dead.
    alive_s: float = 5.0
    #: Between the repetitions of a subscription the server would not give back after a reconnect.
    replay_pause_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a link ended."""

    code: int
    reason: str
    #: How long the server asks to be left alone, if it does.
    retry_after_ms: int | None = None


class Link:
    """An open, welcomed connection. Made by `open_link`; `serve` runs it until it is lost."""

    def __init__(self, websocket: ClientConnection, welcome: Welcome, timeouts: Timeouts) -> None:
        self.welcome = welcome
        self._websocket = websocket
        self._timeouts = timeouts
        self._pending: dict[str, asyncio.Future[None]] = {}
        self._loss: Loss | None = None
        self._loop = asyncio.get_running_loop()
        self._liveness = Liveness(
            self._loop.time(), inactivity_s=timeouts.inactivity_s, alive_s=timeouts.alive_s
        )
        self._doubted = asyncio.Event()

    def check_alive(self) -> None:
        """Ask for a sign of life at once; without one in `Timeouts.alive_s` the connection is given up.

        Returns immediately, and does nothing while a check runs or when one has just ended well. When the
        address it was made from is gone, no answer can come, and it is given up at once.
        """
        if not is_still_ours(self._websocket.local_address):
            self._end(Loss(CloseCode.CLIENT_INACTIVITY, "our address is gone"))
            self._websocket.transport.abort()
            return
        if self._liveness.doubt(self._loop.time()):
            CHECKS.inc()
            self._doubted.set()

    async def request(self, make_frame: Callable[[str], Request]) -> None:
        """Send a frame and wait for its ack.

        Raises `FrameTooLargeError`, `ServerRequestError`, `AckTimeoutError`, `DisconnectedError`,
        `NotConnectedError` when the server has stopped reading, and `ValueError` for data that is not JSON.
        """
        request_id = str(uuid.uuid4())
        text = encode(make_frame(request_id))
        if frame_bytes(text) > self.welcome.max_message_size:
            raise FrameTooLargeError(frame_bytes(text), self.welcome.max_message_size)
        if self._loss is not None:
            raise DisconnectedError("the signalling connection was lost")
        if self._websocket.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.check_alive()
            raise NotConnectedError("the signalling server takes nothing just now; nothing was sent")
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pending[request_id] = answer
        doubt = self._loop.call_later(self._timeouts.doubt_s, self._unanswered, self._loop.time())
        try:
            async with asyncio.timeout(self._timeouts.ack_s):
                await self._websocket.send(text)
                await answer
        except TimeoutError:
            self.check_alive()
            raise AckTimeoutError(f"no answer within {self._timeouts.ack_s:g} s") from None
        except websockets.exceptions.ConnectionClosed:
            raise DisconnectedError("the signalling connection was lost") from None
        finally:
            doubt.cancel()
            self._pending.pop(request_id, None)

    async def idle(self) -> None:
        """Wait until no request is without an answer."""
        while self._pending:
            await asyncio.wait(list(self._pending.values()))

    def drop(self, reason: str) -> None:
        """Give the connection up without a handshake."""
        self._end(Loss(CloseCode.CLIENT_INACTIVITY, reason))
        self._websocket.transport.abort()

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
                # Cancelled: nobody will read what still comes.
                self._websocket.transport.abort()
        return loss

    async def close(self, code: int, reason: str) -> None:
        """Close with a handshake, for which the other side has the close timeout."""
        await self._shut(Loss(code, reason), self._timeouts.close_s)

    async def _shut(self, loss: Loss, within_s: float) -> None:
        self._end(loss)
        try:
            # The library's own limit does not cover a server that has stopped reading.
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._websocket.close(loss.code, loss.reason)
        finally:
            self._websocket.transport.abort()

    def _end(self, loss: Loss) -> Loss:
        """Settle why the link ends; the first reason counts. What waits for an answer fails."""
        self._loss = self._loss or loss
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(DisconnectedError("the signalling connection was lost"))
        return self._loss

    async def _read(self, deliver: Callable[[Incoming], bool]) -> Loss:
        taken = 0
        try:
            while True:
                raw = await self._websocket.recv()
                self._liveness.heard(self._loop.time())
                taken += 1
                if taken % FRAMES_AT_A_TIME == 0:
                    await asyncio.sleep(0)
                if not self._take(understand(raw), deliver):
                    await self.close(CloseCode.CLIENT_INACTIVITY, "event queue full")
                    # What the library still holds belongs to a picture that is being thrown away.
                    return Loss(CloseCode.CLIENT_INACTIVITY, "event queue full")
        except websockets.exceptions.ConnectionClosed as closed:
            return loss_of(closed)

    def _take(self, frame: ServerFrame | None, deliver: Callable[[Incoming], bool]) -> bool:
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
                return deliver(frame)
        return True

    def _answer(self, request_id: str, error: ErrorFrame | None) -> None:
        answer = self._pending.get(request_id)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(ServerRequestError(error.code, error.message))

    def _unanswered(self, sent_s: float) -> None:
        if self._liveness.heard_s <= sent_s:
            self.check_alive()

    async def _keep_alive(self) -> None:
        while (due := await self._due()) != "dead":
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._until_s()):
                    if due == "ping":
                        await self._ping()
                    else:
                        self._doubted.clear()
                        await self._doubted.wait()
        # No answer is to be expected, and every moment counts now.
        await self._shut(Loss(CloseCode.CLIENT_INACTIVITY, "inactivity"), 0.0)

    async def _due(self) -> Due | None:
        due = self._liveness.due(self._loop.time())
        if due == "dead":
            # This process may have been held up itself: what arrived meanwhile is read first.
            await asyncio.sleep(HELD_UP_S)
            due = self._liveness.due(self._loop.time())
        return due

    def _until_s(self) -> float | None:
        next_s = self._liveness.next_s
        return None if math.isinf(next_s) else next_s

    async def _ping(self) -> None:
        # The end of the connection is the reader's to notice.
        with suppress(websockets.exceptions.ConnectionClosed):
            await self._websocket.send(encode(Ping()))


def understand(raw: str | bytes) -> ServerFrame | None:
    """The frame in what arrived; None, and a line in the log, for what means nothing here."""
    if isinstance(raw, bytes):
        logger.warning("a binary frame was passed over")
        return None
    try:
        return parse_server_frame(raw)
    except FrameError as error:
        logger.warning("a frame was passed over: %s", error)
        return None


def loss_of(closed: websockets.exceptions.ConnectionClosed) -> Loss:
    close = closed.rcvd or closed.sent
    return Loss(close.code, close.reason) if close else Loss(CloseCode.ABNORMAL, "connection lost")
