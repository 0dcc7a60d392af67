from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clauses import MAX_CHARS, ClauseSplitter


def split(text: str, size: int = 1) -> list[str]:
    splitter = ClauseSplitter()
    clauses = [c for i in range(0, len(text), size) for c in splitter.feed(text[i : i + size])]
    return clauses + splitter.flush()


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("  \n ", []),
        ("...", []),
        ("Hello", ["Hello"]),
        ("Hello. How are you?", ["Hello.", "How are you?"]),
        ("It is 3.5 degrees. Cold!", ["It is 3.5 degrees.", "Cold!"]),
        ("See example.com for more. Bye.", ["See example.com for more.", "Bye."]),
        ("Dr. Smith and Mrs. Jones came. Good.", ["Dr. Smith and Mrs. Jones came.", "Good."]),
        ("J. Doe wrote it, e.g. here. Yes.", ["J. Doe wrote it,", "e.g. here.", "Yes."]),
        ("Really?! Yes.", ["Really?!", "Yes."]),
        ('She said "no." Then left.', ['She said "no."', "Then left."]),
        ("Wait… what?", ["Wait…", "what?"]),
        ("Line one\nLine two", ["Line one", "Line two"]),
        ("1. First thing\n2. Second thing", ["1. First thing", "2. Second thing"]),
        ("Well, yes.", ["Well, yes."]),
        ("As far as I know, yes.", ["As far as I know,", "yes."]),
        ("It costs 1,000 dollars. Fine.", ["It costs 1,000 dollars.", "Fine."]),
        ("I think so - but ask again.", ["I think so -", "but ask again."]),
        ("One. A short, later, comma stays.", ["One.", "A short, later, comma stays."]),
        (
            "One. After a good nine words in one long sentence, it may break.",
            ["One.", "After a good nine words in one long sentence,", "it may break."],
        ),
        ("今日は晴れです。明日は雨です。", ["今日は晴れです。", "明日は雨です。"]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_clauses(text: str, clauses: list[str], size: int) -> None:
    assert split(text, size) == clauses


def test_the_first_clause_leaves_as_soon_as_it_is_complete() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("The time is now,") == []
    assert splitter.feed(" ") == ["The time is now,"]


def test_a_sentence_without_end_is_cut_between_words() -> None:
    clauses = split("word " * 200)
    assert all(len(c) <= MAX_CHARS for c in clauses)
    assert " ".join(clauses).split() == ["word"] * 200


def test_a_word_without_end_is_cut_all_the_same() -> None:
    assert "".join(split("x" * 1000)) == "x" * 1000


@given(st.text(alphabet=st.sampled_from("ab .,!?\n-…1"), max_size=400), st.integers(1, 50))
def test_no_word_is_lost_or_moved_however_the_text_arrives(text: str, size: int) -> None:
    clauses = split(text, size)
    letters = [c for c in text if c.isalnum()]
    assert [c for c in "".join(clauses) if c.isalnum()] == letters
    assert all(len(c) <= MAX_CHARS for c in clauses)
    assert clauses == split(text, 1)
