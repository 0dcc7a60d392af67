"""The agent's side of any number of calls: one process, told what to do by lines of JSON.

    python -m benchmarks.media.agent_side SETUP

SETUP is `AgentSetup` as JSON. Every line in has an ``id`` and a ``do``; every one is answered by a line with
the same ``id``. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.media.ear import Attention, Ear
from benchmarks.media.holdings import Holdings, settled
from benchmarks.media.sides import RUN, CallSetup, SystemName


@dataclass(frozen=True, slots=True)
class AgentSetup:
    system: SystemName
    attention: Attention = "count"
    #: The processor to stay on; None: any.
    core: int | None = None

    def dumps(self) -> str:
        return json.dumps(asdict(self))


class AgentSide:
    def __init__(self, setup: AgentSetup) -> None:
        self._setup = setup
        self._calls: dict[int, tuple[asyncio.Task[None], Ear]] = {}
        self._profile: cProfile.Profile | None = None
        self._tasks_when_idle = 0

    async def run(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        doing: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
            "open": self._open,
            "close": self._close,
            "spent": self._spent,
            "held": self._held,
            "heard": self._heard,
            "hears": self._hears,
            "profile": self._profiled,
        }
        async with asyncio.TaskGroup() as tasks:

            async def answer(asked: dict[str, Any]) -> None:
                told = {"id": asked.pop("id")}
                told |= await doing[asked.pop("do")](**asked)
                print(json.dumps(told), flush=True)

            async for line in reader:
                tasks.create_task(answer(json.loads(line)))
        await asyncio.gather(*(self._end(number) for number in list(self._calls)))

    async def _open(self, **call: Any) -> dict[str, Any]:
        """Set a call up; what `CallSetup` says."""
        setup = CallSetup(**call)
        ear = Ear(self._setup.attention)
        opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        began_s = time.monotonic()
        running = asyncio.create_task(self._run_call(setup, ear, opened))
        self._calls[setup.number] = running, ear
        return {"answer": await opened, "began_s": began_s}

    async def _run_call(self, setup: CallSetup, ear: Ear, opened: asyncio.Future[str]) -> None:
        try:
            await RUN[self._setup.system](setup, ear, opened.set_result)
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def _close(self, number: int, save: str | None = None) -> dict[str, Any]:
        """End a call; what it heard."""
        ear = await self._end(number)
        if save:
            await asyncio.to_thread(ear.save, Path(save))
        return ear.told()

    async def _end(self, number: int) -> Ear:
        running, ear = self._calls.pop(number)
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled() and (error := running.exception()) is not None:
            raise error
        return ear

    async def _heard(self, number: int) -> dict[str, Any]:
        return self._calls[number][1].told()

    async def _hears(self, number: int) -> dict[str, Any]:
        """Answered when the caller has been heard."""
        await self._calls[number][1].has_heard.wait()
        return {}

    async def _spent(self) -> dict[str, Any]:
        """Processor time of this process, all of its threads, what it holds and has heard, at a glance."""
        return {
            "cpu_s": time.process_time(),
            "at_s": time.monotonic(),
            "rss_bytes": Holdings.resident_bytes(),
            "threads": threading.active_count(),
            "heard_ms": {number: ear.heard_ms for number, (_, ear) in self._calls.items()},
        }

    async def _held(self) -> dict[str, Any]:
        """What it holds once the endings of calls are over; the first time, with no call, tells how much."""
        if not self._tasks_when_idle:
            self._tasks_when_idle = len(asyncio.all_tasks())
        return asdict(await settled(self._tasks_when_idle))

    async def _profiled(self, on: bool) -> dict[str, Any]:
        if on:
            # The clock of processor time would make everything take three times as long; this one half as
            # long again, and what the process waits is told apart.
            self._profile = cProfile.Profile()
            self._profile.enable()
            return {}
        assert self._profile is not None
        self._profile.disable()
        functions = [
            [*place(entry.code), entry.callcount, entry.inlinetime, entry.totaltime]
            for entry in self._profile.getstats()
        ]
        return {"functions": functions}


def place(code: Any) -> tuple[str, int, str]:
    """Where a function is: file, line and name; built-in ones have a name only."""
    return ("", 0, code) if isinstance(code, str) else (code.co_filename, code.co_firstlineno, code.co_name)


def main() -> None:
    setup = AgentSetup(**json.loads(sys.argv[1]))
    logging.basicConfig(level=logging.ERROR)
    if setup.core is not None:
        os.sched_setaffinity(0, {setup.core})
    asyncio.run(AgentSide(setup).run())


if __name__ == "__main__":
    main()
