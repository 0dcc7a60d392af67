"""Processes that report in JSON lines, see `reports`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.netlab.hearing import Heard

END_S = 5.0


class Process:
    """A process that reports in JSON lines; killed, by its own id, when its block is left."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self.events: list[dict[str, Any]] = []
        self.heard = Heard()
        self._process = process
        self._changed = asyncio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "heard":
                self.heard.add(event["heard"])
            else:
                self.events.append(event)
            self._changed.set()

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until something reported makes `condition` true; False if nothing did in time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def has(self, event: str, *, after_s: float = 0.0, **fields: Any) -> bool:
        return any(
            seen["event"] == event
            and seen["t"] >= after_s
            and all(seen.get(name) == value for name, value in fields.items())
            for seen in self.events
        )

    async def hears_after(self, moment_s: float, within_s: float) -> float | None:
        """When, at or after `moment_s`, sound flowed; None if not `within_s` from now."""
        await self.until(lambda: self.heard.back_s(moment_s) is not None, within_s)
        return self.heard.back_s(moment_s)

    async def end(self) -> None:
        """Ask it to end, and make it."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(END_S):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
