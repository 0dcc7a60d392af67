"""Forged credentials at a public address: none gets in, and the log stays quiet."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from typing import Any

import jwt
import pytest

from agent.realtime.tokens import mint_token
from tests.agent.hub.garbage import (
    socket_to,
    upgrade_request,
)
from tests.agent.hub.hub_parts import a_pair_that_notices_nothing, client
from tests.conftest import RunningHub


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING)
    yield
    # Of the test itself; `caplog.records` would be those of this fixture's end.
    assert [record.getMessage() for record in caplog.get_records("call")] == []


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(hub: RunningHub, header: bytes, claims: bytes) -> str:
    """A token with a right signature, whatever is in it."""
    text = f"{b64(header)}.{b64(claims)}"
    return f"{text}.{b64(hmac.digest(hub.secret.encode(), text.encode(), hashlib.sha256))}"


def forged_tokens(hub: RunningHub) -> list[str]:
    now = int(time.time())
    good_header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": hub.key_id}).encode()
    good_claims = json.dumps({"sub": "eve", "exp": now + 60}).encode()
    good = mint_token(hub.key_id, hub.secret, peer_id="eve", channels=["room"])[0]
    head, claims, signature = good.split(".")
    headers: list[Any] = [
        {"alg": alg, "kid": hub.key_id}
        for alg in ("none", "None", "HS512", "RS256", "ES256", "EdDSA", "", None, 5, ["HS256"], {"a": 1})
    ]
    headers += [{"alg": "HS256", "kid": kid} for kid in (None, 5, [], {}, "", "x" * 4000, "\ud800", "../key")]
    headers += [
        {"alg": "HS256", "kid": hub.key_id, "crit": ["exp"], "b64": False},
        {"kid": hub.key_id},
        [],
        "HS256",
        None,
        5,
    ]
    bodies: list[Any] = [
        {"sub": sub, "exp": now + 60} for sub in (None, 5, "", "é", "x" * 129, "\x00", [], {}, True)
    ]
    bodies += [{"sub": "eve", "exp": exp} for exp in (None, "x", str(now + 60), [], True, now - 1, 0, -1e300)]
    bodies += [
        {"sub": "eve", "exp": now + 60, name: value}
        for name in ("channels", "permissions")
        for value in ("room", 5, {}, [5], [None], ["x"] * 101)
    ]
    bodies += [
        {"sub": "eve", "exp": now + 60, name: value}
        for name in ("metadata", "peerMetadata")
        for value in ("x", 5, [], True)
    ]
    bodies += [[], "x", None, 5, {}]
    raw = [b"", b"{", b"\xff\xfe", b"[" * 3000, b'{"a":' * 1000, b'{"sub":NaN}', b"9" * 5000]
    raw += [
        b'{"sub":"eve","exp":1e999}',
        b'{"sub":"eve","exp":NaN}',
        b'{"sub":"eve","exp":' + b"9" * 400 + b"}",
    ]
    return [
        *(signed(hub, json.dumps(header).encode(), good_claims) for header in headers),
        *(signed(hub, good_header, json.dumps(body).encode()) for body in bodies),
        *(signed(hub, good_header, body) for body in raw),
        *(signed(hub, header, good_claims) for header in raw),
        jwt.encode(
            {"sub": "eve", "exp": now + 60},
            "e" * 32,
            headers={"kid": hub.key_id, "jwk": {"kty": "oct", "k": b64(b"e" * 32)}, "x": "y" * 6000},
        ),
        f"{head}.{claims}.",
        f"{head}.{claims}",
        f"{head}..{signature}",
        f".{claims}.{signature}",
        f"{head}.{claims}.{signature}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{b64(good_claims)}.{signature}",
        f"{head}.{claims}.!!!!",
        "....",
        "%00.%00.%00",
        "%F0%9F%98%80",
        "x" * 7000,
    ]


async def test_no_forged_token_gets_in(hub: RunningHub) -> None:
    forged = forged_tokens(hub)
    assert len(forged) > 90
    async with a_pair_that_notices_nothing(hub):
        for token in forged:
            async with socket_to(hub) as socket:
                socket.writer.write(upgrade_request(hub, f"token={token}"))
                head = await socket.reader.readuntil(b"\r\n\r\n")
                status = int(head.split()[1])
                assert status in {101, 401}, (token[:200], head)
                if status == 401:
                    assert b"invalid_token" in await socket.reader.read()
                else:
                    assert await socket.close_code() in {4001, 4002}, token[:200]


async def test_a_token_as_large_as_the_rules_allow_gets_in(hub: RunningHub) -> None:
    token, _ = mint_token(
        hub.key_id,
        hub.secret,
        peer_id="a" * 128,
        channels=["room"],
        metadata={"x": "x" * 8000},
        peer_metadata={"x": "x" * 4000},
    )
    async with client(hub, f"token={token}") as one:
        assert len((await one.read())["metadata"]["x"]) == 8000
