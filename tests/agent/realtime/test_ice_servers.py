"""Lists of ICE servers are taken whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from agent.realtime.ice_servers import IceServer, parse_ice_servers

TURN = {"urls": "turn:t.example:80?transport=tcp", "username": "u", "credential": "c"}


def test_good_lists() -> None:
    assert parse_ice_servers([]) == ()
    assert parse_ice_servers([{"urls": ["STUN:a", "stuns:b"]}, TURN]) == (
        IceServer(("STUN:a", "stuns:b")),
        IceServer((TURN["urls"],), "u", "c"),
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "stun:a",
        [5],
        [{}],
        [{"urls": ""}],
        [{"urls": []}],
        [{"urls": [5]}],
        [{"urls": "http://a"}],
        [{"urls": "stun:" + "a" * 508}],
        [TURN | {"username": "u" * 1025}],
        [TURN | {"credential": "c" * 1025}],
        [{"urls": "stun:a"}] * 17,
        [{"urls": "stun:a"}, {"urls": "ftp:b"}],
    ],
)
def test_one_fault_discards_everything(value: Any) -> None:
    assert parse_ice_servers(value) is None


def test_a_username_that_is_no_string_is_dropped_from_its_entry() -> None:
    assert parse_ice_servers([TURN | {"username": 5}]) == (IceServer((TURN["urls"],), None, "c"),)


def test_json_and_back() -> None:
    servers = (IceServer(("stun:a",)), IceServer(("turn:a", "turn:b"), "u", "c"))
    assert parse_ice_servers([server.to_json() for server in servers]) == servers


def test_the_credential_is_not_shown() -> None:
    assert "secret" not in repr(IceServer(("turn:a",), "secret-user", "secret-pass"))
