"""Listening sockets and an HTTP server that says goodbye before it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from agent.settings import SettingsError

# Below warnings it tells of every connection and, at debug level, logs signalling addresses, which hold the
# callers' tokens.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

#: Addresses that mean "every interface": nobody can call the service by them.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


class GracefulServer(uvicorn.Server):
    """Leaves the first signal to its owner: goodbyes are said before the sockets go."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.asked_to_stop = asyncio.Event()
        #: Asked twice: somebody is in a hurry.
        self.asked_again = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.asked_to_stop.is_set():
            super().handle_exit(signal.Signals(sig), frame)
            self._loop.call_soon_threadsafe(self.asked_again.set)
        self._loop.call_soon_threadsafe(self.asked_to_stop.set)


def listen(host: str, port: int, *, advice: str) -> socket.socket:
    """A listening socket. Raises `SettingsError`, which ends with `advice`, when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small frames without delay only on sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            f"another service may be using it: {advice}"
        ) from None
    return listener


def reachable(host: str) -> str:
    """`host` as it is written in an address that works on this machine."""
    if host in WILDCARDS:
        return WILDCARDS[host]
    return f"[{host}]" if ":" in host else host
