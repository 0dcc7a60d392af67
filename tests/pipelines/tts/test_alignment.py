from __future__ import annotations

from pipelines.tts.alignment import last_phonemes

#: What a phonemizer says of whole texts and of words by themselves.
KNOWN = {
    "of the sun, ok": [list("ʌvðə sˈʌn, ˌoʊkˈeɪ")],
    "of, the, sun, ok": [list("ʌv, ðə, sˈʌn, oʊkˈeɪ")],
    "Hi! 1,5 now": [list("hˈaɪ!"), list("wˈʌn fˈaɪv nˈaʊ")],
    "Hi, 1,5, now": [list("hˈaɪ, wˈʌn, fˈaɪv, nˈaʊ")],
    "– a": [list("ˈeɪ")],
    "a": [list("ˈeɪ")],
    "–": [],
    "": [],
}


def ends(text: str) -> list[tuple[int, int]]:
    return last_phonemes(text, KNOWN[text], KNOWN.__getitem__)


def test_words_that_are_spoken_as_one_are_told_apart() -> None:
    sentence = KNOWN["of the sun, ok"][0]
    assert ["".join(sentence[: p + 1]) for _, p in ends("of the sun, ok")] == [
        "ʌv",
        "ʌvðə",
        "ʌvðə sˈʌn",
        "ʌvðə sˈʌn, ˌoʊkˈeɪ",
    ]


def test_a_word_without_sound_ends_with_the_one_before_it() -> None:
    assert ends("– a") == [(0, -1), (0, 2)]


def test_words_that_cannot_be_told_apart_are_not_guessed() -> None:
    assert ends("Hi! 1,5 now") == []
    assert ends("–") == []
