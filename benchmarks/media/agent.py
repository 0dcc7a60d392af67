"""The agent's side as the benchmark sees it: a process that is asked."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.common.systems import ROOT, program
from benchmarks.media.agent_side import AgentSetup
from benchmarks.media.hub import SPENT_PATH, Access
from benchmarks.media.sides import CallSetup

STOP_TIMEOUT_S = 20.0
#: A profile is one line.
MAX_LINE_BYTES = 1 << 22


class AgentFailedError(Exception):
    """The agent's side has ended; the message holds the end of what it said about it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Of a process, between two moments (or since it began)."""

    cpu_s: float
    at_s: float
    rss_bytes: int
    threads: int
    #: Sound so far, by the number of the call.
    heard_ms: dict[int, float]

    def cpu_since(self, before: Spent) -> float:
        """How much of a core was used."""
        return (self.cpu_s - before.cpu_s) / (self.at_s - before.at_s)


@dataclass(frozen=True, slots=True)
class HubProcess:
    url: str
    access: Access

    def cpu_s(self) -> float:
        """Processor time so far; waits for the hub to tell."""
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=STOP_TIMEOUT_S)) as asked:
            asked.request("GET", SPENT_PATH)
            return float(asked.getresponse().read())


class Agent:
    """`async with agent_side(setup) as agent`."""

    def __init__(self, setup: AgentSetup, process: asyncio.subprocess.Process, log: Path) -> None:
        self.setup = setup
        self.log = log
        self._process = process
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def open(self, call: CallSetup) -> dict[str, Any]:
        return await self.ask("open", **asdict(call))

    async def spent(self) -> Spent:
        told = await self.ask("spent")
        # Names of JSON are text.
        heard_ms = {int(number): heard for number, heard in told.pop("heard_ms").items()}
        return Spent(**told, heard_ms=heard_ms)

    async def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """See `agent_side`. Raises `AgentFailedError`."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._process.stdin.write(json.dumps({"id": number, "do": do, **more}).encode() + b"\n")
        told: dict[str, Any] = await answer
        return told

    async def follow(self) -> None:
        """Hand out what it answers until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            waiting = self._asked.pop(told.pop("id"))
            # Whoever asked may have given up.
            if not waiting.done():
                waiting.set_result(told)
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(AgentFailedError(self.log.read_text()[-4000:]))

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def agent_side(setup: AgentSetup) -> AsyncIterator[Agent]:
    """Runs until the block ends."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.NamedTemporaryFile(prefix="agent-", suffix=".log") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.media.agent_side", setup.dumps(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            env=environ, limit=MAX_LINE_BYTES,
        )  # fmt: skip
        agent = Agent(setup, process, Path(log.name))
        following = asyncio.create_task(agent.follow())
        try:
            # Loading is over.
            await agent.spent()
            yield agent
        finally:
            await agent.end()
            await following


@asynccontextmanager
async def hub() -> AsyncIterator[HubProcess]:
    """A hub, which runs until the block ends."""
    access = Access()
    with tempfile.NamedTemporaryFile(prefix="hub-", suffix=".log") as log:
        module = "benchmarks.media.hub"
        async with program(Path(sys.executable), module, access.dumps(), log=Path(log.name)) as url:
            yield HubProcess(url, access)


def cores() -> tuple[int, int] | None:
    """A processor for the agent's side and one for everybody else; None: there is one only."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else None
