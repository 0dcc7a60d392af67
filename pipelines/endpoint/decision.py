"""How long a silence has to last until the turn counts as over; pure.

At a pause there are two mistakes: waiting longer than needed, and speaking into a turn that goes on. Let p be
the probability that the turn is over, given the evidence, and let pauses inside turns last τ on average,
exponentially distributed (so a share exp(-T/τ) of them is longer than T). Waiting T costs p·T where the turn
is over; where it is not, the answer cuts in with probability exp(-T/τ) at a price of λ. The sum is least at

    T = τ · (ln(λ / τ) - logit p)

so the silence needed falls linearly with the logit of p, and the slope is the caller's own usual pause. The
logit is a sum of weights, one for each piece of evidence (logistic regression), so every piece adds or takes
a number of milliseconds: its weight times τ. ln(λ / τ) is `PATIENCE`, the one number that trades speed
against cutting in.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from pipelines.endpoint.evidence import Decision, Evidence, Prosody
from pipelines.endpoint.words import Clue, clues
from pipelines.options import EndpointOptions

#: ln(λ/τ) less the logit of a plain sentence without punctuation, about which nothing else is known.
PATIENCE = 1.2
#: The mean pause inside turns before anything is known of this caller, and how many pauses that is worth.
USUAL_PAUSE_MS = 450.0
USUAL_PAUSE_WEIGHT = 4.0
#: τ stays within these, whatever a caller does.
MIN_PAUSE_MS, MAX_PAUSE_MS = 300.0, 800.0

#: Not recognised yet: about as cautious as plain silence would be.
UNKNOWN_WORDS = -0.4
WORDS: dict[Clue, float] = {
    Clue.NO_WORDS: -0.4,
    Clue.QUESTION_MARK: 0.9,
    Clue.FULL_STOP: 0.5,
    Clue.COMMA: -1.0,
    Clue.ELLIPSIS: -2.0,
    Clue.ANSWER: 1.2,
    Clue.QUESTION: 0.5,
    Clue.HANGING: -2.0,
    Clue.FILLER: -2.0,
    Clue.FRAGMENT: -0.6,
    Clue.HALF: -1.0,
    Clue.DICTATING: -1.6,
    Clue.DICTATED: 0.6,
    Clue.LIST: -1.2,
}
#: What a model's probability weighs against our own evidence, in logits, and how sure it can be taken to be.
MODEL_WEIGHT = 1.0
MODEL_CERTAINTY = 0.98
#: Each tenth of speech probability during the silence (breath, a drawn-out end).
SPEECH_PROBABILITY = -2.0


def silence_needed(evidence: Evidence, options: EndpointOptions) -> Decision:
    """How long the caller has to be silent until the turn is over.

    Between `options.end_of_turn_min_ms` and `options.end_of_turn_max_ms`, whatever the evidence; monotonic in
    every single piece of it.
    """
    pause_ms = usual_pause_ms(evidence.pauses_ms)
    reasons = [
        ("start", PATIENCE * USUAL_PAUSE_MS),
        ("caller's pauses", PATIENCE * (pause_ms - USUAL_PAUSE_MS)),
    ]
    reasons += [(name, -weight * pause_ms) for name, weight in weighed(evidence)]
    wanted_ms = sum(ms for _, ms in reasons)
    silence_ms = min(max(wanted_ms, options.end_of_turn_min_ms), options.end_of_turn_max_ms)
    reasons.append(("limits", silence_ms - wanted_ms))
    return Decision(silence_ms, tuple((name, ms) for name, ms in reasons if ms))


def usual_pause_ms(pauses_ms: tuple[float, ...]) -> float:
    """The caller's mean pause inside turns, starting from `USUAL_PAUSE_MS` and moving with each one seen."""
    known_ms = USUAL_PAUSE_WEIGHT * USUAL_PAUSE_MS + sum(pauses_ms)
    mean_ms = known_ms / (USUAL_PAUSE_WEIGHT + len(pauses_ms))
    return min(max(mean_ms, MIN_PAUSE_MS), MAX_PAUSE_MS)


def weighed(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Each piece of evidence with its weight in logits; positive: the turn is over."""
    if evidence.text is None:
        yield "words not known yet", UNKNOWN_WORDS
    else:
        for clue in clues(evidence.text, evidence.language):
            yield clue.value, WORDS[clue]
    if evidence.prosody is not None:
        yield from _sound(evidence.prosody)
    if evidence.model_probability is not None:
        p = min(max(evidence.model_probability, 1 - MODEL_CERTAINTY), MODEL_CERTAINTY)
        yield "model", MODEL_WEIGHT * log(p / (1 - p))
    yield "sound during the silence", SPEECH_PROBABILITY * evidence.speech_probability


def _sound(prosody: Prosody) -> Iterator[tuple[str, float]]:
    slope, end = prosody.pitch_slope_st_per_s, prosody.pitch_end_st
    if slope is not None:
        yield "pitch falls" if slope < 0 else "pitch rises", -0.02 * min(max(slope, -25.0), 25.0)
    if end is not None:
        yield "end is low" if end < 0 else "end is high", -0.1 * min(max(end, -5.0), 5.0)
