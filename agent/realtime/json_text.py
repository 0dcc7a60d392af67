"""JSON as it may be in a frame or a token: finite numbers, bounded nesting, writable as UTF-8. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

#: Any JSON value.
Json: TypeAlias = Any
JsonObject: TypeAlias = Mapping[str, Any]

#: Arrays and objects inside one another in one frame. Without a bound of our own, how deep is too deep
#: depends on how much stack is left, and differs between reading a frame and writing it on.
MAX_NESTING = 64
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def dump_json(body: Json) -> str:
    """Compact JSON that can be written as UTF-8. Raises `ValueError` and `TypeError` like `encode`."""
    try:
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError(f"data may be nested at most {MAX_NESTING} deep") from None
    if text.isascii():
        return text
    # Half a surrogate pair is legal in a JSON escape and impossible in UTF-8: keep it as the escape it was.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def json_bytes(value: Any) -> int:
    """The size of `value` as compact JSON in UTF-8."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return len(text.encode(errors="surrogatepass"))


def load_json(text: str) -> Json:
    """Read plain JSON: no NaN, no infinities, nested at most `MAX_NESTING` deep. Raises `ValueError`."""
    try:
        body = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_NESTING} deep") from None
    # Counting brackets is quick and settles nearly every text.
    if text.count("[") + text.count("{") > MAX_NESTING and not is_shallow(body):
        raise ValueError(f"nested more than {MAX_NESTING} deep")
    return body


def is_shallow(value: Json) -> bool:
    """Whether `value` is nested at most `MAX_NESTING` deep."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return True
    return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
