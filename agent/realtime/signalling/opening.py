"""From an address and a credential to a welcomed connection."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import quote, urlsplit

import websockets.exceptions
from websockets.asyncio.client import ClientConnection, connect

from agent.realtime.addresses import is_loopback
from agent.realtime.codes import MAX_SERVER_FRAME_BYTES, CloseCode
from agent.realtime.errors import SignallingConnectError
from agent.realtime.frames import MAX_RETRY_AFTER_MS, Welcome
from agent.realtime.signalling.link import Link, Timeouts, loss_of, understand

#: The WebSocket library writes addresses and contents to its log at DEBUG: credentials, and words people
#: say. Its logger is therefore fixed one level above, whatever the rest of the service is set to.
_wire_logger = logging.getLogger(f"{__name__}.websocket")
_wire_logger.setLevel(logging.INFO)


def check_url(url: str) -> str:
    """Return the base address without a trailing slash.

    Raises `ValueError` unless it is ``wss://host[:port]``, or ``ws://`` for this machine itself.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
        host.encode("idna")
    except UnicodeError:
        raise ValueError("the signalling address has an impossible host name") from None
    except ValueError:
        raise ValueError("the signalling address has an impossible host or port") from None
    if parts.scheme not in {"ws", "wss"} or not host:
        raise ValueError("the signalling address must look like wss://host or wss://host:port")
    if parts.scheme == "ws" and not is_loopback(host):
        raise ValueError("the signalling address must be wss://; ws:// is accepted for localhost only")
    if parts.path not in {"", "/"} or "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError("the signalling address must have no path, query, fragment or user name")
    return f"{parts.scheme}://{parts.netloc}"


async def open_link(base_url: str, credential: tuple[str, str], timeouts: Timeouts) -> Link:
    """Open a socket and wait for the welcome. `credential` is (``key`` or ``token``, value).

    Raises `SignallingConnectError`; its text names no address and no credential.
    """
    name, value = credential
    try:
        websocket = await _Opening(
            f"{base_url}/v1?{name}={quote(value, safe='')}",
            open_timeout=timeouts.welcome_s,
            close_timeout=timeouts.close_s,
            ping_interval=None,
            max_size=MAX_SERVER_FRAME_BYTES,
            user_agent_header=None,
            logger=_wire_logger,
            create_connection=_Connection,
            proxy=None if is_loopback(urlsplit(base_url).hostname or "") else True,
            reach_s=timeouts.reach_s,
        )
    except websockets.exceptions.InvalidStatus as refused:
        answer = refused.response
        reason = _error_code(answer.body) or f"HTTP {answer.status_code}"
        retry_after_ms = _retry_after_ms(answer.headers.get_all("Retry-After"))
        raise SignallingConnectError(answer.status_code, reason, retry_after_ms=retry_after_ms) from None
    except TimeoutError:
        raise SignallingConnectError(CloseCode.ABNORMAL, "no answer in time") from None
    except OSError as error:
        raise SignallingConnectError(CloseCode.ABNORMAL, error.strerror or type(error).__name__) from None
    except websockets.exceptions.WebSocketException as error:
        # Its text may hold the address, and the credential with it.
        raise SignallingConnectError(CloseCode.ABNORMAL, type(error).__name__) from None
    return Link(websocket, await _welcome(websocket, timeouts.welcome_s), timeouts)


class _Connection(ClientConnection):
    """Does not wait for ever for a server that said goodbye and does not go."""

    _goodbye: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._goodbye is None and self.protocol.close_expected():
            self._goodbye = self.loop.call_later(self.close_timeout or 0.0, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._goodbye is not None:
            self._goodbye.cancel()
        super().connection_lost(exc)


class _Opening(connect):
    """An upgrade that gives up early on a network that is not there, and goes where it was told only."""

    def __init__(self, uri: str, *, reach_s: float, **options: Any) -> None:
        super().__init__(uri, **options)
        self._reach_s = reach_s

    async def create_connection(self) -> ClientConnection:
        async with asyncio.timeout(self._reach_s):
            return await super().create_connection()

    def process_redirect(self, exc: Exception) -> Exception | str:
        # Browsers follow none, and the credential is not for others.
        return exc


async def _welcome(websocket: ClientConnection, timeout_s: float) -> Welcome:
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                frame = understand(await websocket.recv())
                if isinstance(frame, Welcome):
                    return frame
    except websockets.exceptions.ConnectionClosed as closed:
        loss = loss_of(closed)
        raise SignallingConnectError(loss.code, loss.reason) from None
    except TimeoutError:
        await websocket.close(CloseCode.CLIENT_INACTIVITY, "welcome timeout")
        raise SignallingConnectError(CloseCode.CLIENT_INACTIVITY, "no welcome in time") from None
    except asyncio.CancelledError:
        websocket.transport.abort()
        raise


def _error_code(body: bytes | None) -> str | None:
    """The error code in the body of a refused upgrade, if it is one: short and harmless to show."""
    try:
        answer: Any = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and len(code) <= 64 and code.isidentifier() else None


def _retry_after_ms(values: list[str]) -> int | None:
    """The wait an HTTP answer asks for. A date is passed over: our clock may be another than the server's."""
    if len(values) != 1 or not values[0].isascii() or not values[0].isdigit() or len(values[0]) > 9:
        return None
    return min(int(values[0]) * 1000, MAX_RETRY_AFTER_MS)
