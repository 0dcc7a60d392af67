"""The states the floor can be in. What leads from one to the other is `pipelines.turns`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Stage(Enum):
    """How far a segment has come. A pause that ends leads from PAUSED, ASKED, KNOWN or FAILED to SPEAKING."""

    SPEAKING = "speaking"
    #: Silent, for less than `pause_ms`.
    PAUSED = "paused"
    #: Its recognition is under way.
    ASKED = "asked"
    KNOWN = "known"
    FAILED = "failed"
    #: It was typed: its text is known from the start, and speech never continues it.
    WRITTEN = "written"
    #: Its text belongs to the dialogue.
    ACCEPTED = "accepted"


@dataclass(slots=True)
class Segment:
    peer: str
    id: str
    started_ms: float
    #: Counts the times it was continued; an answer to an older revision is stale.
    revision: int = 0
    stage: Stage = Stage.SPEAKING
    quiet_since_ms: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply that has not sounded, and the normalised text it answers."""

    id: str
    key: str


@dataclass(slots=True)
class Open:
    """Nobody has the floor."""


@dataclass(slots=True)
class CallerHas:
    """A caller speaks, or pauses inside their turn; `draft` is the speculation on what they said so far."""

    segments: list[Segment]
    draft: Draft | None = None


@dataclass(slots=True)
class Thinking:
    """The turn is over and nothing sounds yet; without `reply` a transcript is still awaited."""

    segments: list[Segment]
    reply: Draft | None = None


@dataclass(slots=True)
class AgentHas:
    """The reply sounds."""

    reply: str


@dataclass(slots=True)
class Contested:
    """The reply sounds, ducked, while somebody speaks over it."""

    reply: str
    segments: list[Segment]


Floor: TypeAlias = Open | CallerHas | Thinking | AgentHas | Contested

_NOT_A_WORD = re.compile(r"[^\w]+")


def normalise(text: str) -> str:
    """The words alone: what decides whether two transcripts say the same."""
    return _NOT_A_WORD.sub(" ", text).strip().casefold()
