"""Who is let in, and with which rights."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.hub.auth import Admission, CloseRefusedError, HttpRefusedError, admit
from agent.hub.keys import ALL_ACTIONS, DEFAULT_ACTIONS, KeyRing, PublishableKey, SecretKey
from agent.realtime.codes import Action
from agent.realtime.tokens import mint_token

NOW = 1_700_000_000.0
SECRET = "sk_secret_" + "s" * 64
KEYS = KeyRing(
    [
        PublishableKey("pk_live_abc+/="),
        PublishableKey("pk_web", ("app/**",), ALL_ACTIONS, frozenset({"https://good.example"})),
    ],
    [SecretKey("sk_id_1", SECRET, ("app/**",)), SecretKey("sk_id_quiet", SECRET, actions=DEFAULT_ACTIONS)],
)


def token(change: dict[str, Any] | None = None, *, secret: str = SECRET, **header: Any) -> str:
    claims = {"sub": "alice", "exp": NOW + 60} | (change or {})
    claims = {name: value for name, value in claims.items() if value is not ...}
    header = {"kid": "sk_id_1"} | header
    return jwt.encode(claims, secret, headers={k: v for k, v in header.items() if v is not None})


def admit_token(text: str) -> Admission:
    return admit(f"token={text}", None, KEYS, now=NOW)


# ---- publishable keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["key=pk_live_abc%2B%2F%3D", "x=1&key=pk_live_abc+/=", "key=pk_live_abc%2b/="]
)
def test_a_key_is_read_percent_decoded(query: str) -> None:
    admission = admit(query, None, KEYS, now=NOW)
    assert admission.expires_at is None
    assert admission.metadata is None
    assert admission.grant.actions == DEFAULT_ACTIONS
    assert admission.grant.peer_metadata is None
    assert admission.grant.allows("any/thing")


def test_each_connect_with_a_key_gets_another_peer_id() -> None:
    ids = {admit("key=pk_web", None, KEYS, now=NOW).grant.peer_id for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("origin", [None, "https://good.example"])
def test_origins_let_in(origin: str | None) -> None:
    assert admit("key=pk_web", origin, KEYS, now=NOW).grant.actions == ALL_ACTIONS


@pytest.mark.parametrize("origin", ["https://bad.example", "http://good.example", "null", ""])
def test_other_origins_are_refused_before_the_upgrade(origin: str) -> None:
    with pytest.raises(HttpRefusedError) as refused:
        admit("key=pk_web", origin, KEYS, now=NOW)
    assert (refused.value.status, refused.value.code) == (401, "origin_not_allowed")


def test_an_unknown_key_is_closed_4001() -> None:
    with pytest.raises(CloseRefusedError) as refused:
        admit("key=pk_nope", None, KEYS, now=NOW)
    assert refused.value.code == 4001


@pytest.mark.parametrize("query", ["", "key=", "token=", "key=pk_web&token=x", "other=1"])
def test_exactly_one_credential(query: str) -> None:
    with pytest.raises(HttpRefusedError) as refused:
        admit(query, None, KEYS, now=NOW)
    assert (refused.value.status, refused.value.code) == (401, "invalid_token")


# ---- tokens ---------------------------------------------------------------------------------------------


def test_a_full_token() -> None:
    admission = admit_token(
        token(
            {
                "channels": ["app/room", "app/chat-*"],
                "permissions": ["subscribe", "presence", "fly"],
                "metadata": {"iceServers": []},
                "peerMetadata": {"name": "Alice"},
            }
        )
    )
    assert admission.expires_at == NOW + 60
    assert admission.metadata == {"iceServers": []}
    grant = admission.grant
    assert grant.peer_id == "alice"
    assert grant.peer_metadata == {"name": "Alice"}
    assert grant.actions == {Action.SUBSCRIBE, Action.PRESENCE}
    assert grant.allows("app/room")
    assert grant.allows("app/chat-1")
    assert not grant.allows("app/other")


def test_a_bare_token_has_what_its_key_has() -> None:
    grant = admit_token(token()).grant
    assert grant.actions == ALL_ACTIONS
    assert grant.allows("app/x")
    assert not grant.allows("elsewhere")


def test_a_token_cannot_have_more_than_its_key() -> None:
    wide = token({"channels": ["**"]})
    assert not admit_token(wide).grant.allows("elsewhere")
    asking = token({"permissions": ["send", "publish"]}, kid="sk_id_quiet")
    assert admit_token(asking).grant.actions == {Action.PUBLISH}


def test_what_we_mint_is_let_in() -> None:
    text, expires_at = mint_token(
        "sk_id_1", SECRET, peer_id="~agent", channels=["app/room"], peer_metadata={"role": "agent"}
    )
    admission = admit(f"token={text}", None, KEYS, now=time.time())
    assert admission.grant.peer_id == "~agent"
    assert admission.expires_at == expires_at
    assert admission.grant.peer_metadata == {"role": "agent"}


@pytest.mark.parametrize("text", ["x", "a.b.c", "....", token().split(".")[0], token(kid=None)])
def test_what_cannot_be_read_is_refused_before_the_upgrade(text: str) -> None:
    with pytest.raises(HttpRefusedError) as refused:
        admit_token(text)
    assert (refused.value.status, refused.value.code) == (401, "invalid_token")


UNSIGNED = jwt.encode({"sub": "eve", "exp": NOW + 60}, None, algorithm="none", headers={"kid": "sk_id_1"})


@pytest.mark.parametrize(
    "text",
    [
        token(secret="another" * 8),
        token(kid="sk_id_unknown"),
        UNSIGNED,
        jwt.encode({"sub": "eve", "exp": NOW + 60}, SECRET, algorithm="HS512", headers={"kid": "sk_id_1"}),
        token({"sub": ...}),
        token({"sub": ""}),
        token({"sub": "é"}),
        token({"sub": "x" * 129}),
        token({"sub": "a\n"}),
        token({"exp": ...}),
        token({"exp": True}),
        token({"exp": float("nan")}),
        token({"exp": 10**400}),
        token({"channels": "app/room"}),
        token({"channels": [5]}),
        token({"channels": [""]}),
        token({"channels": ["c"] * 101}),
        token({"permissions": ["send"] * 17}),
        token({"metadata": []}),
        token({"metadata": {"x": "x" * 8192}}),
        token({"peerMetadata": {"x": "x" * 4096}}),
        token({"peerMetadata": {"x": float("inf")}}),
    ],
)
def test_what_can_be_read_and_is_not_valid_is_closed_4001(text: str) -> None:
    with pytest.raises(CloseRefusedError) as refused:
        admit_token(text)
    assert refused.value.code == 4001


@pytest.mark.parametrize("left_s", [0, -1, -1e9])
def test_an_expired_token_is_closed_4002(left_s: float) -> None:
    with pytest.raises(CloseRefusedError) as refused:
        admit_token(token({"exp": NOW + left_s}))
    assert refused.value.code == 4002


def test_an_expired_token_with_a_wrong_signature_is_just_wrong() -> None:
    with pytest.raises(CloseRefusedError) as refused:
        admit_token(token({"exp": NOW - 1}, secret="another" * 8))
    assert refused.value.code == 4001


@given(st.text() | st.text().map(lambda text: "token=" + text) | st.text().map(lambda text: "key=" + text))
def test_nothing_gets_in_by_luck(query: str) -> None:
    with pytest.raises((HttpRefusedError, CloseRefusedError)):
        admit(query, None, KEYS, now=NOW)


def test_secrets_are_not_shown() -> None:
    assert "pk_live" not in repr(PublishableKey("pk_live_x"))
    assert SECRET not in repr(SecretKey("sk_id_1", SECRET))
