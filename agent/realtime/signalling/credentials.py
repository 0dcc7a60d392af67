"""What a client shows the server at each connection attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from prometheus_client import Counter

from agent.realtime.errors import TokenProviderError

#: Called for each connection attempt; its token is used once.
TokenProvider: TypeAlias = Callable[[], Awaitable[str]]

#: Gives the name of the query parameter, ``key`` or ``token``, and its value. A closure and no object with
#: attributes, so that no dump of a client shows what is secret.
CredentialSource: TypeAlias = Callable[[], Awaitable[tuple[str, str]]]

TOKEN_FAILURES = Counter("voice_agent_signalling_token_failures", "Times the token provider gave no token.")


def credential_source(
    key: str | None, token_provider: TokenProvider | None, timeout_s: float
) -> CredentialSource:
    """Exactly one of `key` and `token_provider`; raises `ValueError` otherwise.

    The source raises `TokenProviderError`, whose text never holds a token.
    """
    if key and token_provider is None:
        return _key_source(key)
    if token_provider is not None and not key:
        return _token_source(token_provider, timeout_s)
    raise ValueError("give exactly one of key and token_provider")


def _key_source(key: str) -> CredentialSource:
    async def source() -> tuple[str, str]:
        return "key", key

    return source


def _token_source(provider: TokenProvider, timeout_s: float) -> CredentialSource:
    async def source() -> tuple[str, str]:
        try:
            return "token", await _token(provider, timeout_s)
        except TokenProviderError:
            TOKEN_FAILURES.inc()
            raise

    return source


async def _token(provider: TokenProvider, timeout_s: float) -> str:
    try:
        async with asyncio.timeout(timeout_s):
            token = await provider()
    except TimeoutError:
        raise TokenProviderError(f"the token provider took longer than {timeout_s:g} s") from None
    except Exception as error:
        # The provider is the application's; whatever it raises counts as one failed attempt. Its text
        # may hold a credential, its kind does not.
        raise TokenProviderError(f"the token provider failed with {type(error).__name__}") from None
    # A token is sent in the address; what HTTP cannot carry is none.
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise TokenProviderError("the token provider returned no token")
    return token
