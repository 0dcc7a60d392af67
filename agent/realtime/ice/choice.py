"""Which of the given ICE servers a connection asks, and in which order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agent.realtime.ice_servers import IceServer

_HOST = r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:?\[\]]+)(:(?P<port>\d{1,5}))?"
_STUN = re.compile(rf"stun:{_HOST}", re.IGNORECASE)
_TURN = re.compile(rf"turn:{_HOST}(\?transport=(?P<transport>udp|tcp))?", re.IGNORECASE)
_TURNS = re.compile(rf"turns:{_HOST}(\?transport=tcp)?", re.IGNORECASE)
_PORT = 3478
_TLS_PORT = 5349

Way: TypeAlias = Literal["udp", "tcp", "tls"]
_WAYS: tuple[Way, ...] = ("udp", "tcp", "tls")


@dataclass(frozen=True, slots=True)
class StunServer:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TurnServer:
    host: str
    port: int
    way: Way
    username: str = field(repr=False)
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to ask, the most promising first. Empty: nobody is asked, and no public server either."""

    stun: tuple[StunServer, ...] = ()
    turn: tuple[TurnServer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stun or self.turn)


def choose(servers: Iterable[IceServer], attempt: int) -> Choice:
    """The servers for the `attempt`-th connection (from 0) to one peer.

    Relays are asked over UDP first, then TCP, then TLS; each attempt begins with the next one, so that one
    which allocates and does not carry is got round. URLs of other kinds are passed over.
    """
    stun: list[StunServer] = []
    turn: list[TurnServer] = []
    for server in servers:
        for url in server.urls:
            if match := _STUN.fullmatch(url):
                stun.append(StunServer(*_address(match, _PORT)))
            elif server.username is not None and server.credential is not None:
                turn += _turn(url, server.username, server.credential)
    turn.sort(key=lambda relay: _WAYS.index(relay.way))
    first = attempt % len(turn) if turn else 0
    return Choice(tuple(dict.fromkeys(stun)), tuple(dict.fromkeys(turn[first:] + turn[:first])))


def _turn(url: str, username: str, credential: str) -> Iterable[TurnServer]:
    if match := _TURN.fullmatch(url):
        way: Way = "tcp" if (match["transport"] or "").lower() == "tcp" else "udp"
        yield TurnServer(*_address(match, _PORT), way, username, credential)
    elif match := _TURNS.fullmatch(url):
        yield TurnServer(*_address(match, _TLS_PORT), "tls", username, credential)


def _address(match: re.Match[str], port: int) -> tuple[str, int]:
    return match["host"].strip("[]"), int(match["port"] or port)
