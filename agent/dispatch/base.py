"""Where agents run. The controller asks a dispatcher; it does not know whether agents share its process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from pipelines.base import EngineInfo

#: What a room may be called here: the protocol allows more, links and file names do not.
ROOM_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


class AgentState(StrEnum):
    """What an agent is doing, as the API and the room see it."""

    JOINING = "joining"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    LEAVING = "leaving"
    #: It left because it was asked to, or because the room stayed empty.
    ENDED = "ended"
    #: It left because something broke; `AgentStatus.error` says what.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One agent for one room. None means: as the persona says."""

    room: str
    persona: str = "default"
    instructions: str | None = None
    greeting: str | None = None
    voice: str | None = None
    language: str | None = None
    #: Opaque to us; returned with the agent.
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """A snapshot of one agent."""

    id: str
    request: AgentRequest
    state: AgentState
    created_at: datetime
    #: The agent's peer id in the room, once it has joined.
    peer_id: str | None
    #: The peers it hears.
    callers: tuple[str, ...]
    turns: int
    engines: tuple[EngineInfo, ...]
    #: What the person who dispatched it should know, e.g. a language its recogniser does not speak.
    warnings: tuple[str, ...] = ()
    error: str | None = None


class UnknownPersonaError(Exception):
    """`persona` names none that is there; `known` lists those that are."""

    def __init__(self, persona: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no persona {persona!r}; there are: {', '.join(known)}")
        self.known = known


class CapacityError(Exception):
    """As many agents run here as are allowed; the message says how many."""


class DispatchError(Exception):
    """The agent could not be brought into its room; the message says why, in plain words."""


def reason_of(failure: BaseException) -> str | None:
    """The words of the `DispatchError` in a failure or a group of them; None when there is none."""
    if isinstance(failure, DispatchError):
        return str(failure)
    if isinstance(failure, BaseExceptionGroup):
        return next((reason for part in failure.exceptions if (reason := reason_of(part))), None)
    return None


class Dispatcher(Protocol):
    async def dispatch(self, request: AgentRequest) -> tuple[AgentStatus, bool]:
        """Bring an agent into a room; returns when it has joined. The flag is False when the same
        (room, persona) was there already.

        Raises `UnknownPersonaError`, `CapacityError`, `DispatchError`.
        """

    def agents(self) -> list[AgentStatus]:
        """Every agent, the ones that recently ended included, oldest first."""

    def agent(self, agent_id: str) -> AgentStatus | None: ...

    async def remove(self, agent_id: str) -> AgentStatus | None:
        """Let the agent finish its sentence and leave; None if there is no such agent. Idempotent."""

    async def close(self) -> None:
        """Let every agent leave, within a deadline."""
