"""Peers that came back under another id while the old one is still announced.

With a publishable key every reconnect brings a new id, and it may take the server a minute to see that the
old line is dead. Who sends the same track again is the same peer, if nothing comes from the old one any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from agent.realtime.frames import Member
from agent.realtime.negotiation.sdp import Msid

MAX_GHOSTS = 256

#: Names made up by programs are longer; two peers may well call their tracks "microphone" both.
MIN_UNIQUE_CHARS = 16


class Announced(Protocol):
    """What a remote peer has to show for itself."""

    id: str
    announces: frozenset[Msid]

    @property
    def state(self) -> str: ...


def predecessors(newcomer: Announced, earlier: Iterable[Announced]) -> list[str]:
    """Ids of those among `earlier` that `newcomer` has been. Never of one that is connected: an id of a track
    is no secret, and a stranger may use it."""
    own = _unique(newcomer.announces)
    return [other.id for other in earlier if other.state != "connected" and own & _unique(other.announces)]


def _unique(msids: frozenset[Msid]) -> frozenset[Msid]:
    return frozenset(m for m in msids if m.stream_id and m.track_id and len(m.track_id) >= MIN_UNIQUE_CHARS)


class Ghosts:
    """Peers that are announced and taken for gone. One that gives a sign of life was none."""

    def __init__(self) -> None:
        self._members: OrderedDict[str, Member] = OrderedDict()

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._members

    def add(self, member: Member) -> None:
        """Take `member` for gone. The oldest is forgotten when there are MAX_GHOSTS."""
        self._members[member.peer_id] = member
        while len(self._members) > MAX_GHOSTS:
            self._members.popitem(last=False)

    def pop(self, peer_id: str) -> Member | None:
        """Forget it: it is really gone, or really there."""
        return self._members.pop(peer_id, None)

    def keep_only(self, present: Iterable[str]) -> None:
        """Forget all that are not announced any more."""
        for peer_id in set(self._members) - set(present):
            del self._members[peer_id]
