"""A dispatcher and a room access that keep everything in memory, for tests of the layer above them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.controller.parts import CallerAccess, Parts, PersonaInfo, Role
from agent.dispatch.base import AgentRequest, AgentState, AgentStatus, UnknownPersonaError
from pipelines.base import EngineInfo

ENGINES = (
    EngineInfo(
        kind="stt", engine="pocketsphinx", model="en-us", reason="no Whisper weights here", languages=("en",)
    ),
    EngineInfo(kind="llm", engine="scripted", model="built in", reason="no endpoint is set"),
    EngineInfo(kind="tts", engine="piper", model="builtin", reason="the voice that comes with the package"),
)
PERSONAS = (
    PersonaInfo(name="default", description="A friendly assistant", language="en"),
    PersonaInfo(name="booking", description="Takes reservations"),
)
ACCESS = CallerAccess(url=None, token="a.b.c", expires_at=datetime(2025, 1, 31, 13, tzinfo=UTC))


@dataclass
class MemoryDispatcher:
    """Agents are entries in a dict; `refuse` makes the next dispatches fail with it."""

    refuse: Exception | None = None
    requests: list[AgentRequest] = field(default_factory=list)
    statuses: dict[str, AgentStatus] = field(default_factory=dict)

    async def dispatch(self, request: AgentRequest) -> tuple[AgentStatus, bool]:
        self.requests.append(request)
        if self.refuse is not None:
            raise self.refuse
        known = tuple(persona.name for persona in PERSONAS)
        if request.persona not in known:
            raise UnknownPersonaError(request.persona, known)
        for status in self.statuses.values():
            if (status.request.room, status.request.persona) == (request.room, request.persona):
                return status, False
        agent_id = f"agent-{len(self.statuses) + 1}"
        self.statuses[agent_id] = AgentStatus(
            id=agent_id,
            request=request,
            state=AgentState.LISTENING,
            created_at=datetime(2025, 1, 31, 12, tzinfo=UTC),
            peer_id=f"~{agent_id}",
            callers=(),
            turns=0,
            engines=ENGINES,
        )
        return self.statuses[agent_id], True

    def agents(self) -> list[AgentStatus]:
        return list(self.statuses.values())

    def agent(self, agent_id: str) -> AgentStatus | None:
        return self.statuses.get(agent_id)

    async def remove(self, agent_id: str) -> AgentStatus | None:
        status = self.statuses.get(agent_id)
        if status is None:
            return None
        next_state = AgentState.ENDED if status.state == AgentState.LEAVING else AgentState.LEAVING
        self.statuses[agent_id] = replace(status, state=next_state)
        return self.statuses[agent_id]

    async def close(self) -> None:
        self.statuses.clear()


@dataclass
class MemoryAccess:
    """Hands out one fixed answer and remembers who asked."""

    answer: CallerAccess = ACCESS
    refuse: Exception | None = None
    asked: list[tuple[str, str | None, Role]] = field(default_factory=list)

    async def caller_access(self, room: str, name: str | None, role: Role) -> CallerAccess:
        self.asked.append((room, name, role))
        if self.refuse is not None:
            raise self.refuse
        return self.answer


def make_parts(dispatcher: MemoryDispatcher | None = None, rooms: MemoryAccess | None = None) -> Parts:
    return Parts(
        dispatcher=dispatcher or MemoryDispatcher(),
        rooms=rooms or MemoryAccess(),
        engines=lambda: ENGINES,
        personas=lambda: PERSONAS,
        version="1.2.3",
    )
