"""What the words of a turn say about whether it is over; pure.

Recognisers differ: Whisper writes punctuation, pocketsphinx none, and either may end half a sentence with a
full stop. So punctuation is one clue, the last words are another, and `pipelines.endpoint.decision` weighs
them.
"""

from __future__ import annotations

import re
from enum import StrEnum

from pipelines.base import primary_language
from pipelines.endpoint.lexicon import LEXICONS, Lexicon

#: Only the end of a long turn is looked at: it decides, and the cost stays bounded.
MAX_CHARS = 400
#: A dictated number whose length nobody named has at least so many digits.
USUAL_DIGITS = 4
#: Sentences shorter than this are fragments, unless they are a known answer.
FRAGMENT_WORDS = 2

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*['’]?")
_SENTENCE = re.compile(r"[.!?。！？]+(?=\s|$)")
_DIGITS = re.compile(r"\d+")


class Clue(StrEnum):
    """One thing that words can tell."""

    NO_WORDS = "no words"
    QUESTION_MARK = "question mark"
    FULL_STOP = "full stop"
    COMMA = "comma"
    ELLIPSIS = "ellipsis"
    ANSWER = "whole answer"
    QUESTION = "whole question"
    HANGING = "last word hangs"
    FILLER = "last word is a filler"
    FRAGMENT = "fragment"
    HALF = "first half of a sentence"
    DICTATING = "number is being dictated"
    DICTATED = "number is complete"
    LIST = "list without its last item"


def clues(text: str, language: str | None) -> tuple[Clue, ...]:
    """What `text`, the words of the turn so far, tells in `language` (a tag, or None)."""
    text = text.strip()[-MAX_CHARS:].lower().replace("’", "'")
    if not any(letter.isalnum() for letter in text):
        return (Clue.NO_WORDS,)
    found = [*_punctuation(text)]
    lexicon = LEXICONS.get(primary_language(language) or "")
    if lexicon is not None:
        found += _last_sentence(text, lexicon)
    return tuple(found)


def _punctuation(text: str) -> list[Clue]:
    if text.endswith(("...", "…", "-", "–", "—")):
        return [Clue.ELLIPSIS]
    if text.endswith(("?", "？")):
        return [Clue.QUESTION_MARK]
    if text.endswith((".", "!", "。", "！")):
        return [Clue.FULL_STOP]
    return [Clue.COMMA] if text.endswith((",", ";", ":", "、", "，")) else []


def _last_sentence(text: str, lexicon: Lexicon) -> list[Clue]:
    sentence = next((part for part in reversed(_SENTENCE.split(text)) if part.strip()), text).strip()
    words = _WORD.findall(sentence)
    if not words:
        return []
    plain = " ".join(words)
    if number := _number(words, lexicon):
        return [number]
    if plain in lexicon.answers:
        return [Clue.ANSWER]
    if words[-1] in lexicon.fillers:
        return [Clue.FILLER]
    if words[-1] in lexicon.hanging or " ".join(words[-2:]) in lexicon.hanging_pairs:
        return [Clue.HANGING]
    if len(words) > FRAGMENT_WORDS and _is_question(words, lexicon):
        return [Clue.QUESTION]
    if len(words) <= FRAGMENT_WORDS:
        return [Clue.FRAGMENT]
    if words[0] in lexicon.openers and "," not in sentence:
        return [Clue.HALF]
    if _is_open_list(sentence, lexicon):
        return [Clue.LIST]
    return []


def _is_question(words: list[str], lexicon: Lexicon) -> bool:
    """ "when does it leave", not "when I came home"."""
    is_either = words[0] in lexicon.openers
    return words[0] in lexicon.questions and (not is_either or words[1] in lexicon.questions)


def _number(words: list[str], lexicon: Lexicon) -> Clue | None:
    """Whether the words end in digits said one after the other, and whether that may be all of them."""
    digits, start = 0, len(words)
    for word in reversed(words):
        if word in lexicon.numbers:
            digits += 1
        elif _DIGITS.fullmatch(word.replace("-", "")):
            digits += len(word.replace("-", ""))
        else:
            break
        start -= 1
    before = words[:start]
    named = [length for word in before for name, length in lexicon.dictated.items() if word == name]
    if not digits or (digits == 1 and not named):
        return Clue.ANSWER if digits and not before else None
    if not named and digits < USUAL_DIGITS and before:
        # A time, a table for two, a house number: no dictation.
        return None
    return Clue.DICTATED if digits >= max(named, default=USUAL_DIGITS) else Clue.DICTATING


def _is_open_list(sentence: str, lexicon: Lexicon) -> bool:
    """Whether items are being listed ("milk, eggs, bread") without the "and" that announces the last one."""
    items = [item.split() for item in sentence.rstrip(",.!? ").split(",")]
    listed = [item for item in items[1:] if item and item[0] not in lexicon.fillers]
    is_short = all(len(item) <= FRAGMENT_WORDS + 1 for item in listed)
    return len(listed) > 1 and is_short and not lexicon.joins.intersection(listed[-1])
