"""What happens to the floor, and what is to be done about it: the language `pipelines.turns` speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

# --------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Onset:
    """A caller began to speak (or went on after a pause) at `at_ms`."""

    peer: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Offset:
    """A caller's last sound was at `at_ms`."""

    peer: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The recogniser's answer to a `Transcribe` with the same segment and revision."""

    segment: str
    revision: int
    text: str


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
    """A released reply has nothing more to play."""

    reply: str


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """A peer is gone; `alone` says that it was the last one."""

    peer: str
    alone: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent when `Turns.deadline_ms` is reached."""


Event: TypeAlias = (
    Onset
    | Offset
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
    """Recognise the segment so far; answer with `Transcribed` or `NotTranscribed`."""

    peer: str
    segment: str
    revision: int


@dataclass(frozen=True, slots=True)
class Accept:
    """The segment's text is final: it was said. Close its recognition."""

    peer: str
    segment: str
    text: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The segment was nothing (noise, a backchannel, a caller who left). Close its recognition."""

    peer: str
    segment: str


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
    """Play on, quieter: somebody speaks over the reply."""

    reply: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Back to full level: it was nothing."""

    reply: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the reply and drop what has not been played; keep what was heard."""

    reply: str


Command: TypeAlias = (
    Listen | Transcribe | Accept | Forget | Think | Say | Speak | Hold | Duck | Resume | Cancel
)

#: What `Say` announces when the recogniser failed on everything that was said in a turn.
NOT_UNDERSTOOD = "not_understood"
