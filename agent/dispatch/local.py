"""Agents in this process, side by side on its event loop, sharing its models."""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from collections import OrderedDict
from dataclasses import replace
from typing import Self

from prometheus_client import Counter, Gauge

from agent.access import Access
from agent.dispatch.base import (
    AgentRequest,
    AgentState,
    AgentStatus,
    CapacityError,
    DispatchError,
    reason_of,
)
from agent.personas import Personas
from agent.settings import Settings
from agent.worker import Worker
from pipelines.engines import Engines
from pipelines.persona import Persona

_log = logging.getLogger(__name__)
_AGENTS = Gauge("voice_agent_agents", "Agents in a room")
_FAILED = Counter("voice_agent_agents_failed_total", "Agents that ended because something broke")

#: Agents that ended are remembered for whoever asks what became of them; the oldest are forgotten.
MAX_REMEMBERED = 100


class LocalDispatcher:
    """`async with LocalDispatcher(...)`: when the block ends, every agent has left."""

    def __init__(self, settings: Settings, engines: Engines, personas: Personas, access: Access) -> None:
        self._settings = settings
        self._engines = engines
        self._personas = personas
        self._access = access
        self._running: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self._ended: OrderedDict[str, AgentStatus] = OrderedDict()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        await self._tasks.__aexit__(None, None, None)

    async def dispatch(self, request: AgentRequest) -> tuple[AgentStatus, bool]:
        """See `Dispatcher.dispatch`."""
        persona = self._personas.for_request(request)
        created = False
        worker = self._find(request)
        if worker is None:
            if len(self._running) >= (limit := self._settings.agents.max_agents):
                raise CapacityError(f"all {limit} agents are in use")
            worker = self._start(request, persona)
            created = True
        status = await self._when_joined(worker)
        return (status if created else _unchanged(status, request)), created

    def agents(self) -> list[AgentStatus]:
        """See `Dispatcher.agents`."""
        return [*self._ended.values(), *(worker.status() for worker, _ in self._running.values())]

    def agent(self, agent_id: str) -> AgentStatus | None:
        """See `Dispatcher.agent`."""
        if agent_id in self._running:
            return self._running[agent_id][0].status()
        return self._ended.get(agent_id)

    async def remove(self, agent_id: str) -> AgentStatus | None:
        """See `Dispatcher.remove`."""
        if agent_id in self._running:
            self._running[agent_id][0].leave()
        return self.agent(agent_id)

    async def close(self) -> None:
        """See `Dispatcher.close`."""
        tasks = [task for _, task in self._running.values()]
        for worker, _ in self._running.values():
            worker.leave()
        if tasks:
            # Leaving has deadlines of its own; this one is for a worker that is stuck while joining.
            limit_s = self._settings.agents.leave_timeout_s + 5
            _, late = await asyncio.wait(tasks, timeout=limit_s)
            for task in late:
                task.cancel()

    def _find(self, request: AgentRequest) -> Worker | None:
        for worker, _ in self._running.values():
            same = (worker.request.room, worker.request.persona) == (request.room, request.persona)
            if same and worker.status().state is not AgentState.LEAVING:
                return worker
        return None

    def _start(self, request: AgentRequest, persona: Persona) -> Worker:
        agent_id = secrets.token_hex(6)
        worker = Worker(
            agent_id,
            request,
            persona,
            access=self._access.for_agent(agent_id, request.room, persona.name),
            engines=self._engines,
            settings=self._settings,
        )
        self._running[agent_id] = (worker, self._tasks.create_task(self._run(worker)))
        _AGENTS.inc()
        return worker

    async def _run(self, worker: Worker) -> None:
        error: str | None = "it was stopped before it could leave"
        try:
            await worker.run()
            error = None
        except Exception as failure:  # one call's fault must not end the others
            error = reason_of(failure)
            if error is None:
                # The text of a foreign exception may quote what people said.
                _log.error("agent %s failed: %s", worker.id, _kind_and_place(failure))
                error = "an internal error; the service's log says more"
        finally:
            state = AgentState.ENDED if error is None else AgentState.FAILED
            if state is AgentState.FAILED:
                _FAILED.inc()
            _AGENTS.dec()
            del self._running[worker.id]
            self._ended[worker.id] = replace(worker.status(), state=state, callers=(), error=error)
            if len(self._ended) > MAX_REMEMBERED:
                self._ended.popitem(last=False)

    async def _when_joined(self, worker: Worker) -> AgentStatus:
        task = self._running[worker.id][1]
        joined = asyncio.ensure_future(worker.joined.wait())
        try:
            timeout_s = self._settings.agents.join_timeout_s
            done, _ = await asyncio.wait(
                {joined, task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            joined.cancel()
        if not done:
            task.cancel()
            raise DispatchError(f"the room could not be joined within {timeout_s:g} s")
        status = self.agent(worker.id)
        assert status is not None
        if not worker.joined.is_set():
            raise DispatchError(status.error or "the agent left before it had joined")
        return status


def _kind_and_place(failure: BaseException) -> str:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    frames = traceback.extract_tb(failure.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(failure).__name__} at {place}"


def _unchanged(status: AgentStatus, request: AgentRequest) -> AgentStatus:
    """What a second request asked for and the agent that was there already does not follow, as a warning."""
    fields = ("instructions", "greeting", "voice", "language", "metadata")
    asked = [f for f in fields if getattr(request, f) not in (None, {}, getattr(status.request, f))]
    if not asked:
        return status
    warning = f"this agent was here already, without your {', '.join(asked)}; DELETE it first to have another"
    return replace(status, warnings=(*status.warnings, warning))
