"""Cuts a stream of text into clauses that can be spoken on their own, the first as early as possible.

A voice sounds best with whole sentences, and somebody is waiting: so how much makes a clause depends on how
much audio is ahead of the loudspeaker. With nothing ahead the first comma is good enough, even after one
word; with a little, a comma after some words; with plenty, only the end of a sentence. Where somebody hears
silence already, the first words of a long sentence are said up to where a phrase begins ("The timer is set |
for twelve minutes"), as people do who think while they speak; not in a question, whose melody spans it whole.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipelines.base import primary_language

#: Audio ahead up to which a clause is wanted soon, and from which on only whole sentences are taken.
#: A short clause lasts about half a second, a sentence about two: enough to write and synthesise the next.
SOON_MS = 800.0
PLENTY_MS = 2000.0
#: Words that a comma needs before it: with little ahead, and with more.
SOON_MIN_WORDS = 4
LATER_MIN_WORDS = 9
#: Words that are said before a new phrase begins.
PHRASE_MIN_WORDS = 4
#: Longer clauses are cut: a voice synthesises a clause whole, and nobody should wait for that.
MAX_CHARS = 240

# "3." may become "3.5", "example." "example.com": an end is seen with the white space after it, or, where
# somebody is waiting, by `_is_plain_end`.
_END = re.compile(
    r"(?P<sentence>[.!?…]+[\"'”’»)\]]*(?=\s|$)|[。！？]|\n+)"
    r"|(?P<clause>[,;:](?=\s|$)|\s[–—-](?=\s)|—|[，；：])"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"])(?:mr|mrs|ms|dr|prof|st|mt|vs|etc|approx|dept|est|inc|ltd|co|jr|sr|e\.g|i\.e|a\.m|p\.m"
    r"|ca|bzw|usw|evtl|ggf|inkl|str|z\.\s?b|d\.\s?h|u\.\s?a|mme|mlle|p\.\s?ex|sra|srta|dra|ud|uds|p\.\s?ej"
    r"|sig|sig\.ra|dott|ecc|[^\W\d_])\.$",
    re.IGNORECASE,
)
#: Words that are abbreviations before a number and may end a sentence otherwise: "No. 5", "No. Never."
_BEFORE_NUMBER = re.compile(r"(?:^|[\s(\"'])(?:no|nr|núm|vol|fig|p|pp|pg|ch|sec|art|abb|ext|tel)\.$", re.I)
_NEXT = re.compile(r"\s*(\S?)")
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*\d{1,3}\.$")
_ORDINAL = re.compile(r"(?:^|[^\w.,])\d{1,3}\.$")
#: Languages that write ordinals with a point: "am 3. Mai".
_ORDINAL_POINT = frozenset(
    ("de", "da", "nb", "nn", "no", "is", "fi", "et", "lv", "cs", "sk", "sl", "hr", "hu")
)
#: A word of letters alone before its last mark: no address, no number, no abbreviation with points inside.
_PLAIN_WORD = re.compile(r"(?:^|[\s\"'“‘«(¿¡])(?:(?:[^\W\d_]+['’-])+[^\W\d_]+|[^\W\d_]{2,})[.!?…,;]+$")
_WORD = re.compile(r"\w+")
#: Kept though it says nothing: what comes after it is code, or no longer code.
FENCE = "```"


def loosens_in_ms(ahead_ms: float) -> float | None:
    """How long, while audio plays, until `ClauseSplitter.take` may be content with less; None: never."""
    for limit_ms in (PLENTY_MS, SOON_MS):
        if ahead_ms >= limit_ms:
            return ahead_ms - limit_ms
    return None


#: Words that begin a phrase inside of a sentence, and those that begin a question.
_PHRASES = {
    "en": "in on at from for to with by about past and but or because that which who if when while after"
    " before until than into over",
    "de": "in im an am auf aus bei beim mit nach von vom zu zum zur für um und oder aber bis",
    "fr": "dans en à au aux avec pour par sur et ou mais qui que quand avant après jusqu'à",
    "es": "en a al con para por sobre y o pero que cuando antes después hasta",
    "it": "in a al con per su e o ma che quando prima dopo fino nel nella",
}
_QUESTIONS = {
    "en": "what which who whose where when why how is are was were do does did can could will would shall"
    " should may have has",
    "de": "was welche welcher welches wer wo wann warum wie ist sind haben hat kann können soll sollen"
    " möchten darf wollen",
    "fr": "que quel quelle qui où quand pourquoi comment est-ce voulez pouvez puis",
    "es": "",
    "it": "che cosa quale chi dove quando perché come è sono vuole può posso",
}


@dataclass(frozen=True, slots=True)
class _End:
    at: int
    #: Ends a sentence, not just a clause in it.
    sentence: bool


class ClauseSplitter:
    """Feed text as it streams; take a clause whenever the voice is ready for one. Serves one reply."""

    def __init__(self, language: str | None = None) -> None:
        """`language`: the tag of the text; None: unknown."""
        code = primary_language(language) or ""
        self._ordinal_point = code in _ORDINAL_POINT
        self._phrases = frozenset(_PHRASES.get(code, "").split())
        self._questions = frozenset(_QUESTIONS.get(code, "").split())
        self._text = ""
        self._ended = False
        self._first = True

    def feed(self, text: str) -> None:
        self._text += text

    def end(self) -> None:
        """No more text comes: what is left is a clause, too."""
        self._ended = True

    @property
    def waiting_chars(self) -> int:
        """Text not taken yet."""
        return len(self._text)

    @property
    def done(self) -> bool:
        """Everything there will ever be has been taken."""
        return self._ended and not self._text

    def take(self, ahead_ms: float = 0.0, *, silent: bool = False) -> str | None:
        """The next clause; None while there is none good enough for `ahead_ms` of audio ahead.

        `silent`: the reply could sound already, and has nothing to say yet.
        """
        while (end := self._end(ahead_ms) or (self._phrase_end() if silent else None)) is not None:
            clause, self._text = self._text[:end].strip(), self._text[end:]
            if _WORD.search(clause):
                self._first = False
                return clause
            if FENCE in clause:
                return clause
        return None

    def _end(self, ahead_ms: float) -> int | None:
        last = 0
        for match in _END.finditer(self._text):
            if match.end() > MAX_CHARS:
                break
            end = self._judge(match, urgent=ahead_ms < SOON_MS)
            if end is None:
                continue
            if end.sentence or self._words(end.at) >= self._min_words(ahead_ms):
                return end.at
            last = end.at
        if len(self._text) > MAX_CHARS:
            return last or self._cut()
        return len(self._text) if self._ended and self._text else None

    def _judge(self, match: re.Match[str], *, urgent: bool) -> _End | None:
        """What `match` ends; None: nothing, or it cannot be told yet."""
        sentence = match["sentence"] is not None
        mark = match.group()
        if match.end() == len(self._text) and not self._ended and not self._is_plain_end(match, urgent):
            return None
        if mark == "." and not self._is_full_stop(match.end()):
            return None
        return _End(match.end(), sentence)

    def _is_plain_end(self, match: re.Match[str], urgent: bool) -> bool:
        """Whether an end with nothing after it yet is one whatever follows."""
        if match.group()[-1] in "\n—。！？，；：":
            return True
        return urgent and _PLAIN_WORD.search(self._text, 0, match.end()) is not None

    def _is_full_stop(self, end: int) -> bool:
        before = self._text[:end]
        if _ABBREVIATION.search(before) or _LIST_NUMBER.search(before):
            return False
        if self._ordinal_point and _ORDINAL.search(before):
            return self._ended and end == len(self._text)
        if (number := _BEFORE_NUMBER.search(before)) is not None:
            following = _NEXT.match(self._text, end)
            next_char = following[1] if following else ""
            # At the start "No." is an answer.
            return not next_char.isdigit() and (bool(next_char) or self._ended or number.start() == 0)
        return True

    def _phrase_end(self) -> int | None:
        """Where the next phrase of the first clause begins."""
        words = list(_WORD.finditer(self._text))
        if not self._first or not words or words[0].group().lower() in self._questions or "¿" in self._text:
            return None
        # The last word may go on.
        for word in words[PHRASE_MIN_WORDS:-1]:
            if word.group().lower() in self._phrases and self._text[word.start() - 1] == " ":
                return word.start()
        return None

    def _words(self, end: int) -> int:
        return len(_WORD.findall(self._text, 0, end))

    def _min_words(self, ahead_ms: float) -> float:
        if self._first:
            return 1
        if ahead_ms < SOON_MS:
            return SOON_MIN_WORDS
        return LATER_MIN_WORDS if ahead_ms < PLENTY_MS else math.inf

    def _cut(self) -> int:
        """Where to cut a clause that is too long: between two words if there is such a place."""
        space = self._text.rfind(" ", 1, MAX_CHARS + 1)
        return space if space > 0 else MAX_CHARS
