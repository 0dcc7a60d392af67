"""Channel names, peer ids, request ids and channel patterns. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_CHANNEL_CHARS = 256
MAX_PEER_ID_CHARS = 128
MAX_REQUEST_ID_CHARS = 128
#: Compared without regard to case, as the vendor's clients do.
RESERVED_PREFIXES = ("_metered/", "_internal/", "_system/")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: JSON can carry half a surrogate pair; UTF-8 cannot, and a name that cannot be sent is no name.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _is_name(text: str, max_chars: int) -> bool:
    return 1 <= len(text) <= max_chars and not _CONTROL.search(text) and not _SURROGATE.search(text)


def is_channel(name: str) -> bool:
    """Whether `name` may be a channel: 1–256 characters, no control characters."""
    return _is_name(name, MAX_CHANNEL_CHARS)


def is_sendable_channel(name: str) -> bool:
    """The stricter rule for what goes out: at most 256 bytes of UTF-8 besides."""
    return is_channel(name) and len(name.encode()) <= MAX_CHANNEL_CHARS


def is_peer_id(peer_id: str) -> bool:
    """Whether `peer_id` may name a peer: 1–128 characters, no control characters."""
    return _is_name(peer_id, MAX_PEER_ID_CHARS)


def is_minted_peer_id(peer_id: str) -> bool:
    """The stricter rule for ids given out in tokens: printable ASCII besides."""
    return is_peer_id(peer_id) and peer_id.isascii()


def is_request_id(request_id: str) -> bool:
    return 1 <= len(request_id) <= MAX_REQUEST_ID_CHARS and not _SURROGATE.search(request_id)


def is_reserved(channel: str) -> bool:
    """Whether `channel` begins with a prefix that belongs to the service."""
    return channel.lower().startswith(RESERVED_PREFIXES)


def check_not_reserved(channel: str) -> None:
    """Raises `ValueError` for the service's own channels, however they are written."""
    if is_reserved(channel):
        raise ValueError("channel names beginning with _metered/, _internal/ or _system/ are reserved")


class ChannelPattern:
    r"""A compiled pattern: ``*`` matches any run without ``/``, ``**`` any run, ``\*`` and ``\\`` the
    character itself, anything else itself.

    Runs as a bit-parallel automaton (one bit per pattern position), so the time to match is linear in the
    channel's length whatever the pattern: patterns come from strangers, and a backtracking matcher can be
    made to run for hours with a few dozen stars.
    """

    __slots__ = ("_accept", "_any", "_literals", "_segment", "is_wildcard")

    def __init__(self, pattern: str) -> None:
        self._literals: dict[str, int] = {}
        self._segment = 0
        self._any = 0
        position = 0
        for token in _tokens(pattern):
            bit = 1 << position
            if token == "*":
                self._segment |= bit
            elif token == "**":
                self._any |= bit
            else:
                self._literals[token[-1]] = self._literals.get(token[-1], 0) | bit
            position += 1
        self._accept = 1 << position
        #: Whether the pattern has an unescaped star.
        self.is_wildcard = bool(self._segment | self._any)

    def matches(self, channel: str) -> bool:
        stars = self._segment | self._any
        states = 1
        states |= (states & stars) << 1
        for char in channel:
            stay = states & (self._any if char == "/" else stars)
            states = stay | (states & self._literals.get(char, 0)) << 1
            states |= (states & stars) << 1
            if not states:
                return False
        return bool(states & self._accept)


def _tokens(pattern: str) -> list[str]:
    """Split into stars and literals; neighbouring stars are merged, so that none follows another."""
    tokens: list[str] = []
    for token in re.findall(r"\\[*\\]|\*\*|.", pattern, re.DOTALL):
        if token in {"*", "**"} and tokens and tokens[-1] in {"*", "**"}:
            tokens[-1] = "**" if "**" in {token, tokens[-1]} else "*"
        else:
            tokens.append(token)
    return tokens


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> ChannelPattern:
    return ChannelPattern(pattern)


def matches(pattern: str, channel: str) -> bool:
    """Whether the concrete `channel` is one of those `pattern` stands for; case-sensitive."""
    return compile_pattern(pattern).matches(channel)


def is_wildcard(name: str) -> bool:
    """Whether `name` holds an unescaped ``*`` and so stands for many channels."""
    return compile_pattern(name).is_wildcard


def fixed_ends(pattern: str) -> tuple[str, str]:
    """What every channel that `pattern` matches begins and ends with: the text round its stars."""
    tokens = _tokens(pattern)
    stars = [position for position, token in enumerate(tokens) if token in {"*", "**"}]
    if not stars:
        stars = [len(tokens)]
    ends = tokens[: stars[0]], tokens[stars[-1] + 1 :]
    before, after = ("".join(token[-1] for token in end) for end in ends)
    return before, after


def covers(pattern: str, wildcard: str) -> bool:
    """Whether everything `wildcard` matches is surely allowed by `pattern`.

    Sufficient, not necessary: textual equality, or a pattern that allows everything.
    """
    return pattern in {wildcard, "**"}
