"""Sums as people say them: "what is twelve times three", "2 + 2", "seventy minus four divided by two"."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = {
    word: value
    for value, word in enumerate(
        [
            *(
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
            ),
            *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_OPERATORS = {
    "plus": "+", "and": "+", "add": "+", "+": "+", "minus": "-", "less": "-", "-": "-",
    "times": "*", "multiplied": "*", "x": "*", "*": "*", "×": "*",
    "divided": "/", "over": "/", "/": "/", "÷": "/",
}  # fmt: skip
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[a-z]+|[-+*/×÷]")
_ASKING = frozenset(
    {"what", "is", "how", "much", "s", "calculate", "compute", "please", "tell", "me", "can", "you"}
)
_MAX_TOKENS = 40


def answer_arithmetic(said: str) -> str | None:
    """The answer to a sum said in words or digits; None when it is not one.

    >>> answer_arithmetic("what is twelve times three")
    '12 times 3 is 36.'
    """
    tokens = _TOKEN.findall(said.lower())
    while tokens and tokens[0] in _ASKING:
        tokens.pop(0)
    if not 3 <= len(tokens) <= _MAX_TOKENS:
        return None
    parsed = _parse([token for token in tokens if token not in ("by", "the", "equals")])
    if parsed is None:
        return None
    numbers, operators = parsed
    try:
        result = _evaluate(list(numbers), list(operators))
    except ZeroDivisionError:
        return "Nobody can divide by zero."
    spoken = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
    task = _say(numbers[0]) + "".join(
        f" {spoken[operator]} {_say(number)}" for operator, number in zip(operators, numbers[1:], strict=True)
    )
    return f"{task} is {_say(result)}."


def _parse(tokens: list[str]) -> tuple[list[Fraction], list[str]] | None:
    """Numbers and the operators between them; None unless the tokens are exactly that."""
    numbers: list[Fraction] = []
    operators: list[str] = []
    words: list[str] = []
    for token in [*tokens, "end"]:
        # "one hundred and six" is a number, "five and six" a sum.
        inside = token == "and" and any(word in _SCALES for word in words)
        if _is_number(token) or inside:
            words.append(token)
            continue
        value = _number(words)
        if value is None:
            return None
        numbers.append(value)
        words = []
        if token != "end":
            if token not in _OPERATORS:
                return None
            operators.append(_OPERATORS[token])
    return (numbers, operators) if operators else None


def _is_number(token: str) -> bool:
    return token[0].isdigit() or token in _SMALL or token in _TENS or token in _SCALES


def _number(words: list[str]) -> Fraction | None:
    if not words or words[-1] == "and":
        return None
    if words[0][0].isdigit():
        scale = _SCALES.get(words[1], 0) if len(words) == 2 else 1
        return Fraction(words[0][:15]) * scale if len(words) <= 2 and scale else None
    total = part = 0
    for word in words:
        if word in _SMALL or word in _TENS:
            part += _SMALL.get(word, _TENS.get(word, 0))
        elif word == "hundred":
            part = max(1, part) * 100
        elif word in _SCALES:
            total, part = total + max(1, part) * _SCALES[word], 0
        elif word != "and":
            return None
    return Fraction(total + part)


def _evaluate(numbers: list[Fraction], operators: list[str]) -> Fraction:
    for group in ("*/", "+-"):
        index = 0
        while index < len(operators):
            if operators[index] not in group:
                index += 1
                continue
            left, right = numbers[index], numbers.pop(index + 1)
            numbers[index] = _apply(operators.pop(index), left, right)
    return numbers[0]


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


def _say(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator) if value >= 0 else f"minus {-value.numerator}"
    rounded = f"{abs(float(value)):.3f}".rstrip("0").rstrip(".")
    text = rounded if abs(value - Fraction(f"{float(value):.3f}")) == 0 else f"about {rounded}"
    return text if value > 0 else f"minus {text}"
