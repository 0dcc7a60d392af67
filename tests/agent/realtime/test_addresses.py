"""Which addresses are this machine's."""

from __future__ import annotations

import socket

import pytest

from agent.realtime.addresses import is_still_ours


def test_the_address_of_a_connection_is_ours():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert is_still_ours(server.getsockname())


@pytest.mark.parametrize("gone", [("192.0.2.1", 50_000), ("2001:db8::1", 50_000, 0, 0)])
def test_an_address_of_nobody_is_not(gone: tuple[object, ...]):
    assert not is_still_ours(gone)


@pytest.mark.parametrize("unclear", [None, "", "/run/socket", ("",)])
def test_what_cannot_be_told_is_no_loss(unclear: object):
    assert is_still_ours(unclear)
