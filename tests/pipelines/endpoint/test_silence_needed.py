from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.endpoint import EndpointOptions, Evidence, Prosody, silence_needed

OPTIONS = EndpointOptions()


def needed(text: str | None, language: str | None = "en", **more: object) -> float:
    return silence_needed(Evidence(text, language, 1500.0, **more), OPTIONS).silence_ms  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("over", "goes_on", "language"),
    [
        ("What time is it?", "I would like to", "en"),
        ("book a table for two", "book a table for", "en"),
        ("yes", "yes and", "en"),
        ("no thank you", "no um", "en"),
        ("four", "the", "en"),
        ("my pin is one two three four", "my pin is one two", "en"),
        ("my phone number is 030 901820", "my phone number is 030", "en"),
        ("I need milk, eggs and bread.", "I need milk, eggs,", "en"),
        ("what is the weather in berlin", "what is the weather in", "en"),
        ("Ja, bitte.", "Ich möchte gerne einen", "de"),
        ("wie spät ist es", "wie spät ist", "de"),
        ("merci beaucoup", "je voudrais", "fr"),
        ("buenos días", "quiero una mesa para", "es"),
        ("va bene", "vorrei un tavolo per", "it"),
        ("Hur mår du?", "Jag skulle vilja,", "sv"),
    ],
)
def test_what_sounds_complete_needs_less_silence(over: str, goes_on: str, language: str) -> None:
    assert needed(over, language) + 200 < needed(goes_on, language)


EVIDENCE = st.builds(
    Evidence,
    text=st.text(max_size=80) | st.none(),
    language=st.sampled_from(["en", "de", "fr", "es", "it", "xx", None]),
    speech_ms=st.floats(0, 60_000),
    prosody=st.none() | st.builds(Prosody, *[st.none() | st.floats(-500, 500)] * 4),
    pauses_ms=st.lists(st.floats(0, 60_000), max_size=8).map(tuple),
    model_probability=st.none() | st.floats(0, 1),
    speech_probability=st.floats(0, 1),
)


@given(EVIDENCE)
def test_always_within_the_limits_and_the_reasons_sum_up(evidence: Evidence) -> None:
    decision = silence_needed(evidence, OPTIONS)
    assert OPTIONS.end_of_turn_min_ms <= decision.silence_ms <= OPTIONS.end_of_turn_max_ms
    assert sum(ms for _, ms in decision.reasons) == pytest.approx(decision.silence_ms)


def test_a_falling_pitch_ends_a_turn_sooner_than_a_rising_one() -> None:
    text = "the lamp in the kitchen is broken"
    fall, level, rise = (
        needed(text, prosody=Prosody(slope, end)) for slope, end in ((-15, -4), (0, 0), (15, 4))
    )
    assert fall < level < rise


def test_who_pauses_long_is_waited_for_longer() -> None:
    text = "the lamp in the kitchen is broken"
    quick, slow = (250.0,) * 16, (1500.0,) * 16
    assert needed(text, pauses_ms=quick) < needed(text) < needed(text, pauses_ms=slow)
    # Gaps between words are no pauses.
    assert needed(text, pauses_ms=(100.0,) * 16) == needed(text)


def test_a_model_may_overrule_the_words() -> None:
    over = needed("and then I", model_probability=1.0)
    assert over < needed("and then I", model_probability=0.5) == needed("and then I")
    goes_on = needed("what time is it?", model_probability=0.0)
    assert needed("what time is it?", model_probability=1.0) < goes_on > 1000


def test_sound_during_the_silence_delays() -> None:
    assert needed("what time is it", speech_probability=0.4) > needed("what time is it")


def test_before_the_words_are_known_about_as_long_is_waited_as_by_plain_silence() -> None:
    assert 600 <= needed(None) <= 1000


def test_plainly_over_and_plainly_not() -> None:
    assert needed("What time is it?") == OPTIONS.end_of_turn_min_ms
    assert needed("I would like to, um,", prosody=Prosody(10.0, 2.0)) == OPTIONS.end_of_turn_max_ms
