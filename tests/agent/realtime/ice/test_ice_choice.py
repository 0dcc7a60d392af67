"""Which servers are asked, and in which order."""

from __future__ import annotations

import pytest

from agent.realtime import IceServer
from agent.realtime.ice.choice import Choice, StunServer, TurnServer, choose


def test_without_servers_nobody_is_asked():
    assert not choose([], 0)
    assert choose([], 0) == Choice()


def test_urls_of_other_kinds_are_passed_over():
    servers = [
        IceServer(("stun:a?transport=udp", "stuns:a", "STUN:b:3478")),
        IceServer(("turn:c",)),
        IceServer(("turns:d?transport=udp", "turn:e?transport=sctp", "turn:f:99:9"), "user", "secret"),
    ]
    assert choose(servers, 0) == Choice((StunServer("b", 3478),))


def test_relays_are_asked_over_udp_then_tcp_then_tls_and_each_attempt_begins_with_the_next():
    servers = [
        IceServer(("stun:s:80", "stun:s")),
        IceServer(("turns:t:443?transport=tcp", "turn:t:80?transport=tcp"), "user", "secret"),
        IceServer(("turn:t:80", "turn:t:80"), "user", "secret"),
    ]
    assert choose(servers, 0).stun == (StunServer("s", 80), StunServer("s", 3478))
    ways = [[relay.way for relay in choose(servers, attempt).turn] for attempt in range(4)]
    # An address named twice is asked once, yet it counts when the next attempt begins further on.
    assert ways[0] == ["udp", "tcp", "tls"]
    assert ways[2] == ["tcp", "tls", "udp"]
    assert ways[3] == ["tls", "udp", "tcp"]


@pytest.mark.parametrize(
    ("url", "host", "port", "way"),
    [
        ("turn:[2001:db8::1]:3479", "2001:db8::1", 3479, "udp"),
        ("TURN:host", "host", 3478, "udp"),
        ("turn:1.2.3.4:80?transport=TCP", "1.2.3.4", 80, "tcp"),
        ("turns:host", "host", 5349, "tls"),
    ],
)
def test_addresses_of_all_kinds(url: str, host: str, port: int, way: str):
    (relay,) = choose([IceServer((url,), "user", "secret")], 0).turn
    assert relay == TurnServer(host, port, way, "user", "secret")
    assert "secret" not in repr(relay)
