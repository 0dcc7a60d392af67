"""Speech over the reply: what is known of it, and what it comes to; pure.

From its first sound (t = 0)::

    murmur │ yield_ms   │ onset │ words, every so often │ last sound │ pause_ms, words
    ───────┼────────────┼───────┼───────────────────────┼────────────┼────────────────▶ t
      Duck ┘      Pause ┘ (nothing is lost)                `judge`: Cancel, or Resume
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines import events as ev
from pipelines.floor import AgentHas, Contested, Level, Segment, Stage, Startled, normalise
from pipelines.interruption import Overlap, Verdict, judge
from pipelines.options import TurnOptions

#: How often it is decided anew what speech over the reply is, while nothing but time passes.
JUDGE_EVERY_MS = 40.0
#: Words of speech over the reply are asked for after so much of it, and then so long after each answer.
WORDS_AFTER_MS = 240.0
WORDS_EVERY_MS = 150.0
#: How long the reply stays ducked after the last of a sound that did not become speech.
STARTLE_MS = 80.0
#: What was said over the end of a question, and did not take the floor, is its answer for so long.
LATE_ANSWER_MS = 1000.0
#: So many are remembered at most, the latest.
MAX_ASIDES = 8
#: Whoever begins to speak so soon after a reply did not hear it: they go on with what they were saying.
REACTION_MS = 250.0


class Overlaps:
    """Decides about what is said over the replies of one room. `do` takes the commands."""

    def __init__(
        self, options: TurnOptions, language: str | None, *, do: Callable[[ev.Command], None]
    ) -> None:
        self._options = options
        self._language = language
        self._do = do

    def judge(self, floor: Contested, now_ms: float) -> Segment | None:
        """Returns the segment that takes the floor, if one does; what is nothing is taken out of `floor`."""
        floor.judged_ms = now_ms
        found = [
            (s, Verdict.GIVE_BACK if s.is_noise else self._verdict(s, floor, now_ms)) for s in floor.segments
        ]
        for segment, verdict in found:
            if verdict is Verdict.TAKE:
                self._record(segment, now_ms, taken=True)
                return segment
        for segment, verdict in found:
            if verdict is Verdict.GIVE_BACK and segment.stage is not Stage.SPEAKING:
                self._record(segment, now_ms, taken=False)
                floor.segments.remove(segment)
                self.set_aside(floor.playing, segment)
        if all(verdict is Verdict.GIVE_BACK for _, verdict in found):
            # A noise that does not end is no reason to be silent for as long as it lasts.
            self.resume(floor)
        return None

    def pause(self, floor: Startled | Contested) -> None:
        floor.level = Level.PAUSED
        self._do(ev.Pause(floor.playing.reply))

    def resume(self, floor: Contested) -> None:
        if floor.level is not Level.FULL:
            floor.level = Level.FULL
            self._do(ev.Resume(floor.playing.reply))

    def set_aside(self, playing: AgentHas, segment: Segment) -> None:
        """`segment`, said over the reply, did not take the floor. Words may still be an answer, whatever
        sound follows."""
        if segment.stage is Stage.KNOWN and normalise(segment.text):
            playing.asides.append(segment)
            self.forget(playing, playing.asides[:-MAX_ASIDES])
        else:
            why: ev.Why = "empty" if segment.stage is Stage.KNOWN else "aside"
            self._do(ev.Forget(segment.peer, segment.id, why))

    def forget(self, playing: AgentHas, asides: Sequence[Segment]) -> None:
        """Some of the asides of `playing` are no answers."""
        for aside in list(asides):
            self._do(ev.Forget(aside.peer, aside.id, "aside"))
            playing.asides.remove(aside)

    def _verdict(self, segment: Segment, floor: Contested, now_ms: float) -> Verdict:
        return judge(
            Overlap(
                speech_ms=segment.speech_ms(now_ms),
                silence_ms=segment.silence_ms(now_ms),
                # Where the recogniser is out of order the sound alone decides.
                text=None if segment.stage is Stage.FAILED else segment.words,
                text_is_final=segment.stage is Stage.KNOWN,
                language=self._language or segment.language,
                reply_age_ms=max(0.0, now_ms - floor.playing.since_ms),
            ),
            self._options,
        )

    def _record(self, segment: Segment, now_ms: float, *, taken: bool) -> None:
        words = len(normalise(segment.text).split())
        self._do(ev.OverlapEnded(taken, segment.speech_ms(now_ms), segment.silence_ms(now_ms), words))


def said_over(floor: Contested) -> list[Segment]:
    """All that was said over the reply lately, to be a turn of its own."""
    asides, floor.playing.asides = floor.playing.asides, []
    return [*asides, *floor.segments]
