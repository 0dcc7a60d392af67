"""Frames of one connection that take their time, carried out one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from agent.realtime.frames import ClientFrame


class Inbox:
    """Keep `run` running; its bound is that of whoever waits for `drained` before the next `put`."""

    def __init__(self, carry_out: Callable[[ClientFrame], Awaitable[None]]) -> None:
        self._carry_out = carry_out
        self._frames: deque[ClientFrame] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, frame: ClientFrame) -> None:
        self._frames.append(frame)
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until everything has been carried out."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            while self._frames:
                await self._carry_out(self._frames[0])
                self._frames.popleft()
            self._idle.set()
            self._wake.clear()
            await self._wake.wait()
