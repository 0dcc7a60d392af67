"""What happens to the floor, and what is to be done about it: the language `pipelines.turns` speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipelines.endpoint import Prosody

# --------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Murmur:
    """A caller may be beginning to speak: too little sound yet to be sure. An `Onset` follows, or nothing.

    It has sounded for `sounded_ms`; told again with each more of it.
    """

    peer: str
    at_ms: float
    sounded_ms: float


@dataclass(frozen=True, slots=True)
class Onset:
    """A caller began to speak (or went on after a pause) at `at_ms`."""

    peer: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Offset:
    """A caller's last sound was at `at_ms`; `prosody` is how the speech before it sounded."""

    peer: str
    at_ms: float
    prosody: Prosody | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """A caller who fell silent still is; the mean `speech_probability` (0..1) of the silence so far."""

    peer: str
    speech_probability: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What the end-of-turn model says of the pause that a `Transcribe` belongs to: `probability` 0..1."""

    segment: str
    revision: int
    probability: float


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The recogniser's answer to a `Transcribe` with the same segment and revision.

    `language` is the tag of what it heard; None: it cannot tell.
    """

    segment: str
    revision: int
    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class NotTranscribed:
    """The recogniser failed on a `Transcribe`."""

    segment: str
    revision: int


@dataclass(frozen=True, slots=True)
class Typed:
    """A caller wrote `text` (not empty) instead of saying it."""

    peer: str
    text: str


@dataclass(frozen=True, slots=True)
class Announce:
    """The agent has something to say of its own accord; dropped unless nobody has the floor."""

    what: str


@dataclass(frozen=True, slots=True)
class ReplyAudible:
    """The first sound of a reply was handed to the playout."""

    reply: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """A released reply has nothing more to play; `asks`: it ended with a question."""

    reply: str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """A peer is gone, or their microphone; `alone`: nobody is left who could hear the agent."""

    peer: str
    alone: bool
    #: Only the microphone: what they wrote is answered.
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent when `Turns.deadline_ms` is reached."""


Event: TypeAlias = (
    Murmur
    | Onset
    | Offset
    | Quiet
    | Judged
    | Transcribed
    | NotTranscribed
    | Typed
    | Announce
    | ReplyAudible
    | ReplyDone
    | CallerLeft
    | Tick
)

# ------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Listen:
    """Open the recognition of a new segment, from `from_ms` on.

    The shell adds its pre-roll, except where the segment `continues` one that was cut: what was said before
    is in that.
    """

    peer: str
    segment: str
    from_ms: float
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Recognise the segment so far; answer with `Transcribed` or `NotTranscribed`.

    A new revision replaces the one before. The same one again, now `decisive`, is more urgent: somebody is
    waiting for it, and whichever answer is first counts. `rough`: it goes on, and what its first words are is
    all there is to know.
    """

    peer: str
    segment: str
    revision: int
    decisive: bool = False
    rough: bool = False


@dataclass(frozen=True, slots=True)
class Accept:
    """The segment's text is final: it was said. Close its recognition."""

    peer: str
    segment: str
    text: str


#: ``empty``: no words in it. ``failed``: nobody could tell. ``aside``: said over the reply without taking the
#: floor. ``left``: whoever said it is gone.
Why: TypeAlias = Literal["empty", "failed", "aside", "left"]


@dataclass(frozen=True, slots=True)
class Forget:
    """The segment is no part of the dialogue, and why. Close its recognition."""

    peer: str
    segment: str
    why: Why


@dataclass(frozen=True, slots=True)
class Think:
    """Prepare a reply to the dialogue plus `unaccepted` (peer, text) pairs; nothing may sound yet."""

    reply: str
    turn: int
    unaccepted: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Say:
    """Prepare an announcement as a reply; nothing may sound yet."""

    reply: str
    what: str


@dataclass(frozen=True, slots=True)
class Speak:
    """Open the gate: the reply may sound."""

    reply: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Close the gate of a released reply that has not sounded yet."""

    reply: str


@dataclass(frozen=True, slots=True)
class Duck:
    """Play on, quieter: somebody speaks over the reply, or is about to."""

    reply: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Be silent, and keep what is still to be played: somebody goes on speaking over the reply."""

    reply: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Play on at full level from where it was paused: it was nothing."""

    reply: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the reply and drop what has not been played; keep what was heard."""

    reply: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """For the record: the turn is over after `silence_ms`, because of `reasons` (evidence and its ms)."""

    turn: int
    silence_ms: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class OverlapEnded:
    """For the record: speech over the reply took the floor, or gave it back, after so much of it."""

    taken: bool
    speech_ms: float
    silence_ms: float
    #: How many words of it were known.
    words: int


#: What became of an answer prepared before the turn was over. ``used``: it sounded. ``unchanged``: more
#: sound, the same words, nothing done twice. ``wasted``: thrown away unheard, because of other words or
#: because whoever asked is gone; also where the turn was over already, and went on after all.
#: ``withheld``: not prepared, because too many were thrown away lately.
Outcome: TypeAlias = Literal["used", "unchanged", "wasted", "withheld"]


@dataclass(frozen=True, slots=True)
class Speculated:
    """For the record: what became of a speculation."""

    outcome: Outcome


Command: TypeAlias = (
    Listen
    | Transcribe
    | Accept
    | Forget
    | Think
    | Say
    | Speak
    | Hold
    | Duck
    | Pause
    | Resume
    | Cancel
    | TurnEnded
    | OverlapEnded
    | Speculated
)

#: What `Say` announces when the recogniser failed on everything that was said in a turn.
NOT_UNDERSTOOD = "not_understood"
