"""Time-limited TURN credentials, against a real coturn."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import replace
from typing import Any

import pytest
from aioice import stun, turn
from turn_server import TurnServer, trusting, turn_server

from agent.realtime import IceServer, shared_secret_credential

URL = "turn:turn.example.com:3478"


class Closed(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


async def allocate(
    server: TurnServer, ice: IceServer, transport: str = "udp", tls: ssl.SSLContext | None = None
) -> tuple[str, int]:
    """Have the server relay for us, and give it back."""
    relay, protocol = await turn.create_turn_endpoint(
        Closed, (server.host, server.port), ice.username, ice.credential, ssl=tls, transport=transport
    )
    address = relay.get_extra_info("sockname")
    relay.close()
    await protocol.closed.wait()
    return address


def test_the_credential_is_that_of_the_draft() -> None:
    ice = shared_secret_credential("north", [URL], name="caller-1", ttl_s=3600, now=1_700_000_000.9)
    # printf 1700003600:caller-1 | openssl dgst -sha1 -hmac north -binary | base64
    assert ice == IceServer((URL,), "1700003600:caller-1", "MWqAGcRCl114rjREt2BM3YBQepA=")
    assert "caller-1" not in repr(ice)


async def test_coturn_relays_over_udp_tcp_and_tls_until_the_credential_ends() -> None:
    async with turn_server(with_secret=True) as server:
        secret = server.auth_secret or ""

        def credential(**change: Any) -> IceServer:
            given: dict[str, Any] = {"name": "~agent-1", "ttl_s": 60}
            return shared_secret_credential(secret, [server.udp], **given | change)

        good = credential()
        for transport, tls in (("udp", None), ("tcp", None), ("tcp", trusting(server))):
            host, _ = await allocate(server, good, transport, tls)
            assert host == server.host
        assert good.username is not None
        later = replace(good, username=f"{int(time.time()) + 9999}:~agent-1")
        expired = credential(now=time.time() - 3600)
        stranger = shared_secret_credential("another", [server.udp], name="~agent-1", ttl_s=60)
        for bad in (later, expired, stranger):
            with pytest.raises(stun.TransactionFailed) as caught:
                await allocate(server, bad)
            assert caught.value.response.error_code == 401


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"secret": ""}, "secret must not be empty"),
        ({"urls": []}, "turn: or turns:"),
        ({"urls": ["stun:host"]}, "turn: or turns:"),
        ({"urls": ["turn:user:word@host"]}, "turn: or turns:"),
        ({"urls": ["turn:" + "h" * 600]}, "512 characters"),
        ({"urls": ["turn:host?transport=sctp"]}, "turn: or turns:"),
        ({"name": ""}, "name"),
        ({"name": "ä"}, "name"),
        ({"ttl_s": 0}, "ttl_s"),
    ],
)
def test_what_no_relay_would_take_is_refused(change: dict[str, Any], complaint: str) -> None:
    given: dict[str, Any] = {"secret": "sesame", "urls": [URL], "name": "n", "ttl_s": 60} | change
    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        shared_secret_credential(given.pop("secret"), given.pop("urls"), **given)
    assert "sesame" not in str(caught.value)
    assert "word" not in str(caught.value)
