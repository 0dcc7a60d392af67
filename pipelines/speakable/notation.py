"""Dates, times, money, units, ranges, telephone numbers and abbreviations, each a pattern and its reading."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias

from babel.core import Locale
from babel.dates import get_month_names
from babel.numbers import get_currency_name
from babel.units import format_unit

from pipelines.speakable import numbers
from pipelines.speakable.language import Language

_Rule: TypeAlias = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

_CURRENCY_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW"}
_CURRENCY_CODES = ["USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN"]
_UNITS = {
    "km": "length-kilometer", "cm": "length-centimeter", "mm": "length-millimeter", "m": "length-meter",
    "mi": "length-mile", "ft": "length-foot", "yd": "length-yard", "kg": "mass-kilogram", "g": "mass-gram",
    "mg": "mass-milligram", "t": "mass-tonne", "lb": "mass-pound", "lbs": "mass-pound", "oz": "mass-ounce",
    "l": "volume-liter", "L": "volume-liter", "ml": "volume-milliliter", "mL": "volume-milliliter",
    "cl": "volume-centiliter", "km/h": "speed-kilometer-per-hour", "kmh": "speed-kilometer-per-hour",
    "mph": "speed-mile-per-hour", "m/s": "speed-meter-per-second", "°C": "temperature-celsius",
    "°F": "temperature-fahrenheit", "℃": "temperature-celsius", "h": "duration-hour", "hrs": "duration-hour",
    "min": "duration-minute", "s": "duration-second", "sec": "duration-second",
    "ms": "duration-millisecond", "m²": "area-square-meter", "m2": "area-square-meter",
    "km²": "area-square-kilometer", "m³": "volume-cubic-meter", "kB": "digital-kilobyte",
    "KB": "digital-kilobyte", "MB": "digital-megabyte", "GB": "digital-gigabyte", "TB": "digital-terabyte",
    "W": "power-watt", "kW": "power-kilowatt", "kWh": "energy-kilowatt-hour", "V": "electric-volt",
    "A": "electric-ampere", "Hz": "frequency-hertz", "kHz": "frequency-kilohertz",
    "MHz": "frequency-megahertz", "GHz": "frequency-gigahertz", "kcal": "energy-kilocalorie",
}  # fmt: skip
_MAGNITUDES = {
    "en": "thousand|million|billion|trillion", "de": "Tausend|Millionen|Million|Milliarden|Milliarde",
    "fr": "millions?|milliards?", "es": "mil|millón|millones", "it": "mila|milioni|milione|miliardi|miliardo",
}  # fmt: skip
#: As English writes them behind an amount of money: "£5m".
_SHORT_MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "tn": "trillion",
}
_GERMAN_ARTICLES = "am|im|dem|den|des|vom|zum|zur|beim|ab|der|die|das|jede[rsn]?|ein|eine[rmn]?"
_HALVES = {"½": 0, "¼": 1, "¾": 2, "1/2": 0, "1/4": 1, "3/4": 2}
_LEADING_NUMBER = re.compile(r"^[\d.,\s\u00a0\u202f]+")


def in_words(text: str, language: Language) -> str:
    """`text` without digits and signs as far as they are understood."""
    for pattern, reading in _rules(language):
        text = pattern.sub(reading, text)
    return text


@lru_cache(maxsize=64)
def _rules(language: Language) -> tuple[_Rule, ...]:
    reader = _Notation(language)
    return (
        *reader.abbreviations(),
        *reader.dates(),
        *reader.times(),
        *reader.decades(),
        *reader.money(),
        *reader.measures(),
        *reader.telephone(),
        *reader.ordinals(),
        *reader.plain(),
    )


class _Notation:
    """The rules of one language, in the order in which they are tried."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._words = language.words
        group = "," if language.decimal == "." else r"[.'’\u00a0\u202f ]"
        decimal = re.escape(language.decimal)
        #: A number as this language writes it; no groups of its own.
        self._number = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+(?!\d)|\d+)(?:{decimal}\d+)?"
        self._months = _months(language.locale)

    def _value(self, written: str) -> Decimal:
        whole, _, part = written.partition(self._language.decimal)
        whole = re.sub(r"\D", "", whole)
        return Decimal(f"{whole}.{part}") if part else Decimal(whole)

    def _say(self, written: str) -> str:
        if len(written) > 1 and written[0] == "0" and written.isdigit():
            return numbers.digits(written, self._language)
        return numbers.cardinal(self._value(written), self._language)

    # ---- abbreviations and signs between words

    def abbreviations(self) -> list[_Rule]:
        known = self._words.abbreviations
        longest_first = sorted(known, key=len, reverse=True)
        either = "|".join(re.escape(short) for short in longest_first)

        def whole(match: re.Match[str]) -> str:
            # The point of an abbreviation at the end is the end of the sentence, too.
            end = "." if match.end() == len(match.string) and match[1].endswith(".") else ""
            return known[match[1].lower()] + end

        number = self._words.number
        return [
            (re.compile(rf"(?<![\w.])({either})(?!\w)", re.I), whole),
            (re.compile(r"(?<!\w)(?:no\.|nr\.|n[.°º]+|núm\.|#)\s*(?=\d)", re.I), lambda _: f"{number} "),
            (re.compile(r"\s*&\s*"), lambda _: f" {self._words.ampersand} "),
        ]

    # ---- dates

    def dates(self) -> list[_Rule]:
        month = "|".join(re.escape(name) for name in sorted(self._months, key=len, reverse=True))
        before = r"(?:\b(?P<before>[^\W\d_]+)(?P<gap>\s+))?"
        year = r"(?P<year>[12]\d{3})"
        rules: list[_Rule] = [
            (re.compile(rf"{before}\b{year}-(?P<month>\d\d)-(?P<day>\d\d)\b(?!-)"), self._numeric_date),
            (
                re.compile(
                    rf"{before}\b(?P<day>\d{{1,2}})(?P<s>[./])(?P<month>\d{{1,2}})(?P=s){year}\b"
                    if self._language.day_first
                    else rf"{before}\b(?P<month>\d{{1,2}})(?P<s>/)(?P<day>\d{{1,2}})(?P=s){year}\b"
                ),
                self._numeric_date,
            ),
        ]
        match self._language.code:
            case "en":
                tail = rf"(?:st|nd|rd|th)?(?:,?\s+{year})?\b(?![\d.,:%]\d)"
                rules.append(
                    (re.compile(rf"(?P<name>\b(?:{month}))\.?\s+(?P<day>\d{{1,2}}){tail}"), self._named_date)
                )
                first = rf"(?P<day>\b\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<name>{month})\b"
                rules.append((re.compile(rf"(?:\bthe\s+)?{first}(?:,?\s+{year}\b)?"), self._british_date))
            case "de":
                rules.append(
                    (
                        re.compile(rf"{before}\b(?P<day>\d{{1,2}})\.\s*(?P<name>{month})\b(?:\s+{year}\b)?"),
                        self._named_date,
                    )
                )
            case _:
                of = r"(?:del?\s+)?"
                rules.append(
                    (
                        re.compile(
                            rf"(?P<day>\b\d{{1,2}})(?:er|[º°])?\s+{of}(?P<name>{month})\b(?:\s+{of}{year}\b)?"
                        ),
                        self._named_date,
                    )
                )
        return rules

    def _numeric_date(self, match: re.Match[str]) -> str:
        day, month = int(match["day"]), int(match["month"])
        if month > 12:
            # The other order than is usual here.
            day, month = month, day
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return match.group()
        return self._date(match, day, get_month_names("wide", locale=self._language.locale)[month])

    def _named_date(self, match: re.Match[str]) -> str:
        return self._date(match, int(match["day"]), self._months[match["name"]])

    def _british_date(self, match: re.Match[str]) -> str:
        day = numbers.ordinal(int(match["day"]), self._language)
        return f"the {day} of {self._months[match['name']]}{self._year(match['year'])}"

    def _date(self, match: re.Match[str], day: int, month: str) -> str:
        groups = match.groupdict()
        before = groups.get("before") or ""
        said = self._words.date.format(
            day=numbers.day(day, self._language, before), month=month, year=self._year(match["year"])
        )
        return f"{before}{groups.get('gap') or ''}{said}"

    def _year(self, written: str | None) -> str:
        if not written:
            return ""
        between = {"en": ", ", "es": " de "}.get(self._language.code, " ")
        return between + numbers.year(int(written), self._language)

    # ---- times

    def times(self) -> list[_Rule]:
        hour, minute = r"\b(?P<h>[01]?\d|2[0-3])", r"(?P<m>[0-5]\d)"
        half = r"\s*(?P<half>[AaPp])\.?\s?[Mm]\b\.?"
        unit = {"de": r"(?:\s*Uhr\b)?", "fr": r"(?:\s*h\b)?"}.get(self._language.code, "")
        patterns = [rf"{hour}:{minute}(?::[0-5]\d)?\b(?:{half})?{unit}"]
        match self._language.code:
            case "en":
                patterns.append(rf"\b(?P<h>1[0-2]|0?[1-9]){half}")
            case "fr":
                patterns.append(rf"{hour}\s?h{minute}\b")
            case "de":
                patterns.append(rf"{hour}(?:\.{minute})?\s*Uhr\b")
        return [(re.compile(pattern), self._time) for pattern in patterns]

    def _time(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        minute = int(groups.get("m") or 0)
        said = numbers.cardinal(minute, self._language) if minute else ""
        if minute < 10 and minute and self._language.code == "en":
            said = f"oh {said}"
        half = groups.get("half") or ""
        hour = numbers.cardinal(int(match["h"]), self._language)
        end = "." if half and match.group().endswith(".") and match.end() == len(match.string) else ""
        return self._words.clock(hour, said, f"{half.upper()}M" if half else "") + end

    def decades(self) -> list[_Rule]:
        ending = {"en": "s", "de": "er"}.get(self._language.code)
        return [(re.compile(rf"\b(?P<n>1\d\d0|20\d0){ending}\b"), self._decade)] if ending else []

    def _decade(self, match: re.Match[str]) -> str:
        said = numbers.year(int(match["n"]), self._language)
        return f"{said}er" if self._language.code == "de" else re.sub(r"y$", "ie", said) + "s"

    # ---- money, percentages, units

    def money(self) -> list[_Rule]:
        n, signs, codes = self._number, "".join(_CURRENCY_SIGNS), "|".join(_CURRENCY_CODES)
        written = rf"\s+(?P<magnitude>{_MAGNITUDES[self._language.code]})"
        short = rf"|\s?(?P<short>(?i:{'|'.join(_SHORT_MAGNITUDES)}))" if self._language.code == "en" else ""
        magnitude = rf"(?:(?:{written}{short})\b)?"
        sign = rf"(?P<sign>[{re.escape(signs)}]|\b(?:{codes}))"
        return [
            (re.compile(rf"{sign}\s?(?P<n>{n}){magnitude}"), self._money),
            (re.compile(rf"(?<![\w.,])(?P<n>{n}){magnitude}\s?{sign}(?!\w)"), self._money),
        ]

    def _money(self, match: re.Match[str]) -> str:
        code = _CURRENCY_SIGNS.get(match["sign"], match["sign"])
        amount = self._value(match["n"])
        short = match.groupdict().get("short")
        if magnitude := _SHORT_MAGNITUDES[short.lower()] if short else match["magnitude"]:
            of = {"fr": " d'", "es": " de ", "it": " di "}.get(self._language.code, " ")
            name = get_currency_name(code, count=2, locale=self._language.locale)
            plural = (numbers.money(Decimal(2), code, self._language) or f"_ {name}").split(" ", 1)[1]
            return f"{numbers.cardinal(amount, self._language)} {magnitude}{of}{plural}"
        said = numbers.money(amount, code, self._language)
        if said is None:
            name = get_currency_name(code, count=float(amount), locale=self._language.locale)
            said = f"{numbers.cardinal(amount, self._language)} {name}"
        return said

    def measures(self) -> list[_Rule]:
        units = "|".join(re.escape(u) for u in sorted(_UNITS, key=len, reverse=True))
        w = self._words
        n = rf"(?P<sign>(?<![\w.,])[-−+])?(?<![\w.,])(?P<n>{self._number})"
        a, b = rf"(?<![\w.,:])(?P<a>{self._number})", rf"(?P<b>{self._number})"
        unit = rf"(?P<unit>{units})(?![\w/²³])"
        return [
            (re.compile(rf"{a}\s?[-–]\s?{b}(?=\s?(?:%|{unit}))"), self._range),
            (re.compile(rf"{n}\s?%"), lambda m: f"{self._signed(m)} {w.percent}"),
            (re.compile(rf"{n}[\s\u00a0]?{unit}"), self._measure),
            (re.compile(rf"{n}\s?°"), lambda m: f"{self._signed(m)} {w.degrees}"),
        ]

    def _signed(self, match: re.Match[str]) -> str:
        return f"{self._sign(match)}{self._say(match['n'])}"

    def _sign(self, match: re.Match[str]) -> str:
        return {"-": "minus ", "−": "minus ", "+": f"{self._words.plus} "}.get(match["sign"] or "", "")

    def _measure(self, match: re.Match[str]) -> str:
        value = self._value(match["n"])
        unit = format_unit(value, _UNITS[match["unit"]], "long", locale=self._language.locale)
        noun = _LEADING_NUMBER.sub("", unit)
        return f"{self._sign(match)}{numbers.counted(value, noun, self._language)}"

    def _range(self, match: re.Match[str]) -> str:
        return f"{self._say(match['a'])} {self._words.to} {match['b']}"

    # ---- what is read digit by digit

    def telephone(self) -> list[_Rule]:
        # A plus, a leading zero, or groups that are no thousands: and at least seven digits.
        number = r"(?<![\w.,])(?P<plus>\+)?\(?(?P<n>\d[\d\s\u00a0()/.-]{5,24}\d)(?![\w%€]|[.,]\d)"
        return [(re.compile(number), self._telephone)]

    def _telephone(self, match: re.Match[str]) -> str:
        groups = re.findall(r"\d+", match["n"])
        international = bool(match["plus"]) or match["n"][0] == "0"
        thousands = len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
        local = [len(group) for group in groups] == [3, 4] and "-" in match["n"]
        if not 7 <= sum(map(len, groups)) <= 15 or not (
            international or local or (len(groups) > 2 and not thousands)
        ):
            return match.group()
        plus = f"{self._words.plus} " if match["plus"] else ""
        return plus + numbers.digits(match["n"], self._language)

    # ---- ordinals

    def ordinals(self) -> list[_Rule]:
        def say(match: re.Match[str]) -> str:
            before = match.groupdict().get("before") or ""
            said = numbers.ordinal(int(match["n"]), self._language, before.strip())
            if match.groupdict().get("f"):
                said = re.sub(r"o\b", "a", said) if self._language.code != "fr" else "première"
            return f"{before}{said}"

        match self._language.code:
            case "en":
                return [(re.compile(r"\b(?P<n>\d{1,6})(?:st|nd|rd|th)\b"), say)]
            case "de":
                # "im 3. Stock", but not "Ich bin 31. Und du?"
                after = rf"(?P<before>\b(?:{_GERMAN_ARTICLES})\s)(?P<n>\d{{1,3}})\.(?=\s+[^\W\d_])"
                inside = r"(?P<n>\b\d{1,3})\.(?=\s+[a-zäöü])"
                return [(re.compile(after, re.I), say), (re.compile(rf"(?<=\w\s){inside}"), say)]
            case "fr":
                return [(re.compile(r"\b(?P<n>\d{1,4})(?:er|(?P<f>re)|e|ème)\b"), say)]
            case _:
                return [(re.compile(r"\b(?P<n>\d{1,4})\.?(?:[º°]|(?P<f>ª))"), say)]

    # ---- numbers

    def plain(self) -> list[_Rule]:
        n, w = self._number, self._words
        fraction = "|".join(_HALVES)
        between = r"(?<=[\w)])\s*{}\s*(?=[\w(])"
        return [
            (re.compile(rf"(?<![\w/])(?:{fraction})(?![\w/])"), lambda m: w.fractions[_HALVES[m.group()]]),
            (re.compile(rf"(?<![\w.,:])(?P<a>{n})\s?[-–]\s?(?P<b>{n})(?![\w-])"), self._range),
            (re.compile(r"(?<=\d)\s?[x×*]\s?(?=\d)"), lambda _: f" {w.times} "),
            (re.compile(between.format(r"(?<=\s)\+(?=\s)|(?<=\d)\+(?=\d)")), lambda _: f" {w.plus} "),
            (re.compile(r"(?<![\w/])24/7(?![\w/])"), lambda _: "24 7"),
            (re.compile(r"(?<=\d)/(?=\d)"), lambda _: f" {w.slash} "),
            (re.compile(r"(?<=[\d)])\s?\^\s?(?=[-−]?\d)"), lambda _: f" {w.power} "),
            (re.compile(r"(?<=\d):(?=\d)"), lambda _: " "),
            (re.compile(between.format("=")), lambda _: f" {w.equals} "),
            (re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.]\d)"), self._version),
            (re.compile(r"\b(?P<n>1[1-9]\d\d|20\d\d)\b(?![.,]\d)"), self._maybe_year),
            (re.compile(rf"(?P<sign>(?<![\w.,])[-−+])?(?P<n>{n})"), self._plain),
        ]

    def _version(self, match: re.Match[str]) -> str:
        parts = [numbers.cardinal(int(p), self._language) for p in match.group().split(".")]
        gap = " " if match.string[match.start() - 1 : match.start()].isalpha() else ""
        return gap + f" {self._words.dot} ".join(parts)

    def _maybe_year(self, match: re.Match[str]) -> str:
        return numbers.year(int(match["n"]), self._language)

    def _plain(self, match: re.Match[str]) -> str:
        following = match.string[match.end() : match.end() + 1]
        preceding = match.string[max(0, match.start() - 1) : match.start()]
        # A letter next to it makes it a name: "B2", "3D".
        gap_before = " " if preceding.isalpha() else ""
        gap_after = " " if following.isalpha() else ""
        return f"{gap_before}{self._signed(match)}{gap_after}"


def _months(locale: Locale) -> dict[str, str]:
    """The names of months as people write them, and in full."""
    wide = get_month_names("wide", locale=locale)
    short = get_month_names("abbreviated", locale=locale)
    return {written: wide[i] for i in range(1, 13) for written in (wide[i], short[i].removesuffix("."))}
