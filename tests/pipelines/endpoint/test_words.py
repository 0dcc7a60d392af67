from __future__ import annotations

import pytest

from pipelines.endpoint.lexicon import LEXICONS
from pipelines.endpoint.words import MAX_CHARS, Clue, clues


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Clue.NO_WORDS),
        (" ... ", Clue.NO_WORDS),
        ("the lamp is broken", None),
        ("I would like to", Clue.HANGING),
        ("I’d", Clue.HANGING),
        ("can you tell me", Clue.HANGING),
        ("can you hear me", Clue.QUESTION),
        ("it is broken. what is the", Clue.HANGING),
        ("book a table um", Clue.FILLER),
        ("where do you live", Clue.QUESTION),
        ("no thank you", Clue.ANSWER),
        ("Four.", Clue.ANSWER),
        ("when does the train leave", Clue.QUESTION),
        ("that thing", Clue.FRAGMENT),
        ("when I came home yesterday", Clue.HALF),
        ("when I came home yesterday, the door was open", None),
        ("I need milk, eggs", None),
        ("I need milk, eggs, bread", Clue.LIST),
        ("I need milk, eggs, bread and butter", None),
        ("I need, um, a lamp", None),
        ("my phone number is zero one five", Clue.DICTATING),
        ("my phone number is 015 238 4", Clue.DICTATED),
        ("my phone number is 015-2384", Clue.DICTATED),
        ("the code is 98", Clue.DICTATING),
        ("the code is 9876", Clue.DICTATED),
        ("five five five one two", Clue.DICTATED),
        ("five five", Clue.DICTATING),
        ("a table for two", None),
        ("at half past eight", None),
    ],
)
def test_clues_of_english_words(text: str, expected: Clue | None) -> None:
    punctuation = {Clue.FULL_STOP}
    assert [clue for clue in clues(text, "en") if clue not in punctuation] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("language", "over", "goes_on"),
    [
        ("de", "nein danke", "ich möchte einen"),
        ("de", "wie spät ist es", "ähm"),
        ("de", "meine bestellnummer ist vier sieben zwei neun", "meine bestellnummer ist vier sieben"),
        ("fr", "d'accord", "je voudrais"),
        ("fr", "où est la gare", "je cherche une table pour"),
        ("fr", "mon code est quatre trois deux un", "mon code est quatre trois"),
        ("es", "muchas gracias", "quiero una mesa para"),
        ("es", "dónde está la estación", "eh"),
        ("it", "va bene", "vorrei un tavolo per"),
        ("it", "quanto costa questo vino", "allora"),
    ],
)
def test_other_languages(language: str, over: str, goes_on: str) -> None:
    assert set(clues(over, language)) <= {Clue.ANSWER, Clue.QUESTION, Clue.DICTATED}
    assert clues(over, language)
    assert set(clues(goes_on, language)) & {Clue.HANGING, Clue.FILLER, Clue.DICTATING}
    assert clues(over, f"{language}-XX") == clues(over, language)


@pytest.mark.parametrize("language", ["sv", "ja", "", None])
def test_in_other_languages_only_punctuation_counts(language: str | None) -> None:
    assert clues("I would like to", language) == ()
    assert clues("Hur mår du?", language) == (Clue.QUESTION_MARK,)
    assert clues("元気ですか？", language) == (Clue.QUESTION_MARK,)
    assert clues("jag vill,", language) == (Clue.COMMA,)
    assert clues("jag vill…", language) == (Clue.ELLIPSIS,)


def test_the_end_of_a_long_turn_decides() -> None:
    assert clues("well I never " * 10_000 + "would like to", "en") == (Clue.HANGING,)
    assert clues("x" * MAX_CHARS * 100 + ", and", "en") == (Clue.HANGING,)


@pytest.mark.parametrize("language", LEXICONS)
def test_the_lists_are_what_they_say(language: str) -> None:
    lexicon = LEXICONS[language]
    words = lexicon.hanging | lexicon.fillers | lexicon.questions | lexicon.openers | lexicon.numbers
    assert all(word == word.lower() and word.split() == [word] for word in words)
    assert all(len(pair.split()) == 2 for pair in lexicon.hanging_pairs)
    assert not lexicon.answers & lexicon.numbers
