"""Tokens we mint are what a server expects."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest

from agent.realtime import IceServer, mint_token, parse_ice_servers

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
        ({"channels": ["é" * 129]}, "bytes"),
        ({"channels": ["_Internal/x"]}, "must not begin with"),
        ({"permissions": ["send"] * 17}, "permissions"),
        ({"permissions": ["dance"]}, "permissions"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 86_401}, "expires_in_s"),
        ({"metadata": {"x": "x" * 8192}}, "metadata"),
        ({"peer_metadata": {"x": "x" * 4096}}, "peerMetadata"),
        ({"peer_metadata": {"x": float("nan")}}, "JSON"),
        ({"peer_metadata": {"x": json.loads("[" * 200 + "]" * 200)}}, "nested"),
        ({"metadata": {"iceServers": []}, "ice_servers": []}, "not both"),
        ({"ice_servers": [IceServer(("http://x",))]}, "stun:"),
    ],
)
def test_what_a_server_would_refuse_is_refused_here(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mint_token("k", SECRET, **(GOOD | change))


def test_ice_servers_go_where_the_holder_looks_for_them() -> None:
    servers = [IceServer(("stun:s",)), IceServer(("turn:a", "turn:b"), "u", "c")]
    token, _ = mint_token("k", SECRET, **GOOD, metadata={"a": 1}, ice_servers=servers)
    metadata = jwt.decode(token, SECRET, algorithms=["HS256"])["metadata"]
    assert metadata["a"] == 1
    assert parse_ice_servers(metadata["iceServers"]) == tuple(servers)


@pytest.mark.parametrize(
    ("key_id", "secret"), [(SECRET, "sk_id_1"), ("", SECRET), ("k", ""), ("k", "sk_id_1")]
)
def test_a_pair_the_wrong_way_round_is_refused_without_showing_it(key_id: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"of (a secret|the) pair") as caught:
        mint_token(key_id, secret, **GOOD)
    assert SECRET not in str(caught.value)


def test_no_permissions_is_a_choice() -> None:
    claims = jwt.decode(mint_token("k", SECRET, **GOOD, permissions=[])[0], SECRET, algorithms=["HS256"])
    assert claims["permissions"] == []
