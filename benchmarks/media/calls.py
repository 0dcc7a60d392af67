"""Any number of calls between an agent's side and callers, as the parts of the benchmark need them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.media.agent import Agent, HubProcess, agent_side, cores, hub
from benchmarks.media.agent_side import AgentSetup
from benchmarks.media.caller import Caller, Callers, Send, at_once, callers
from benchmarks.media.ear import Attention
from benchmarks.media.part import kept_to
from benchmarks.media.sides import SystemName, Voice

#: Set up at once; what many at once do to each other is a part of its own.
AT_A_TIME = 4


class Calls:
    """The calls with one agent's side."""

    def __init__(self, agent: Agent, hub: HubProcess, ticking: Callers) -> None:
        self.agent = agent
        self.callers: list[Caller] = []
        self._hub = hub
        self._ticking = ticking
        self._numbers = itertools.count()

    async def add(
        self, voice: Voice, packets: Sequence[bytes], send: Send = at_once, *, keep: bool = False
    ) -> Caller:
        """One more call, in which the agent speaks as `voice` says and the caller says `packets`.

        With `keep` the caller keeps what it receives.
        """
        caller = Caller(next(self._numbers), packets, send)
        if keep:
            caller.arrivals.kept = []
        try:
            await caller.connect(self.agent, voice, self._hub)
        except BaseException:
            await caller.close()
            raise
        self.callers.append(caller)
        self._ticking.begin(caller)
        return caller

    async def add_many(self, count: int, voice: Voice, packets: Sequence[bytes]) -> None:
        """So many more, a few at a time."""
        for start in range(0, count, AT_A_TIME):
            now = min(AT_A_TIME, count - start)
            await asyncio.gather(*(self.add(voice, packets) for _ in range(now)))

    async def callers_cpu_s(self) -> float:
        """Processor time so far of those who share the callers' processor: this process and the hub."""
        return await asyncio.to_thread(self._hub.cpu_s) + time.process_time()

    async def end(self, caller: Caller, *, save: Path | None = None) -> None:
        """Hang up at both ends; what the agent's side heard goes to `save` if it kept it (`ear.load`)."""
        self.callers.remove(caller)
        self._ticking.end(caller)
        await self.agent.ask("close", number=caller.number, save=save and str(save))
        await caller.close()

    async def end_all(self) -> None:
        await asyncio.gather(*(self.end(caller) for caller in list(self.callers)))


@asynccontextmanager
async def on_cores_apart() -> AsyncIterator[tuple[HubProcess, Callers, int | None]]:
    """A hub and callers on one processor; the number of the other, which is the agent's alone."""
    apart = cores()
    with kept_to(apart[1] if apart else None):
        async with hub() as running, callers() as ticking:
            yield running, ticking, apart[0] if apart else None


@asynccontextmanager
async def calls_with(
    system: SystemName,
    running: HubProcess,
    ticking: Callers,
    core: int | None = None,
    attention: Attention = "count",
) -> AsyncIterator[Calls]:
    """An agent's side of its own, without a call so far; its calls are ended with the block."""
    async with agent_side(AgentSetup(system, attention, core)) as agent:
        calls = Calls(agent, running, ticking)
        try:
            yield calls
        finally:
            await calls.end_all()
