"""How a process in a namespace tells what it lives through: JSON lines with the machine's monotonic clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

FLUSH_S = 0.1
SAY_S = 0.5


def before_others() -> None:
    """Run before whatever else the machine does, where that is allowed: what a busy machine swallows would
    count as lost on the way. Call it after importing, which takes long, and before there are threads."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Report:
    """Writes what happens to standard output. What is heard goes out in small batches."""

    def __init__(self) -> None:
        self._heard: list[tuple[float, int]] = []

    def event(self, event: str, **more: Any) -> None:
        print(json.dumps({"t": round(time.monotonic(), 4), "event": event, **more}), flush=True)

    def hears(self, at_s: float, tone: int) -> None:
        self._heard.append((round(at_s, 4), tone))

    async def keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._heard:
                self.event("heard", heard=self._heard)
                self._heard = []


async def until_told_to_end() -> None:
    """Returns when standard input ends: told to, or the test is gone."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()


@contextlib.asynccontextmanager
async def in_background(*jobs: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                print(f"{type(outcome).__name__}: {outcome}", file=sys.stderr, flush=True)


async def keep_saying(report: Report, send: Callable[[Any], Awaitable[None]]) -> None:
    """A data message to everybody, twice a second; says which could not be sent."""
    number = 0
    while True:
        number += 1
        try:
            await send({"number": number, "sent_s": round(time.monotonic(), 4)})
        except Exception as error:
            # Whatever either client raises while it has no connection.
            report.event("not_sent", number=number, why=type(error).__name__)
        await asyncio.sleep(SAY_S)
