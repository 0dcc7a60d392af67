"""A small language model, and missing pronunciations, from the sentences a persona expects.

The trigram model is pocketsphinx's own `ArpaBoLM`. Words that its dictionary lacks (names, products) get
their sounds from espeak, which piper-tts brings, rewritten from IPA to the 39 phones of the CMU dictionary.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable

from pocketsphinx.lm import ArpaBoLM

log = logging.getLogger(__name__)

#: Sentences and characters beyond these are ignored: the search grows with the vocabulary.
MAX_PHRASES = 5000
MAX_PHRASE_CHARS = 200

_NOT_A_WORD = re.compile(r"[^a-z0-9' ]+")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# IPA as espeak writes it for en-us → CMU phones; longest match first.
_PHONES = {
    "tʃ": "CH", "dʒ": "JH", "aɪə": "AY ER", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY",
    "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɪɹ": "IH R", "ɛɹ": "EH R", "ʊɹ": "UH R", "əl": "AH L",
    "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "ɜː": "ER", "oː": "OW", "i": "IY", "ɪ": "IH", "ɛ": "EH",
    "æ": "AE", "a": "AA", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ᵻ": "IH",
    "ʊ": "UH", "u": "UW", "ɚ": "ER", "ɝ": "ER", "e": "EH", "o": "OW", "p": "P", "b": "B", "t": "T", "d": "D",
    "ɾ": "D", "k": "K", "ɡ": "G", "g": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z",
    "ʃ": "SH", "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R",
    "j": "Y", "w": "W", "x": "K", "ʔ": "T",
}  # fmt: skip
_PHONE = re.compile("|".join(sorted(_PHONES, key=len, reverse=True)))


def words_of(phrase: str) -> list[str]:
    """The words of a sentence as the dictionary spells them: lower case, no punctuation, digits spelt out."""
    text = phrase[:MAX_PHRASE_CHARS].lower().replace("’", "'")
    text = re.sub(r"[0-9]", lambda digit: f" {_DIGITS[int(digit[0])]} ", _NOT_A_WORD.sub(" ", text))
    return [word for word in (part.strip("'") for part in text.split()) if word]


def sentences(phrases: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The distinct sentences among `phrases`, as words."""
    kept = (tuple(words_of(phrase)) for phrase in list(phrases)[:MAX_PHRASES])
    return tuple(dict.fromkeys(words for words in kept if words))


def trigram_arpa(known: Iterable[tuple[str, ...]]) -> str:
    """A trigram language model of the sentences, in ARPA format."""
    model = ArpaBoLM(text="\n".join(" ".join(words) for words in known), add_start=True)
    model.compute()
    out = io.StringIO()
    model.write(out)
    return out.getvalue()


def phones_of(ipa: str) -> str:
    """CMU phones for an IPA transcription; sounds English lacks are left out. May be empty."""
    return " ".join(_PHONES[match] for match in _PHONE.findall(ipa))


def pronouncer() -> Callable[[str], str]:
    """A function from a word to its CMU phones, through espeak in piper-tts; empty when it has none."""
    from piper import PiperVoice

    from pipelines.tts.piper import BUILTIN_FILE, builtin_folder

    with builtin_folder() as folder:
        # The voice's phonemize holds the lock that espeak's global state needs.
        voice = PiperVoice.load(folder / BUILTIN_FILE)

    def pronounce(word: str) -> str:
        return phones_of("".join(phone for part in voice.phonemize(word) for phone in part))

    return pronounce
