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
