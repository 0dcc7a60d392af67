"""Tokens we mint are what a server expects."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from agent.realtime.tokens import mint_token

SECRET = "sk_secret_" + "x" * 32
GOOD: dict[str, Any] = {"peer_id": "~agent", "channels": ["room"]}


def test_claims_and_header() -> None:
    before = int(time.time())
    token, expires_at = mint_token(
        "sk_id_1",
        SECRET,
        peer_id="~agent",
        channels=["room"],
        permissions=["subscribe", "send"],
        expires_in_s=60,
        metadata={"iceServers": []},
        peer_metadata={"name": "Ä"},
    )
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "sk_id_1"}
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims.pop("iat") >= before
    assert claims.pop("exp") == expires_at >= before + 60
    assert claims == {
        "sub": "~agent",
        "channels": ["room"],
        "permissions": ["subscribe", "send"],
        "metadata": {"iceServers": []},
        "peerMetadata": {"name": "Ä"},
    }


def test_metadata_is_left_out_when_there_is_none() -> None:
    claims = jwt.decode(mint_token("k", SECRET, **GOOD)[0], SECRET, algorithms=["HS256"])
    assert not {"metadata", "peerMetadata"} & set(claims)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"peer_id": ""}, "peer_id"),
        ({"peer_id": "é"}, "peer_id"),
        ({"peer_id": "x" * 129}, "peer_id"),
        ({"channels": []}, "channels"),
        ({"channels": ["c"] * 101}, "channels"),
        ({"channels": ["a\n"]}, "channels"),
        ({"permissions": ["dance"]}, "permissions"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 86_401}, "expires_in_s"),
        ({"metadata": {"x": "x" * 8192}}, "metadata"),
        ({"peer_metadata": {"x": "x" * 4096}}, "peerMetadata"),
        ({"peer_metadata": {"x": float("nan")}}, "JSON"),
    ],
)
def test_what_a_server_would_refuse_is_refused_here(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mint_token("k", SECRET, **(GOOD | change))


def test_no_permissions_is_a_choice() -> None:
    claims = jwt.decode(mint_token("k", SECRET, **GOOD, permissions=[])[0], SECRET, algorithms=["HS256"])
    assert claims["permissions"] == []
