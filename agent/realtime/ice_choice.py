"""Which of the given ICE servers an aiortc connection uses: it takes one STUN and one TURN URL, no more."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiortc import RTCConfiguration, RTCIceServer

from agent.realtime.ice import IceServer

_HOST = r"(\[[0-9a-fA-F:]+\]|[^\s:?\[\]]+)(:\d{1,5})?"
_STUN = re.compile(rf"stun:{_HOST}", re.IGNORECASE)
_TURN = re.compile(rf"(turn:{_HOST}(\?transport=(udp|tcp))?|turns:{_HOST}(\?transport=tcp)?)", re.IGNORECASE)


def configuration(servers: Iterable[IceServer], attempt: int) -> RTCConfiguration:
    """The configuration for the `attempt`-th connection (from 0) to one peer.

    Each attempt takes the next TURN URL, so that a blocked port or protocol is got round. URLs aiortc cannot
    use are passed over. Without servers the list is empty, not absent: aiortc would ask a public server.
    """
    stun: list[RTCIceServer] = []
    turn: list[RTCIceServer] = []
    for server in servers:
        for url in server.urls:
            if _STUN.fullmatch(url):
                stun.append(RTCIceServer(_lower_scheme(url)))
            elif _TURN.fullmatch(url) and server.username is not None and server.credential is not None:
                turn.append(RTCIceServer(_lower_scheme(url), server.username, server.credential))
    chosen = stun[:1] + ([turn[attempt % len(turn)]] if turn else [])
    return RTCConfiguration(iceServers=chosen)


def _lower_scheme(url: str) -> str:
    scheme, _, rest = url.partition(":")
    return f"{scheme.lower()}:{rest}"
