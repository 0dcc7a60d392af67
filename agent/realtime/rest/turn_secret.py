"""Time-limited TURN credentials from a secret that the relay and we share."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable

from agent.realtime.ice_servers import MAX_URL_CHARS, IceServer, is_turn_url

MAX_NAME_CHARS = 128


def shared_secret_credential(
    secret: str, urls: Iterable[str], *, name: str, ttl_s: int, now: float | None = None
) -> IceServer:
    """A credential for the relays at `urls` that ends by itself `ttl_s` seconds from `now` (Unix seconds).

    The user name is ``<expiry>:<name>`` and the password the base64 of its HMAC-SHA1 under `secret`: the
    scheme of draft-uberti-behave-turn-rest-00, section 2.2, which coturn calls ``use-auth-secret``. The relay
    keeps no list of users; whoever knows the secret can make credentials. `name` appears in the relay's logs,
    so that usage can be told apart.

    Raises `ValueError` for an empty secret or name, and for what is not a ``turn:`` or ``turns:`` address.
    """
    urls = tuple(urls)
    if not secret:
        raise ValueError("secret must not be empty")
    if not urls or not all(map(is_turn_url, urls)):
        raise ValueError(
            f"urls must be turn: or turns: addresses of at most {MAX_URL_CHARS} characters, "
            "like turn:turn.example.com:3478?transport=udp"
        )
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isascii() or not name.isprintable():
        raise ValueError(f"name must be 1-{MAX_NAME_CHARS} printable ASCII characters")
    if ttl_s < 1:
        raise ValueError("ttl_s must be at least 1")
    expires_at = int(time.time() if now is None else now) + ttl_s
    username = f"{expires_at}:{name}"
    digest = hmac.digest(secret.encode(), username.encode(), hashlib.sha1)
    return IceServer(urls, username, base64.b64encode(digest).decode())
