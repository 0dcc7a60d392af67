"""Takes out of a clause what is written for the eye: markup, emoji, addresses."""

from __future__ import annotations

import re

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"https?://(?:www\.)?([^\s/?#)]+)\S*")
_MARKUP = re.compile(r"(?m)^\s{0,3}(?:#{1,6}\s+|>\s?|[-*+]\s+|```\w*)|[*`~]+|(?<!\w)_+|_+(?!\w)")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d\u20e3]+")
_SPACE = re.compile(r"\s+")
_SAYABLE = re.compile(r"\w")


def speakable(text: str) -> str:
    """`text` as it should be read out; empty when there is nothing to say."""
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(r"\1", text)
    text = _EMOJI.sub(" ", _MARKUP.sub("", text))
    text = _SPACE.sub(" ", text).strip()
    return text if _SAYABLE.search(text) else ""
