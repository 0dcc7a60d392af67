"""Speech over the reply: what is known of it, and what it comes to; pure."""

from __future__ import annotations

from pipelines.floor import Contested, Segment, Stage
from pipelines.interruption import Overlap, Verdict, judge
from pipelines.options import TurnOptions

#: How often it is decided anew what speech over the reply is, while nothing but time passes.
JUDGE_EVERY_MS = 40.0
#: Words of speech over the reply are asked for after so much of it, and then so long after each answer.
WORDS_AFTER_MS = 240.0
WORDS_EVERY_MS = 150.0
#: How long the reply stays ducked for a sound that may become speech.
STARTLE_MS = 160.0
#: What was said over the end of a question, and did not take the floor, is its answer for so long.
LATE_ANSWER_MS = 1000.0
#: Whoever takes the floor from a reply this young had not finished when it began.
YOUNG_REPLY_MS = 1000.0


def verdict(
    segment: Segment, floor: Contested, now_ms: float, language: str | None, options: TurnOptions
) -> Verdict:
    """What `segment` over the reply is, as far as it is known."""
    speaking = segment.stage is Stage.SPEAKING
    return judge(
        Overlap(
            speech_ms=segment.speech_ms(now_ms),
            silence_ms=0.0 if speaking else max(0.0, now_ms - segment.quiet_since_ms),
            # Where the recogniser is out of order the sound alone decides.
            text=None if segment.stage is Stage.FAILED else segment.words,
            text_is_final=segment.stage is Stage.KNOWN,
            language=language,
            reply_age_ms=max(0.0, now_ms - floor.playing.since_ms),
        ),
        options,
    )


def words_due_ms(segment: Segment) -> float:
    """When the words of a segment that goes on are to be asked for."""
    after_ms = segment.sounding_since_ms + WORDS_AFTER_MS - segment.sounded_ms
    return max(after_ms, segment.next_words_ms)
