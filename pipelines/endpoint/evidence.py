"""What is known at a pause, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prosody:
    """How the speech before a pause sounded, measured against how this caller sounds otherwise.

    A field is None where there was nothing to measure it on: no pitch (whispering, noise), or too little of
    this caller's speech so far to know what is usual.
    """

    #: The pitch's fall (< 0) or rise (> 0) over the last 300 ms of voiced speech, semitones per second.
    pitch_slope_st_per_s: float | None = None
    #: The pitch at the end, semitones above this caller's median.
    pitch_end_st: float | None = None
    #: The length of the last voiced stretch as a multiple of this caller's usual one.
    lengthening: float | None = None
    #: How much quieter the end was than this caller's speech usually is, dB.
    level_drop_db: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a pause about whether the turn is over."""

    #: The words of the turn so far; None: not recognised yet.
    text: str | None
    #: The tag of the language spoken; None: not known.
    language: str | None
    #: How long the turn's speech was so far.
    speech_ms: float
    prosody: Prosody | None = None
    #: This caller's pauses inside turns so far, newest last; the caller of this function bounds their number.
    pauses_ms: tuple[float, ...] = ()
    #: What an end-of-turn model says, 0..1; None without one, or when it has not answered yet.
    model_probability: float | None = None
    #: The voice activity model's own probability of speech, 0..1, mean over the silence so far.
    speech_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How long the caller must be silent until the turn counts as over."""

    #: From the last sound on.
    silence_ms: float
    #: Each piece of evidence and how many ms it added (> 0) or took (< 0), the starting value first. They sum
    #: up to `silence_ms`.
    reasons: tuple[tuple[str, float], ...]
