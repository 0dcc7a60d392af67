"""ICE servers as the welcome carries them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SERVERS = 16
MAX_URL_CHARS = 512
MAX_SECRET_CHARS = 1024
_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")
#: RFC 7065, without its escapes; the user part that it forbids is where people put passwords by mistake.
_RELAY = re.compile(
    r"turns?:(\[[0-9a-f:.]+\]|[^\s:?@/\[\]]+)(:\d{1,5})?(\?transport=(udp|tcp))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """One entry of `iceServers`; the credential stays out of `repr`."""

    urls: tuple[str, ...]
    username: str | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"urls": self.urls[0] if len(self.urls) == 1 else list(self.urls)}
        if self.username is not None:
            body["username"] = self.username
        if self.credential is not None:
            body["credential"] = self.credential
        return body


def parse_ice_servers(value: Any) -> tuple[IceServer, ...] | None:
    """The servers in `value`, or None if anything about it is wrong.

    One bad entry discards the whole list: half a list is a connection that fails only for some callers.
    A username or credential that is not a string is dropped from its entry, one that is too long is wrong.
    """
    if not isinstance(value, list) or len(value) > MAX_SERVERS:
        return None
    servers = [_parse_server(entry) for entry in value]
    return None if None in servers else tuple(server for server in servers if server is not None)


def _parse_server(entry: Any) -> IceServer | None:
    if not isinstance(entry, Mapping):
        return None
    urls = entry.get("urls")
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, list) or not urls or not all(_is_url(url) for url in urls):
        return None
    secrets: dict[str, str | None] = {}
    for name in ("username", "credential"):
        secret = entry.get(name)
        if isinstance(secret, str) and len(secret) > MAX_SECRET_CHARS:
            return None
        secrets[name] = secret if isinstance(secret, str) else None
    return IceServer(tuple(urls), **secrets)


def _is_url(url: Any) -> bool:
    return isinstance(url, str) and len(url) <= MAX_URL_CHARS and url.lower().startswith(_SCHEMES)


def is_turn_url(url: str) -> bool:
    """Whether `url` is the address of a relay, one that needs a credential."""
    return len(url) <= MAX_URL_CHARS and _RELAY.fullmatch(url) is not None
