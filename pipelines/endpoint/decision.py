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
from math import log, log2

from pipelines.endpoint.evidence import Decision, Evidence, Prosody
from pipelines.endpoint.words import Clue, clues
from pipelines.options import EndpointOptions

#: ln(λ/τ) less the logit of a plain sentence without punctuation, about which nothing else is known. On the
#: fitting half of the labelled set the agent then cuts in about as often as 750 ms of plain silence would.
PATIENCE = 1.2
#: The mean pause inside turns before anything is known of this caller (of the order that Heldner & Edlund
#: 2010, "Pauses, gaps and overlaps in conversations", report), and how many pauses that is worth.
USUAL_PAUSE_MS = 450.0
USUAL_PAUSE_WEIGHT = 8.0
SHORTEST_PAUSE_MS = 200.0
#: τ stays within these, whatever a caller does.
MIN_PAUSE_MS, MAX_PAUSE_MS = 300.0, 700.0

#: Logits; positive: the turn is over. A clue of the words counts 1 where it is found, the rest as `measured`
#: says. Fitted by ``benchmarks/end_of_turn.py --fit``, starting from guesses written down there: what that
#: set cannot show (punctuation, the model) is still the guess. Length and level turned out to say nothing.
WEIGHTS: dict[str, float] = {
    # About as cautious as plain silence would be.
    "words not known yet": -0.4,
    Clue.NO_WORDS: -0.64,
    Clue.QUESTION_MARK: 0.9,
    Clue.FULL_STOP: 0.5,
    Clue.COMMA: -1.0,
    Clue.ELLIPSIS: -2.0,
    Clue.ANSWER: 1.56,
    Clue.QUESTION: 0.84,
    Clue.HANGING: -1.77,
    Clue.FILLER: -2.15,
    Clue.FRAGMENT: -1.29,
    Clue.HALF: -0.96,
    Clue.DICTATING: -1.80,
    Clue.DICTATED: 1.08,
    Clue.LIST: -1.2,
    "pitch slope": -0.33,
    "pitch at the end": -0.18,
    "lengthening": 0.01,
    "drop in level": 0.10,
    "sound during the silence": -1.80,
    "model": 1.0,
}
#: How sure a model can be taken to be.
MODEL_CERTAINTY = 0.98
#: A steeper slope, a higher end … is an error of measurement rather than stronger evidence.
MAX_SLOPE_ST_PER_S = 25.0
MAX_END_ST = 6.0
MAX_DROP_DB = 15.0


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
    reasons += [(name, -WEIGHTS[name] * value * pause_ms) for name, value in measured(evidence)]
    wanted_ms = sum(ms for _, ms in reasons)
    silence_ms = min(max(wanted_ms, options.end_of_turn_min_ms), options.end_of_turn_max_ms)
    reasons.append(("limits", silence_ms - wanted_ms))
    return Decision(silence_ms, tuple((name, ms) for name, ms in reasons if ms))


def usual_pause_ms(pauses_ms: tuple[float, ...]) -> float:
    """The caller's mean pause inside turns, starting from `USUAL_PAUSE_MS` and moving with each one seen."""
    # Gaps between words are no habit of pausing.
    seen_ms = [ms for ms in pauses_ms if ms >= SHORTEST_PAUSE_MS]
    known_ms = USUAL_PAUSE_WEIGHT * USUAL_PAUSE_MS + sum(seen_ms)
    mean_ms = known_ms / (USUAL_PAUSE_WEIGHT + len(seen_ms))
    return min(max(mean_ms, MIN_PAUSE_MS), MAX_PAUSE_MS)


def measured(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Each piece of evidence as a number to be multiplied with its weight."""
    if evidence.text is None:
        yield "words not known yet", 1.0
    else:
        for clue in clues(evidence.text, evidence.language):
            yield clue, 1.0
    if evidence.prosody is not None:
        yield from _sound(evidence.prosody)
    if evidence.model_probability is not None:
        p = _clamp(evidence.model_probability, 1 - MODEL_CERTAINTY, MODEL_CERTAINTY)
        yield "model", log(p / (1 - p))
    yield "sound during the silence", evidence.speech_probability


def _sound(prosody: Prosody) -> Iterator[tuple[str, float]]:
    if (slope := prosody.pitch_slope_st_per_s) is not None:
        yield "pitch slope", _clamp(slope, -MAX_SLOPE_ST_PER_S, MAX_SLOPE_ST_PER_S) / 10.0
    if (end := prosody.pitch_end_st) is not None:
        yield "pitch at the end", _clamp(end, -MAX_END_ST, MAX_END_ST)
    if (length := prosody.lengthening) is not None:
        yield "lengthening", _clamp(log2(max(length, 0.01)), -1.0, 2.0)
    if (drop := prosody.level_drop_db) is not None:
        yield "drop in level", _clamp(drop, 0.0, MAX_DROP_DB) / 10.0


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
