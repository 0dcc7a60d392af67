"""Markdown, HTML, emoji and addresses."""

from __future__ import annotations

import re

from pipelines.speakable.language import Language

_TABLE_RULE = re.compile(r"(?m)^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$")
_TABLE_ROW = re.compile(r"(?m)^\s*\|(.+?)\|?\s*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_MARKUP = re.compile(
    r"(?m)^\s{0,3}(?:#{1,6}\s+|(?:>\s?)+|(?:[-*+•]\s+(?:\[[ xX]\]\s+)?))|[*`]+|~~+|(?<!\w)_+|_+(?!\w)"
)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d\u20e3]+")
_EMOTICON = re.compile(r"(?<!\S)[:;8]['’]?-?[)(DPp|/]+(?!\w)")
_EMAIL = re.compile(r"\b([\w.+-]+)@((?:[\w-]+\.)+[a-zA-Z]{2,})\b")
_URL = re.compile(r"\bhttps?://(?:www\.)?([^\s/?#)]+)[^\s)]*?(?=[.,;:!?]*(?:[\s)]|$))")
_DOMAIN = re.compile(
    r"\b(?:www\.)?((?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|ai|app|dev|info|eu|uk|de|at|ch|fr|es|it|nl|us))"
    r"\b(?:/[^\s,;!?)]*[^\s.,;!?)])?"
)


def without_markup(text: str, language: Language | None) -> str:
    text = _TABLE_RULE.sub("", text)
    text = _TABLE_ROW.sub(lambda m: ", ".join(c.strip() for c in m[1].split("|") if c.strip()) + ".", text)
    text = _LINK.sub(r"\1", text)
    text = _EMAIL.sub(lambda m: _spelled(m.group(), language), text)
    text = _URL.sub(lambda m: _spelled(m[1], language), text)
    text = _DOMAIN.sub(lambda m: _spelled(m[1], language), text)
    text = _MARKUP.sub("", _TAG.sub(" ", text))
    return _EMOTICON.sub("", _EMOJI.sub(" ", text))


def _spelled(address: str, language: Language | None) -> str:
    """An address with its marks as words; a path or query is nothing that anybody could remember."""
    if language is None:
        return address
    for mark, word in language.address_marks.items():
        address = address.replace(mark, f" {word} ")
    return address
