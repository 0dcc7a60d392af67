"""What is particular to a language in how it reads out what is written in short.

Numbers come from num2words, names of units, months and separators from CLDR (Babel); here is what neither
has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.numbers import get_decimal_symbol

from pipelines.base import primary_language


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language."""

    dot: str
    at: str
    slash: str
    dash: str
    underscore: str
    percent: str
    #: Before the decimals.
    point: str
    #: Between the ends of a range.
    to: str
    number: str
    plus: str
    equals: str
    times: str
    #: Between a number and its exponent.
    power: str
    ampersand: str
    degrees: str
    #: One half, one quarter, three quarters.
    fractions: tuple[str, str, str]
    #: Hour, minute and "am" or "pm" in words; the minute is empty on the hour.
    clock: Callable[[str, str, str], str]
    #: Day (a cardinal), month and year in words; the year may be empty.
    date: str
    #: Abbreviations in lower case, with their points.
    abbreviations: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    code: str
    locale: Locale
    words: Words
    decimal: str
    #: 03/04 is the third of April.
    day_first: bool

    @property
    def address_marks(self) -> dict[str, str]:
        w = self.words
        return {"@": w.at, ".": w.dot, "-": w.dash, "_": w.underscore, "/": w.slash, "+": w.plus}


@lru_cache(maxsize=64)
def language_of(tag: str | None) -> Language | None:
    """The language of a tag as in a persona (``de``, ``de-AT``); None: not one of `LANGUAGES`."""
    code = primary_language(tag)
    if tag is None or code is None or (words := LANGUAGES.get(code)) is None:
        return None
    try:
        locale = Locale.parse(tag.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        locale = Locale(code)
    american = code == "en" and locale.territory in (None, "US")
    return Language(code, locale, words, get_decimal_symbol(locale), day_first=not american)


def _english(hour: str, minute: str, half: str) -> str:
    if not minute:
        return f"{hour} {half}" if half else f"{hour} o'clock"
    return f"{hour} {minute} {half}".strip()


def _german(hour: str, minute: str, _half: str) -> str:
    return f"{'ein' if hour == 'eins' else hour} Uhr {minute}".strip()


def _french(hour: str, minute: str, _half: str) -> str:
    hour = re.sub(r"\bun$", "une", hour)
    return f"{hour} heure{'s' if hour not in ('une', 'zéro') else ''} {minute}".strip()


def _spanish(hour: str, minute: str, _half: str) -> str:
    return f"{re.sub(r'uno$', 'una', hour)} {f'y {minute}' if minute else 'en punto'}"


def _italian(hour: str, minute: str, _half: str) -> str:
    return f"{hour} e {minute}" if minute else hour


LANGUAGES: Mapping[str, Words] = {
    "en": Words(
        dot="dot",
        at="at",
        slash="slash",
        dash="dash",
        underscore="underscore",
        percent="percent",
        point="point",
        to="to",
        number="number",
        plus="plus",
        equals="equals",
        times="times",
        power="to the power of",
        ampersand="and",
        degrees="degrees",
        fractions=("one half", "one quarter", "three quarters"),
        clock=_english,
        date="{month} {day}{year}",
        abbreviations={
            "mr.": "Mister",
            "mrs.": "Missus",
            "ms.": "Miz",
            "dr.": "Doctor",
            "prof.": "Professor",
            "jr.": "Junior",
            "sr.": "Senior",
            "vs.": "versus",
            "vs": "versus",
            "etc.": "et cetera",
            "e.g.": "for example",
            "i.e.": "that is",
            "approx.": "approximately",
            "dept.": "department",
            "mt.": "Mount",
            "ltd.": "Limited",
            "inc.": "Incorporated",
            "ext.": "extension",
            "w/": "with",
        },
    ),
    "de": Words(
        dot="Punkt",
        at="at",
        slash="Schrägstrich",
        dash="Bindestrich",
        underscore="Unterstrich",
        percent="Prozent",
        point="Komma",
        to="bis",
        number="Nummer",
        plus="plus",
        equals="gleich",
        times="mal",
        power="hoch",
        ampersand="und",
        degrees="Grad",
        fractions=("ein halb", "ein Viertel", "drei Viertel"),
        clock=_german,
        date="{day} {month}{year}",
        abbreviations={
            "z.b.": "zum Beispiel",
            "z. b.": "zum Beispiel",
            "d.h.": "das heißt",
            "d. h.": "das heißt",
            "u.a.": "unter anderem",
            "u. a.": "unter anderem",
            "bzw.": "beziehungsweise",
            "usw.": "und so weiter",
            "etc.": "et cetera",
            "ca.": "circa",
            "str.": "Straße",
            "dr.": "Doktor",
            "prof.": "Professor",
            "hr.": "Herr",
            "fr.": "Frau",
            "evtl.": "eventuell",
            "tel.": "Telefon",
            "ggf.": "gegebenenfalls",
            "inkl.": "inklusive",
            "mio.": "Millionen",
            "mrd.": "Milliarden",
            "std.": "Stunden",
            "vgl.": "vergleiche",
            "st.": "Sankt",
        },
    ),
    "fr": Words(
        dot="point",
        at="arobase",
        slash="barre oblique",
        dash="tiret",
        underscore="tiret bas",
        percent="pour cent",
        point="virgule",
        to="à",
        number="numéro",
        plus="plus",
        equals="égale",
        times="fois",
        power="puissance",
        ampersand="et",
        degrees="degrés",
        fractions=("un demi", "un quart", "trois quarts"),
        clock=_french,
        date="{day} {month}{year}",
        abbreviations={
            "m.": "Monsieur",
            "mme": "Madame",
            "mlle": "Mademoiselle",
            "dr": "Docteur",
            "dr.": "Docteur",
            "p. ex.": "par exemple",
            "p.ex.": "par exemple",
            "etc.": "et cetera",
            "env.": "environ",
            "c.-à-d.": "c'est-à-dire",
            "tél.": "téléphone",
            "av.": "avenue",
            "bd": "boulevard",
        },
    ),
    "es": Words(
        dot="punto",
        at="arroba",
        slash="barra",
        dash="guion",
        underscore="guion bajo",
        percent="por ciento",
        point="coma",
        to="a",
        number="número",
        plus="más",
        equals="igual a",
        times="por",
        power="elevado a",
        ampersand="y",
        degrees="grados",
        fractions=("un medio", "un cuarto", "tres cuartos"),
        clock=_spanish,
        date="{day} de {month}{year}",
        abbreviations={
            "sr.": "señor",
            "sra.": "señora",
            "srta.": "señorita",
            "dr.": "doctor",
            "dra.": "doctora",
            "ud.": "usted",
            "uds.": "ustedes",
            "p. ej.": "por ejemplo",
            "p.ej.": "por ejemplo",
            "etc.": "etcétera",
            "ee. uu.": "Estados Unidos",
            "ee.uu.": "Estados Unidos",
            "av.": "avenida",
            "tel.": "teléfono",
            "aprox.": "aproximadamente",
        },
    ),
    "it": Words(
        dot="punto",
        at="chiocciola",
        slash="barra",
        dash="trattino",
        underscore="trattino basso",
        percent="per cento",
        point="virgola",
        to="a",
        number="numero",
        plus="più",
        equals="uguale",
        times="per",
        power="elevato alla",
        ampersand="e",
        degrees="gradi",
        fractions=("un mezzo", "un quarto", "tre quarti"),
        clock=_italian,
        date="{day} {month}{year}",
        abbreviations={
            "sig.": "signor",
            "sig.ra": "signora",
            "sig.na": "signorina",
            "dott.": "dottor",
            "dott.ssa": "dottoressa",
            "prof.": "professor",
            "ecc.": "eccetera",
            "per es.": "per esempio",
            "p. es.": "per esempio",
            "es.": "esempio",
            "tel.": "telefono",
            "ca.": "circa",
        },
    ),
}
