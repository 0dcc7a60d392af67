"""Who speaks over the reply: what interrupts it and what does not, as a table."""

from __future__ import annotations

import pytest

from pipelines.interruption import InterruptionOptions, Overlap, Verdict, judge
from pipelines.interruption.verdict import ANSWER_WAIT_MS
from pipelines.interruption.words import Meaning, meaning

OPTIONS = InterruptionOptions()
TAKE, BACK, WAIT = Verdict.TAKE, Verdict.GIVE_BACK, Verdict.WAIT


def overlap(
    text: str | None,
    *,
    speech_ms: float = 300,
    silence_ms: float = 0,
    final: bool = False,
    language: str | None = "en",
    reply_age_ms: float = 5000,
) -> Overlap:
    return Overlap(speech_ms, silence_ms, text, final, language, reply_age_ms)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Mm-hm."),
        ("en", "mhm"),
        ("en", "Mmmm."),
        ("en", "Uh-huh, uh-huh."),
        ("en", "Yeah, yeah, okay."),
        ("en", "Right. I see."),
        ("en", "All right, that's right!"),
        ("en", "Okay, got it."),
        ("en", "Oh, wow."),
        ("en", "Oh."),
        ("en", "Yeah. Oh"),
        ("fr", "Ah."),
        ("de", "Ja, genau."),
        ("de", "Ach so, verstehe."),
        ("fr", "Oui, d'accord."),
        ("fr", "Ouais, très bien"),
        ("es", "Sí, claro que sí."),
        ("it", "Sì, ho capito."),
        ("nl", "Oké, prima."),
        ("pt", "Tá bom, pois é."),
        ("pl", "No tak, rozumiem."),
        ("ja", "はい、そうですね。"),
        ("zh", "嗯，好的。"),
        ("de-AT", "Ja."),
        (None, "oui"),
        ("sv", "mhm, okay"),
    ],
)
def test_a_backchannel_gives_the_floor_back_once_it_is_over(language: str | None, text: str) -> None:
    assert meaning(text, language)[0] is Meaning.BACKCHANNEL
    assert judge(overlap(text, language=language), OPTIONS) is WAIT
    assert judge(overlap(text, language=language, silence_ms=100, final=True), OPTIONS) is BACK


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Stop."),
        ("en", "wait"),
        ("en", "No!"),
        ("en", "Hold on"),
        ("en", "Excuse me"),
        ("en", "Yeah, okay, stop."),
        ("de", "Halt"),
        ("de", "Nein"),
        ("de", "Moment mal"),
        ("fr", "Attendez"),
        ("fr", "Non, arrêtez"),
        ("es", "Espera"),
        ("it", "Aspetta"),
        ("nl", "wacht even"),
        ("pt", "Não"),
        ("pl", "Nie"),
        ("ja", "ちょっと待って"),
        ("zh", "等一下"),
        (None, "attends"),
    ],
)
def test_a_call_to_stop_takes_the_floor_as_soon_as_it_is_recognised(language: str | None, text: str) -> None:
    assert judge(overlap(text, language=language, speech_ms=150), OPTIONS) is TAKE


@pytest.mark.parametrize(
    "text", ["", " ", "...", "[cough]", "(laughter)", "*sighs*", "♪ ♪", "Ha ha ha.", "hahaha"]
)
def test_what_has_no_words_gives_the_floor_back_once_it_is_over(text: str) -> None:
    assert judge(overlap(text), OPTIONS) is WAIT
    assert judge(overlap(text, silence_ms=100, final=True), OPTIONS) is BACK
    assert judge(overlap(text, silence_ms=100), OPTIONS) is WAIT


@pytest.mark.parametrize(
    "text", ["Where is my order?", "Yes please turn it off", "I'd like", "Yeah what about Monday"]
)
def test_words_take_the_floor(text: str) -> None:
    assert judge(overlap(text, speech_ms=250), OPTIONS) is TAKE
    assert judge(overlap(text, silence_ms=100, final=True), OPTIONS) is TAKE


def test_a_single_word_takes_the_floor_once_it_will_not_become_another() -> None:
    assert judge(overlap("Berlin", speech_ms=200), OPTIONS) is WAIT
    assert judge(overlap("Berlin", speech_ms=450), OPTIONS) is TAKE
    assert judge(overlap("Berlin", speech_ms=200, silence_ms=64, final=True), OPTIONS) is TAKE


@pytest.mark.parametrize(
    ("language", "begun", "approval", "words"),
    [
        ("en", "I", "I see.", "I want"),
        ("en", "Yeah, got", "Yeah, got it.", "Yeah, got none"),
        ("en", "Okay, that's", "Okay, that's true", "Okay, that's wrong"),
        ("de", "in", "In Ordnung", "in Berlin"),
        ("es", "claro que", "Claro que sí", "claro que Berlin"),
        (None, "très", "très bien", "très cher"),
    ],
)
def test_what_may_become_approval_waits_for_the_next_word(
    language: str | None, begun: str, approval: str, words: str
) -> None:
    late_ms = OPTIONS.sustained_ms - 1
    assert judge(overlap(begun, language=language, speech_ms=late_ms), OPTIONS) is WAIT
    assert judge(overlap(begun, language=language, speech_ms=late_ms + 1), OPTIONS) is TAKE
    assert judge(overlap(begun, language=language, silence_ms=64), OPTIONS) is WAIT
    assert judge(overlap(begun, language=language, silence_ms=64, final=True), OPTIONS) is TAKE
    assert judge(overlap(approval, language=language, silence_ms=64, final=True), OPTIONS) is BACK
    assert judge(overlap(words, language=language, speech_ms=late_ms), OPTIONS) is TAKE


def test_words_before_what_may_become_approval_take_the_floor() -> None:
    assert judge(overlap("Berlin I"), OPTIONS) is TAKE
    assert judge(overlap("Stop, I"), OPTIONS) is TAKE


def test_speech_that_nobody_recognises_takes_the_floor_when_it_lasts() -> None:
    assert judge(overlap(None, speech_ms=OPTIONS.sustained_ms - 1), OPTIONS) is WAIT
    assert judge(overlap(None, speech_ms=OPTIONS.sustained_ms), OPTIONS) is TAKE


def test_over_a_reply_that_has_just_begun_half_the_speech_will_do() -> None:
    half_ms = OPTIONS.sustained_ms / 2
    assert judge(overlap(None, speech_ms=half_ms, reply_age_ms=half_ms + 100), OPTIONS) is TAKE
    assert judge(overlap(None, speech_ms=half_ms, reply_age_ms=5000), OPTIONS) is WAIT


def test_a_recogniser_that_never_answers_is_not_waited_for() -> None:
    assert judge(overlap(None, speech_ms=600, silence_ms=ANSWER_WAIT_MS - 1), OPTIONS) is WAIT
    assert judge(overlap(None, speech_ms=600, silence_ms=ANSWER_WAIT_MS), OPTIONS) is TAKE
    assert judge(overlap(None, speech_ms=200, silence_ms=ANSWER_WAIT_MS), OPTIONS) is BACK


def test_approval_without_end_is_speech_and_noise_without_end_is_noise() -> None:
    long_ms = 2.0 * OPTIONS.sustained_ms
    assert judge(overlap("yeah", speech_ms=long_ms), OPTIONS) is TAKE
    assert judge(overlap("", speech_ms=long_ms), OPTIONS) is BACK


@pytest.mark.parametrize("text", [None, "", "yeah", "I", "Berlin", "stop", "where is my order"])
@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("speech_ms", [32, 300, 3000])
def test_waiting_always_ends(text: str | None, *, final: bool, speech_ms: float) -> None:
    long_enough = [
        overlap(text, speech_ms=2.0 * OPTIONS.sustained_ms, final=final),
        overlap(text, speech_ms=speech_ms, silence_ms=ANSWER_WAIT_MS, final=final),
    ]
    assert all(judge(o, OPTIONS) is not WAIT for o in long_enough)
