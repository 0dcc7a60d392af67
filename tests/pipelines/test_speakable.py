from __future__ import annotations

import pytest

from pipelines.speakable import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello, world.", "Hello, world."),
        ("**Bold** and _soft_ and `code`", "Bold and soft and code"),
        ("# Title", "Title"),
        ("- item", "item"),
        ("snake_case stays", "snake_case stays"),
        ("[the docs](https://example.com/a?b=c)", "the docs"),
        ("go to https://www.example.com/path?q=1 now", "go to example.com now"),
        ("Great \U0001f600!", "Great !"),
        ("\U0001f44d", ""),
        ("---", ""),
        ("", ""),
    ],
)
def test_speakable(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
