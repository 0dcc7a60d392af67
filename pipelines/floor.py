"""The states the floor can be in. What leads from one to the other is `pipelines.turns`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import TypeAlias

from pipelines.endpoint import Prosody


class Stage(Enum):
    """How far a segment has come. Speech that goes on leads back to SPEAKING until it is ACCEPTED."""

    SPEAKING = "speaking"
    #: Silent, for less than `pause_ms`.
    PAUSED = "paused"
    #: Its recognition is under way …
    ASKED = "asked"
    #: … and somebody is waiting for it.
    AWAITED = "awaited"
    KNOWN = "known"
    FAILED = "failed"
    #: It was typed: its text is known from the start, and speech never continues it.
    WRITTEN = "written"
    #: Its text belongs to the dialogue.
    ACCEPTED = "accepted"


UNDER_WAY = frozenset({Stage.ASKED, Stage.AWAITED})
#: What speech never continues.
CLOSED = frozenset({Stage.ACCEPTED, Stage.WRITTEN})


@dataclass(slots=True)
class Silence:
    """What is known of a segment's last pause besides its length."""

    prosody: Prosody | None = None
    model_probability: float | None = None
    speech_probability: float = 0.0


@dataclass(slots=True)
class Segment:
    """One stretch of a caller's speech, with the pauses in it."""

    peer: str
    id: str
    started_ms: float
    #: The last recognition asked for; an answer to an earlier one is stale.
    revision: int = -1
    stage: Stage = Stage.SPEAKING
    #: Its words: all of them once it is KNOWN, before that and where it FAILED the first of them; None:
    #: nobody has said yet.
    words: str | None = None
    #: What the recogniser took them for, a language's tag; None: it did not say.
    language: str | None = None
    #: When the sound that goes on, or ended last, began, and how long all sound before it was.
    sounding_since_ms: float = 0.0
    sounded_ms: float = 0.0
    quiet_since_ms: float = 0.0
    silence: Silence = field(default_factory=Silence)
    #: The pause that went before what was said last, until it is known whether that was words.
    gap_ms: float | None = None
    #: When words of speech that goes on may be asked for; never while they are under way.
    next_words_ms: float = -inf
    #: How long it had sounded when words were known to be new last, and when all its words were asked for
    #: last although it went on.
    said_ms: float = 0.0
    asked_ms: float = -inf
    #: It began as sound without words, and no words are known in it so far.
    wordless: bool = False
    #: It goes on in another one …
    cut: bool = False
    #: … or is what another one goes on in.
    continues: bool = False

    def __post_init__(self) -> None:
        self.sounding_since_ms = self.started_ms

    @property
    def text(self) -> str:
        return self.words or ""

    @property
    def is_noise(self) -> bool:
        """It goes on, and nobody has to wait for it."""
        return self.wordless and self.stage is Stage.SPEAKING

    def learn(self, text: str, now_ms: float) -> bool:
        """`text` are its words so far; returns whether they are other ones than before."""
        is_new = normalise(text) != normalise(self.text)
        self.words = text
        if is_new:
            self.said_ms = self.speech_ms(now_ms)
            self.wordless = False
        return is_new

    def speech_ms(self, now_ms: float) -> float:
        """How long it has sounded, pauses not counted."""
        end_ms = now_ms if self.stage is Stage.SPEAKING else self.quiet_since_ms
        return self.sounded_ms + max(0.0, end_ms - self.sounding_since_ms)

    def sounded_ms_at(self, duration_ms: float) -> float:
        """When it will have sounded for so long, if it goes on."""
        return self.sounding_since_ms + duration_ms - self.sounded_ms

    def silence_ms(self, now_ms: float) -> float:
        """How long it has been silent."""
        return 0.0 if self.stage is Stage.SPEAKING else max(0.0, now_ms - self.quiet_since_ms)

    def fall_silent(self, at_ms: float, prosody: Prosody | None) -> None:
        self.stage = Stage.PAUSED
        self.quiet_since_ms = max(at_ms, self.sounding_since_ms)
        self.silence = Silence(prosody)

    def go_on(self, at_ms: float) -> None:
        self.sounded_ms = self.speech_ms(at_ms)
        self.gap_ms = max(0.0, at_ms - self.quiet_since_ms)
        self.sounding_since_ms = at_ms
        self.stage = Stage.SPEAKING
        # What begins again may be something else.
        self.wordless = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply that has not sounded, and the normalised text it answers."""

    id: str
    key: str
    #: It was prepared before the turn was over.
    speculative: bool = False


@dataclass(slots=True)
class Open:
    """Nobody has the floor."""


@dataclass(slots=True)
class CallerHas:
    """A caller speaks, or pauses inside their turn; `draft` is the speculation on what they said so far.

    So it is, too, as long as there is noise, and nobody who speaks.
    """

    segments: list[Segment]
    draft: Draft | None = None


@dataclass(slots=True)
class Thinking:
    """The turn is over and nothing sounds yet, but noise; without `reply` a transcript is still awaited."""

    segments: list[Segment]
    reply: Draft | None = None


@dataclass(slots=True)
class AgentHas:
    """The reply sounds, since `since_ms`. The `asides` are words that were said over it lately and did not
    take the floor."""

    reply: str
    since_ms: float
    asides: list[Segment] = field(default_factory=list)


class Level(Enum):
    """How a reply sounds that is spoken over."""

    #: What speaks over it was judged to be nothing, and has not ended yet.
    FULL = "full"
    DUCKED = "ducked"
    PAUSED = "paused"


@dataclass(slots=True)
class Startled:
    """Somebody may be beginning to speak over the reply; until `until_ms`."""

    playing: AgentHas
    until_ms: float
    level: Level = Level.DUCKED


@dataclass(slots=True)
class Contested:
    """Somebody speaks over the reply. `judged_ms`: when it was last decided what that is."""

    playing: AgentHas
    segments: list[Segment]
    level: Level = Level.DUCKED
    judged_ms: float = -inf


Floor: TypeAlias = Open | CallerHas | Thinking | AgentHas | Startled | Contested

_NOT_A_WORD = re.compile(r"[^\w]+")


def normalise(text: str) -> str:
    """The words alone: what decides whether two transcripts say the same."""
    return _NOT_A_WORD.sub(" ", text).strip().casefold()
