"""Numbers in words, by num2words; what it does not know stays as it is written."""

from __future__ import annotations

import re
from decimal import Decimal

from num2words import num2words

from pipelines.speakable.language import Language

#: Longer numbers are read digit by digit: nobody follows trillions.
MAX_DIGITS = 12
_FIRST = {"fr": "premier", "es": "primero", "it": "primo"}
#: Before a masculine noun the last "one" of a Spanish number is short.
_SHORT_ONE = ((re.compile(r"veintiuno$"), "veintiún"), (re.compile(r"\buno$"), "un"))
_DATIVE = frozenset(["am", "im", "dem", "den", "des", "vom", "zum", "beim", "ab", "seit", "bis"])


def cardinal(number: Decimal | int, language: Language) -> str:
    whole = int(number)
    if len(str(whole)) > MAX_DIGITS:
        return digits(str(whole), language)
    said = str(num2words(whole, lang=language.code)).replace(",", "")
    decimals = str(number).partition(".")[2]
    if decimals:
        said = f"{said} {language.words.point} {digits(decimals, language)}"
    return said


def counted(number: Decimal | int, noun: str, language: Language) -> str:
    """`number` before `noun`, which it agrees with as far as one word can tell."""
    said = cardinal(number, language)
    if language.code == "es":
        for pattern, short in _SHORT_ONE:
            said = pattern.sub(short, said)
    if number == 1:
        said = _one(noun, language)
    return f"{said} {noun}"


def _one(noun: str, language: Language) -> str:
    last = noun.split(maxsplit=1)[0][-1:].lower()
    match language.code:
        case "de":
            return "eine" if last == "e" else "ein"
        case "es":
            return "una" if last == "a" else "un"
        case "it":
            return "una" if last == "a" else "un"
        case "fr":
            feminine = ("heure", "minute", "seconde", "tonne", "livre", "once", "semaine")
            return "une" if noun.split(maxsplit=1)[0] in feminine else "un"
        case _:
            return cardinal(1, language)


def ordinal(number: int, language: Language, before: str = "", *, date: bool = False) -> str:
    """`before` is the word before it, which a German ordinal agrees with."""
    said = str(num2words(number, lang=language.code, to="ordinal"))
    if language.code == "de":
        before = before.lower()
        return f"{said}n" if before in _DATIVE else f"{said}r" if date and before != "der" else said
    return said


def day(number: int, language: Language, before: str = "") -> str:
    """The day of a date: ordinals in English and German, elsewhere only the first."""
    if language.code in ("en", "de"):
        return ordinal(number, language, before, date=True)
    return _FIRST[language.code] if number == 1 and language.code in _FIRST else cardinal(number, language)


def year(number: int, language: Language) -> str:
    if language.code == "en" or (language.code == "de" and number < 2000):
        return str(num2words(number, lang=language.code, to="year"))
    return cardinal(number, language)


def money(amount: Decimal, currency: str, language: Language) -> str | None:
    """`amount` of an ISO currency in words; None where num2words does not know it in this language."""
    exact = amount != int(amount)
    try:
        said = str(
            num2words(
                amount if exact else Decimal(f"{amount:.2f}"),
                lang=language.code,
                to="currency",
                currency=currency,
                **({"separator": " and"} if language.code == "en" else {}),
            )
        )
    except (NotImplementedError, KeyError, TypeError):
        return None
    if language.code == "en" and int(amount) != 1:
        said = said.replace("euro ", "euros ") if exact else said.replace("euro", "euros")
    if not exact:
        # "five dollars and zero cents"
        said = re.split(r" (?:and|und|et|con|e) (?:zero|null|zéro|cero) ", said)[0]
    return said.replace(",", "")


def digits(text: str, language: Language) -> str:
    """Digit by digit, the groups apart."""
    groups = re.findall(r"\d+", text)
    return ", ".join(" ".join(str(num2words(int(d), lang=language.code)) for d in group) for group in groups)
