"""What a conversation tells the world outside; ``docs/room-messages.md`` shows what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias


class State(StrEnum):
    """What the agent is doing, as people see it."""

    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: State


@dataclass(frozen=True, slots=True)
class Caption:
    """What somebody says. A later caption with the same `id` replaces this one.

    Final and empty: it was nothing after all (a noise, a reply nobody heard).
    """

    speaker: Literal["caller", "agent"]
    #: Who spoke; empty for the agent, whose peer id this layer does not know.
    peer: str
    #: The segment's or the reply's.
    id: str
    text: str
    final: bool
    #: The agent was cut off: what followed `text` was not heard.
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the caller of a turn waited for the first sound of the answer, and for what."""

    turn: int
    total_ms: float
    steps_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something broke that the people in the room should know; in plain words, without what they said."""

    message: str


Report: TypeAlias = StateChanged | Caption | Latency | Problem
