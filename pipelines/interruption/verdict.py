"""Somebody speaks over the reply: do they take the floor?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipelines.interruption.words import Meaning, meaning
from pipelines.options import InterruptionOptions

#: Without an answer of the recogniser for this long after the last sound, what was heard has to do.
ANSWER_WAIT_MS = 1000.0
#: A single word in a partial transcript is often another one a moment later; with this much speech it stays.
ONE_WORD_MS = 400.0
#: What was shorter than this and never recognised was no word.
UNKNOWN_WORD_MS = 500.0
#: Words that approve, or no words, over more speech than this many times `sustained_ms`: see `judge`.
KNOWN_FACTOR = 2.0
#: Nobody approves of a reply this young: who speaks then goes on with their own turn, and half the speech
#: will do.
YOUNG_REPLY_MS = 500.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """Speech over the reply, so far."""

    #: Voiced time since its onset.
    speech_ms: float
    #: Silence since its last sound; 0 while it goes on.
    silence_ms: float
    #: The best words so far; None: the recogniser has not answered yet, empty: it heard none.
    text: str | None
    #: Recognised after the last sound.
    text_is_final: bool
    #: The tag of the language spoken; None: not known.
    language: str | None
    #: How long the reply has been sounding.
    reply_age_ms: float


class Verdict(Enum):
    #: The caller has the floor; the reply is over.
    TAKE = "take"
    #: It was nothing; the reply goes on.
    GIVE_BACK = "give back"
    #: Too early to tell.
    WAIT = "wait"


def judge(overlap: Overlap, options: InterruptionOptions) -> Verdict:
    """Whether what is known of `overlap` interrupts the reply.

    ============== =============================== ==========================================
    words          while it is spoken              after the last sound
    ============== =============================== ==========================================
    "stop", "wait" take                            take
    others         take, from two words on or      take, once final or `ANSWER_WAIT_MS`
                   after `ONE_WORD_MS`
    "I" (… see)    wait; take after `sustained_ms` take, once final or `ANSWER_WAIT_MS`
    "mm-hm"        wait; take after twice          give back, once final or `ANSWER_WAIT_MS`
                   `sustained_ms`
    none in it     wait; give back after twice     give back, once final or `ANSWER_WAIT_MS`
                   `sustained_ms`
    no answer yet  wait; take after `sustained_ms` wait; after `ANSWER_WAIT_MS` take what was
                                                   longer than `UNKNOWN_WORD_MS`
    ============== =============================== ==========================================

    Waiting always ends: with speech that goes on, or with silence that does.
    """
    sustained_ms = float(options.sustained_ms)
    if overlap.reply_age_ms - overlap.speech_ms - overlap.silence_ms < YOUNG_REPLY_MS:
        sustained_ms /= 2
    waited = overlap.silence_ms >= ANSWER_WAIT_MS
    if overlap.text is None:
        return _unheard(overlap, sustained_ms, waited=waited)
    what, words = meaning(overlap.text, overlap.language)
    decided = overlap.text_is_final or waited
    known_ms = KNOWN_FACTOR * sustained_ms
    match what:
        case Meaning.COMMAND:
            return Verdict.TAKE
        case Meaning.WORDS:
            sure = decided or words > 1 or overlap.speech_ms >= ONE_WORD_MS
            return Verdict.TAKE if sure else Verdict.WAIT
        case Meaning.BEGINNING:
            return Verdict.TAKE if decided or overlap.speech_ms >= sustained_ms else Verdict.WAIT
        case Meaning.BACKCHANNEL:
            if overlap.silence_ms > 0:
                return Verdict.GIVE_BACK if decided else Verdict.WAIT
            # Approval that never ends is none: the recogniser is behind, or wrong.
            return Verdict.TAKE if overlap.speech_ms >= known_ms else Verdict.WAIT
        case Meaning.NOTHING:
            if overlap.silence_ms > 0:
                return Verdict.GIVE_BACK if decided else Verdict.WAIT
            return Verdict.GIVE_BACK if overlap.speech_ms >= known_ms else Verdict.WAIT


def _unheard(overlap: Overlap, sustained_ms: float, *, waited: bool) -> Verdict:
    if overlap.speech_ms >= sustained_ms:
        return Verdict.TAKE
    if waited:
        return Verdict.TAKE if overlap.speech_ms >= UNKNOWN_WORD_MS else Verdict.GIVE_BACK
    return Verdict.WAIT
