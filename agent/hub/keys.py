"""The keys a hub accepts."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.realtime.codes import Action

#: What a publishable key allows unless it says otherwise. Without `send` peers see one another but no
#: offer gets through, so a key meant for calls has to name it.
DEFAULT_ACTIONS = frozenset({Action.SUBSCRIBE, Action.PUBLISH, Action.PRESENCE})
ALL_ACTIONS = frozenset(Action)


@dataclass(frozen=True, slots=True)
class PublishableKey:
    """A key that is its own credential: safe to show in a page, gives a random peer id at every connect."""

    key: str = field(repr=False)
    channel_patterns: tuple[str, ...] = ("**",)
    actions: frozenset[Action] = DEFAULT_ACTIONS
    #: Browser origins such as ``https://example.com``, or ``http://localhost:*`` for any port; None allows
    #: any. A client that sends no Origin is no browser and is let in.
    allowed_origins: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A pair of a public id and a secret that signs tokens (HS256 over the secret's UTF-8 bytes)."""

    key_id: str
    secret: str = field(repr=False)
    channel_patterns: tuple[str, ...] = ("**",)
    actions: frozenset[Action] = ALL_ACTIONS
    #: As for a publishable key: where pages that hold this key's tokens may come from.
    allowed_origins: frozenset[str] | None = None


class KeyRing:
    """Looks keys up. A publishable key is found in a time that says nothing about how near a guess was."""

    def __init__(self, publishable: Iterable[PublishableKey], secret: Iterable[SecretKey]) -> None:
        self._publishable = tuple(publishable)
        self._secret = {key.key_id: key for key in secret}
        self._nobody = secrets.token_urlsafe(32)

    def publishable(self, key: str) -> PublishableKey | None:
        found = None
        for candidate in self._publishable:
            if hmac.compare_digest(candidate.key.encode(), key.encode(errors="replace")):
                found = candidate
        return found

    def secret(self, key_id: str) -> SecretKey | None:
        return self._secret.get(key_id)

    def bearer(self, authorization: bytes) -> SecretKey | None:
        """The pair that an ``Authorization: Bearer id:secret`` header proves; None for anything else.

        Takes as long for an unknown id as for a wrong secret.
        """
        scheme, _, credential = authorization.partition(b" ")
        key_id, _, secret = credential.strip().partition(b":")
        key = self._secret.get(key_id.decode(errors="replace"))
        expected = key.secret if key is not None else self._nobody
        matches = hmac.compare_digest(secret, expected.encode())
        return key if matches and scheme.lower() == b"bearer" else None
