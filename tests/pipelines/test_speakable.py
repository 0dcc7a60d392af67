from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.speakable import Reader, speakable
from pipelines.speakable.language import LANGUAGES


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello, world.", "Hello, world."),
        ("**Bold** and _soft_ and `code` and ~~gone~~", "Bold and soft and code and gone"),
        ("# Title", "Title"),
        ("- item", "item"),
        ("- [ ] open", "open"),
        ("> quoted", "quoted"),
        ("| Day | Time |", "Day, Time."),
        ("|---|:-:|", ""),
        ("<b>bold</b><br>", "bold"),
        ("snake_case stays", "snake_case stays"),
        ("[the docs](https://example.com/a?b=c)", "the docs"),
        ("Great \U0001f600!", "Great !"),
        ("Hi :-) there", "Hi there"),
        ("\U0001f44d", ""),
        ("---", ""),
        ("", ""),
    ],
)
def test_what_is_for_the_eye_is_not_read_out(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert speakable(written, "en") == spoken


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("en", "go to https://www.example.com/path?q=1 now", "go to example dot com now"),
        ("en", "see example.org/help.", "see example dot org."),
        ("en", "a.b-c@example.com", "a dot b dash c at example dot com"),
        ("en", "It costs $5.50, $1 or €3 million.",
         "It costs five dollars and fifty cents, one dollar or three million euros."),
        ("en", "£5m, $2.5B or $10k",
         "five million pounds sterling, two point five billion dollars or ten thousand dollars"),
        ("en", "open 24/7, 10^6, 2^-3",
         "open twenty-four seven, ten to the power of six, two to the power of minus three"),
        ("de", "10^6", "zehn hoch sechs"),
        ("en", "5% of 10–20 km", "five percent of ten to twenty kilometers"),
        ("en", "1 kg, -5 °C, 60 km/h", "one kilogram, minus five degrees Celsius, sixty kilometers per hour"),
        ("en-GB", "5 km", "five kilometres"),
        ("en", "10:30, 14:05, 3pm, 3:30 p.m. or 9:00",
         "ten thirty, fourteen oh five, three PM, three thirty PM or nine o'clock"),
        ("en", "In 1999 and the 1990s.", "In nineteen ninety-nine and the nineteen nineties."),
        ("en", "on 2024-05-06", "on May sixth, twenty twenty-four"),
        ("en", "03/12/2024", "March twelfth, twenty twenty-four"),
        ("en-GB", "03/12/2024", "December third, twenty twenty-four"),
        ("en", "Nov. 5 or 6 May", "November fifth or the sixth of May"),
        ("en", "the 1st and 22nd", "the first and twenty-second"),
        ("en", "+49 30 1234567", "plus four nine, three zero, one two three four five six seven"),
        ("en", "(555) 123-4567", "five five five, one two three, four five six seven"),
        ("en", "from 1000-2000", "from one thousand to two thousand"),
        ("en", "1,234,000 and 3.14",
         "one million two hundred and thirty-four thousand and three point one four"),
        ("en", "½ of 3 x 4 = 6", "one half of three times four equals six"),
        ("en", "#5, No. 5, v1.2.3", "number five, number five, v one dot two dot three"),
        ("en", "007, B2", "zero zero seven, B two"),
        ("en", "Dr. Smith & Co., e.g. here etc.", "Doctor Smith and Co., for example here et cetera."),
        ("en", "No. Never.", "No. Never."),
        ("de", "5,50 € oder 1 €", "fünf Euro und fünfzig Cent oder ein Euro"),
        ("de", "1.234,5", "eintausendzweihundertvierunddreißig Komma fünf"),
        ("de", "um 10:30 Uhr, 8 Uhr, 1:05 Uhr", "um zehn Uhr dreißig, acht Uhr, ein Uhr fünf"),
        ("de", "am 3. Mai 2024, der 3. Mai", "am dritten Mai zweitausendvierundzwanzig, der dritte Mai"),
        ("de", "am 12.03.2024 im 3. Stock", "am zwölften März zweitausendvierundzwanzig im dritten Stock"),
        ("de", "Ich bin 31. Und du?", "Ich bin einunddreißig. Und du?"),
        ("de", "1 km, 1 h, 5 %", "ein Kilometer, eine Stunde, fünf Prozent"),
        ("de", "z. B. so bzw. anders usw.", "zum Beispiel so beziehungsweise anders und so weiter."),
        ("fr", "5,50 € à 10h30, 12h", "cinq euros et cinquante centimes à dix heures trente, douze heures"),
        ("fr", "1 234 567", "un million deux cent trente-quatre mille cinq cent soixante-sept"),
        ("fr", "le 1er mai, 5 %, 20 °C", "le premier mai, cinq pour cent, vingt degrés Celsius"),
        ("fr", "Mme Blanc, p. ex.", "Madame Blanc, par exemple."),
        ("es", "el 1 de mayo de 2024", "el primero de mayo de dos mil veinticuatro"),
        ("es", "5,50 €, 21 km, 3,14",
         "cinco euros con cincuenta céntimos, veintiún kilómetros, tres coma uno cuatro"),
        ("es", "a las 10:30, Sr. López", "a las diez y treinta, señor López"),
        ("it", "1.234,5 e 5,50 €",
         "milleduecentotrentaquattro virgola cinque e cinque euro e cinquanta centesimi"),
        ("it", "il 1° maggio alle 10:30", "il primo maggio alle dieci e trenta"),
        ("it", "il sig. Rossi ecc.", "il signor Rossi eccetera."),
        ("ru", "5 km", "5 km"),
        (None, "5 km, **10:30**", "5 km, 10:30"),
    ],
)  # fmt: skip
def test_what_is_written_in_short_is_said_in_full(language: str | None, written: str, spoken: str) -> None:
    assert speakable(written, language) == spoken


def test_code_is_shown_and_not_read_out() -> None:
    read = Reader("en")
    clauses = ["Try this:", "```python", "print(1)", "```", "It prints 1."]
    assert [read(clause) for clause in clauses] == ["Try this:", "", "", "", "It prints one."]
    assert speakable("Call ```f(x)``` now") == "Call now"


def test_a_tag_that_is_none_is_no_language() -> None:
    assert speakable("5", "eng") == "5"
    assert speakable("5", "en-XX") == "five"


@given(
    st.text(
        alphabet=st.sampled_from("0123456789 .,:;/-–+()%€$°½#&=x×kmhsTZ'’ªº|*_`<>[]@\u00a0éß"), max_size=60
    ),
    st.sampled_from([*LANGUAGES, "en-GB", "de-CH", "ja", None]),
)
def test_anything_can_be_read_out(written: str, language: str | None) -> None:
    spoken = speakable(written, language)
    assert len(spoken) < 100 * (len(written) + 1)
    if language in LANGUAGES:
        assert not any(c in "0123456789" for c in spoken)
