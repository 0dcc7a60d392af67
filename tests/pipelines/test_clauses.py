from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clauses import MAX_CHARS, PLENTY_MS, SOON_MS, ClauseSplitter, loosens_in_ms

#: Audio ahead: somebody is waiting, there is a little, there is plenty.
NOTHING, LITTLE, PLENTY = 0.0, SOON_MS, PLENTY_MS


#: Words with the white space before them, as tokenizers cut text.
TOKEN = re.compile(r"\s*\S+|\s+")


def split(
    text: str, ahead_ms: float = NOTHING, language: str = "en", parts: Sequence[str] | None = None
) -> list[str]:
    splitter = ClauseSplitter(language)
    clauses: list[str] = []
    for part in [text] if parts is None else parts:
        splitter.feed(part)
        while (clause := splitter.take(ahead_ms)) is not None:
            clauses.append(clause)
    splitter.end()
    while (clause := splitter.take(ahead_ms)) is not None:
        clauses.append(clause)
    assert splitter.done
    return clauses


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
        ("Well, yes.", ["Well,", "yes."]),
        ("No. That is No. 5, really.", ["No.", "That is No. 5,", "really."]),
        ("Is it No. 5? Yes.", ["Is it No. 5?", "Yes."]),
        ("It costs 1,000 dollars. Fine.", ["It costs 1,000 dollars.", "Fine."]),
        ("It is 36. Anything else?", ["It is 36.", "Anything else?"]),
        ("I think so - but ask again.", ["I think so -", "but ask again."]),
        ("One. A short, later, comma stays.", ["One.", "A short, later, comma stays."]),
        ("One. After four or more words, it breaks.", ["One.", "After four or more words,", "it breaks."]),
        ("今日は晴れです。明日は雨です。", ["今日は晴れです。", "明日は雨です。"]),
    ],
)
def test_clauses(text: str, clauses: list[str]) -> None:
    assert split(text) == clauses
    assert split(text, parts=TOKEN.findall(text)) == clauses


LONG = "After a good nine words in one long sentence, it may break, and here, too. Short. End."


@pytest.mark.parametrize(
    ("ahead_ms", "first"),
    [
        (NOTHING, "After a good nine words in one long sentence,"),
        (LITTLE, "After a good nine words in one long sentence,"),
        (PLENTY, "After a good nine words in one long sentence, it may break, and here, too."),
    ],
)
def test_the_more_audio_is_ahead_the_more_makes_a_clause(ahead_ms: float, first: str) -> None:
    assert split(f"Yes. {LONG}", ahead_ms=ahead_ms)[:2] == ["Yes.", first]


def test_with_a_little_ahead_a_comma_needs_more_words() -> None:
    text = "Yes. After four or more words, it may break."
    assert split(text, ahead_ms=LITTLE) == ["Yes.", "After four or more words, it may break."]


@pytest.mark.parametrize(
    ("tokens", "clause"),
    [
        (("Sure", ","), "Sure,"),
        (("Hello", "."), "Hello."),
        (("Hello", "!"), "Hello!"),
        (("I", " don", "'t", "."), "I don't."),
        (("Hi", "\n"), "Hi"),
    ],
)
def test_the_first_clause_leaves_with_its_last_token(tokens: tuple[str, ...], clause: str) -> None:
    splitter = ClauseSplitter()
    for token in tokens[:-1]:
        splitter.feed(token)
        assert splitter.take() is None
    splitter.feed(tokens[-1])
    assert splitter.take() == clause


@pytest.mark.parametrize(
    ("so_far", "rest"),
    [
        ("It is 3.", "5 degrees"),
        ("It costs 1,", "000 dollars"),
        ("Ask Dr.", " Smith"),
        ("Write to www.example.", "com now"),
        ("Open https://example.com/?", "q=1 now"),
        ("At 10:", "30 sharp"),
        ("Read README.md.", "txt again"),
        ("That is No.", " 5 of them"),
    ],
)
def test_an_end_that_may_turn_out_to_be_none_is_waited_for(so_far: str, rest: str) -> None:
    splitter = ClauseSplitter()
    splitter.feed(so_far)
    assert splitter.take() is None
    splitter.feed(rest)
    assert splitter.take() is None
    splitter.end()
    assert splitter.take() == so_far + rest


def test_nobody_hurries_while_audio_is_ahead() -> None:
    splitter = ClauseSplitter()
    splitter.feed("See example.")
    assert splitter.take(LITTLE) is None
    splitter.feed("com.")
    assert splitter.take(LITTLE) is None
    splitter.feed(" Bye")
    assert splitter.take(LITTLE) == "See example.com."


@pytest.mark.parametrize(
    ("language", "text", "first"),
    [
        ("en", "The timer is set for twelve", "The timer is set"),
        ("en", "The timer is set for", None),
        ("en", "I go to bed at nine", "I go to bed"),
        ("en", "What can I do for you", None),
        ("en", "The big well-to-do man left us", None),
        ("en", "You look fine, but tired and old", "You look fine,"),
        ("de", "Ich erinnere Sie dann im Mai", "Ich erinnere Sie dann"),
        ("de", "Was kann ich denn für Sie", None),
        ("es", "¿Qué puedo hacer hoy por usted", None),
        ("ja", "The timer is set for twelve", None),
    ],
)
def test_where_there_is_silence_a_phrase_is_enough(language: str, text: str, first: str | None) -> None:
    splitter = ClauseSplitter(language)
    splitter.feed(text)
    if first is None or not first.endswith(","):
        assert splitter.take() is None
    assert splitter.take(silent=True) == first


def test_only_the_first_clause_is_broken_off_before_a_phrase() -> None:
    splitter = ClauseSplitter("en")
    splitter.feed("The timer is set for twelve minutes from now on")
    assert splitter.take(silent=True) == "The timer is set"
    assert splitter.take(silent=True) is None


def test_an_ordinal_is_no_end_where_it_is_written_with_a_point() -> None:
    assert split("Am 3. Mai. Gut.", language="de") == ["Am 3. Mai.", "Gut."]
    assert split("Das macht 31.", language="de-AT") == ["Das macht 31."]
    assert split("It is 31. May I go?", language="en") == ["It is 31.", "May I go?"]


def test_when_less_is_enough() -> None:
    assert loosens_in_ms(PLENTY_MS + 5) == 5
    assert loosens_in_ms(SOON_MS + 5) == 5
    assert loosens_in_ms(0) is None


def test_a_sentence_without_end_is_cut_between_words() -> None:
    clauses = split("word " * 200)
    assert all(len(c) <= MAX_CHARS for c in clauses)
    assert " ".join(clauses).split() == ["word"] * 200


def test_a_sentence_that_is_too_long_is_cut_at_a_comma() -> None:
    text = f"{'word ' * 30}word, {'word ' * 40}end."
    assert split(text, ahead_ms=PLENTY)[1:] == [f"{'word ' * 40}end."]


def test_a_word_without_end_is_cut_all_the_same() -> None:
    assert "".join(split("x" * 1000)) == "x" * 1000


@given(
    st.text(alphabet=st.sampled_from("ab .,!?\n-…1"), max_size=400),
    st.integers(1, 50),
    st.sampled_from((NOTHING, LITTLE, PLENTY)),
    st.sampled_from(("en", "de")),
)
def test_no_word_is_lost_or_moved_however_the_text_arrives(
    text: str, size: int, ahead_ms: float, language: str
) -> None:
    clauses = split(text, ahead_ms, language, [text[i : i + size] for i in range(0, len(text), size)])
    letters = [c for c in text if c.isalnum()]
    assert [c for c in "".join(clauses) if c.isalnum()] == letters
    assert all(len(c) <= MAX_CHARS for c in clauses)
    if ahead_ms:
        assert clauses == split(text, ahead_ms, language, list(text)), "nothing depends on how it was cut"
