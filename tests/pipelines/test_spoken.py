from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audio import Pcm
from pipelines.speakable import speakable
from pipelines.spoken import SpokenText
from pipelines.tts.base import SpokenPcm


def audio(duration_ms: int, *word_ends_ms: float) -> Pcm:
    return SpokenPcm(np.zeros(duration_ms * 16, np.int16), 16_000, word_ends_ms)


@pytest.mark.parametrize(
    ("played_ms", "heard"),
    [
        (0, ""),
        (-5, ""),
        (100, ""),
        (500, "Hello"),
        (985, "Hello there."),
        (1000, "Hello there."),
        (970, "Hello"),
        (1500, "Hello there. How"),
        (1600, "Hello there. How are"),
        (2000, "Hello there. How are you?"),
        (9999, "Hello there. How are you?"),
    ],
)
def test_without_alignments_time_passes_evenly_over_the_letters(played_ms: float, heard: str) -> None:
    spoken = SpokenText()
    for clause in ("Hello there.", "How are you?"):
        spoken.add(clause, clause)
        spoken.extend(Pcm(np.zeros(16_000, np.int16), 16_000))
    spoken.end()
    assert spoken.text == "Hello there. How are you?"
    assert spoken.heard(played_ms) == heard


@pytest.mark.parametrize(
    ("played_ms", "heard"),
    [
        (70, ""),
        (80, "It"),
        (190, "It is"),
        (850, "It is"),
        (880, "It is four"),
        (1000, "It is four o'clock."),
        (1300, "It is four o'clock. Yes."),
    ],
)
def test_with_alignments_a_word_counts_when_its_audio_has_ended(played_ms: float, heard: str) -> None:
    spoken = SpokenText()
    spoken.add("It is four o'clock.", "It is four o'clock.")
    spoken.extend(audio(1000, 100, 200, 900, 980))
    spoken.add("Yes.", "Yes.")
    spoken.extend(audio(400, 300))
    assert spoken.heard(played_ms) == heard


def test_a_clause_in_several_pieces_goes_on_counting() -> None:
    spoken = SpokenText()
    spoken.add("Yes. No. Perhaps.", "Yes. No. Perhaps.")
    spoken.extend(audio(400, 300))
    assert [spoken.heard(t) for t in (300, 400, 9999)] == ["Yes.", "Yes.", "Yes."]
    spoken.extend(audio(400, 300))
    assert [spoken.heard(t) for t in (600, 700)] == ["Yes.", "Yes. No."]


def test_a_clause_that_is_not_complete_is_not_heard_whole() -> None:
    spoken = SpokenText()
    spoken.add("One sentence. And another one.", "One sentence. And another one.")
    spoken.extend(Pcm(np.zeros(16_000, np.int16), 16_000))
    assert spoken.heard(1000) == "One"
    spoken.extend(Pcm(np.zeros(16_000, np.int16), 16_000))
    spoken.end()
    assert spoken.heard(1000) == "One sentence."


@pytest.mark.parametrize(
    ("written", "spoken_words", "heard"),
    [
        ("It costs **$5.50** today.", 3, "It costs"),
        ("It costs **$5.50** today.", 6, "It costs"),
        ("It costs **$5.50** today.", 7, "It costs **$5.50**"),
        ("It costs **$5.50** today.", 8, "It costs **$5.50** today."),
        ("Great 😀 news!", 1, "Great 😀"),
        ("😀 Great!", 0, ""),
        ("See [the docs](https://example.com/a) now", 3, "See [the docs](https://example.com/a)"),
        ("On 3/12/2024 or 5 km off", 5, "On 3/12/2024"),
    ],
)
def test_what_was_heard_is_told_as_it_was_written(written: str, spoken_words: int, heard: str) -> None:
    read = speakable(written, "en")
    spoken = SpokenText()
    spoken.add(written, read)
    count = len(read.split())
    spoken.extend(audio(100 * count + 200, *(100.0 * (i + 1) for i in range(count))))
    assert spoken.heard(100.0 * spoken_words) == heard


@given(
    st.lists(
        st.tuples(st.sampled_from(("Yes.", "It is $5.50, ok?", "😀", "a b c d")), st.booleans()), max_size=4
    ),
    st.lists(st.floats(-100, 5000), min_size=2, max_size=2),
)
def test_more_is_heard_as_time_passes_and_never_what_was_not_written(
    clauses: list[tuple[str, bool]], times: list[float]
) -> None:
    spoken = SpokenText()
    for clause, aligned in clauses:
        read = speakable(clause, "en")
        spoken.add(clause, read)
        count = len(read.split())
        if count:
            spoken.extend(audio(100 * count, *((100.0 * (i + 1) for i in range(count)) if aligned else ())))
    earlier, later = (spoken.heard(t) for t in sorted(times))
    assert later.startswith(earlier)
    assert spoken.text.startswith(later)
