"""What time alone will bring about: everything that is due at some moment if nothing else happens; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from pipelines.contest import JUDGE_EVERY_MS, LATE_ANSWER_MS, WORDS_AFTER_MS
from pipelines.ending import Endings
from pipelines.floor import (
    UNDER_WAY,
    AgentHas,
    CallerHas,
    Contested,
    Floor,
    Level,
    Open,
    Segment,
    Stage,
    Startled,
    Thinking,
)
from pipelines.options import TurnOptions
from pipelines.segments import wordless_ms


class Due(Enum):
    #: A pause is long enough to ask for the words before it.
    ASK = "ask"
    #: The words are missing for long: somebody waits for them now.
    HURRY = "hurry"
    END_TURN = "end turn"
    #: A segment is at the recogniser's limit.
    CUT = "cut"
    #: A sound that might have become speech did not.
    CALM_DOWN = "calm down"
    #: What was said over the reply is too old to be the answer to its last sentence.
    FORGET_ASIDE = "forget aside"
    #: Words of what goes on: over the reply soon and often, else to learn whether it is speech at all.
    ASK_SOME = "ask some"
    PAUSE_REPLY = "pause reply"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Deadline:
    at_ms: float
    due: Due
    #: The one it is about, where it is about one.
    segment: Segment | None = None
    #: Why the turn is over.
    reasons: tuple[tuple[str, float], ...] = ()


def next_deadline(floor: Floor, options: TurnOptions, endings: Endings) -> Deadline | None:
    """What is due first, however long ago; None where only an event can change anything."""
    return min(_deadlines(floor, options, endings), key=lambda one: one.at_ms, default=None)


def _deadlines(floor: Floor, options: TurnOptions, endings: Endings) -> Iterator[Deadline]:
    match floor:
        case CallerHas(segments) | Thinking(segments):
            yield from _of_segments(segments, options)
            yield from _of_noise(segments, options)
            heard = [s for s in segments if not s.is_noise]
            if isinstance(floor, CallerHas) and heard and not any(s.stage is Stage.SPEAKING for s in heard):
                yield _ending(heard, options, endings)
        case Contested(_, segments):
            yield from _of_segments(segments, options)
            yield from _of_overlap(floor, options)
            if floor.level is Level.FULL:
                yield from _of_asides(floor.playing)
        case Startled(_, until_ms):
            yield Deadline(until_ms, Due.CALM_DOWN)
        case AgentHas():
            yield from _of_asides(floor)
        case Open():
            pass


def _of_segments(segments: Sequence[Segment], options: TurnOptions) -> Iterator[Deadline]:
    for s in segments:
        if s.stage is Stage.PAUSED:
            yield Deadline(s.quiet_since_ms + options.pause_ms, Due.ASK, s)
        elif s.stage is Stage.SPEAKING:
            yield Deadline(s.started_ms + options.max_segment_ms, Due.CUT, s)


def _of_asides(playing: AgentHas) -> Iterator[Deadline]:
    for aside in playing.asides:
        yield Deadline(aside.quiet_since_ms + LATE_ANSWER_MS, Due.FORGET_ASIDE, aside)


def _of_noise(segments: Sequence[Segment], options: TurnOptions) -> Iterator[Deadline]:
    """Whether sound that goes on is speech has to be asked, as everybody waits for its end."""
    for s in segments:
        if s.stage is Stage.SPEAKING and s.next_words_ms < inf:
            words_ms = s.sounded_ms_at(max(s.said_ms, s.asked_ms) + wordless_ms(options))
            yield Deadline(max(words_ms, s.next_words_ms), Due.ASK_SOME, s)


def _of_overlap(floor: Contested, options: TurnOptions) -> Iterator[Deadline]:
    yield Deadline(floor.judged_ms + JUDGE_EVERY_MS, Due.JUDGE)
    for s in floor.segments:
        if s.stage is not Stage.SPEAKING:
            continue
        words_ms = max(s.sounded_ms_at(WORDS_AFTER_MS), s.next_words_ms)
        if words_ms < inf:
            yield Deadline(words_ms, Due.ASK_SOME, s)
        if floor.level is Level.DUCKED:
            yield Deadline(s.sounded_ms_at(options.yield_ms), Due.PAUSE_REPLY)


def _ending(segments: Sequence[Segment], options: TurnOptions, endings: Endings) -> Deadline:
    """When the turn is over, or when the wait for its words has become a long one."""
    over_ms, decision = endings.over_ms(segments)
    # While words are awaited nothing is over, but for so long only.
    if any(s.stage in UNDER_WAY | {Stage.PAUSED} for s in segments):
        latest_ms = max(s.quiet_since_ms for s in segments) + options.end_of_turn_max_ms
        if over_ms < latest_ms and any(s.stage in {Stage.ASKED, Stage.PAUSED} for s in segments):
            return Deadline(over_ms, Due.HURRY)
        over_ms = latest_ms
    return Deadline(over_ms, Due.END_TURN, reasons=decision.reasons)
