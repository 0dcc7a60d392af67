"""One stream of frames out of two connections of the same peer, while one takes over from the other. Pure.

Frames have no numbers, so what came twice is told by what it says and who says it::

    old   a1 b1 a2 a3|                     read to its end, and delivered as it comes
    new        |a2 b2 a3 a4 ...            held back until the old one has ended
    then              b2 a4 ...            delivered after it

Each sender's frames keep their order on either connection, so the last of the old are the first of the new:
the longest such run is what came twice. Senders are compared one by one, because between them there is no
order. Only somebody who says the very same thing several times within the overlap, tens of milliseconds, can
be heard once too rarely.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from agent.realtime.frames import Direct, Member, Message, Presence
from agent.realtime.signalling.link import Incoming

_Source: TypeAlias = tuple[str, str]

#: Frames remembered of the old connection; far more than arrive within an overlap.
MAX_REMEMBERED = 1024
#: Members followed per channel; servers allow a few hundred, and a strange one must not fill the memory.
MAX_MEMBERS = 1024
#: Channels followed; servers allow no more on one connection.
MAX_CHANNELS = 100


class Rosters:
    """Who is in which channel, by what one connection was told."""

    def __init__(self) -> None:
        self._channels: dict[str, dict[str, Member]] = {}

    def apply(self, presence: Presence) -> None:
        if presence.channel not in self._channels and len(self._channels) >= MAX_CHANNELS:
            return
        members = self._channels.setdefault(presence.channel, {})
        for member in presence.left:
            members.pop(member.peer_id, None)
        for member in presence.joined:
            if len(members) < MAX_MEMBERS or member.peer_id in members:
                members[member.peer_id] = member

    def forget(self, channel: str) -> None:
        self._channels.pop(channel, None)

    def inhabited(self) -> set[str]:
        """The channels where somebody is."""
        return {channel for channel, members in self._channels.items() if members}

    def known(self) -> set[str]:
        """The channels of which anything was told, if only that nobody is there."""
        return set(self._channels)

    def inherit(self, older: Rosters) -> None:
        """Take over what `older` knows of channels of which nothing was told here."""
        for channel, members in older._channels.items():
            self._channels.setdefault(channel, dict(members))

    def news(self, older: Rosters, own_id: str) -> tuple[list[Presence], list[Presence]]:
        """Who joined and who left to get from what `older` knows to what is known here, without ourselves.

        Somebody whose metadata is another now counts as joined, as in a snapshot.
        """
        joined, left = [], []
        for channel, members in self._channels.items():
            before = older._channels.get(channel, {})
            came = tuple(m for m in members.values() if before.get(m.peer_id) != m and m.peer_id != own_id)
            went = tuple(m for m in before.values() if m.peer_id not in members and m.peer_id != own_id)
            if came:
                joined.append(Presence(channel, joined=came))
            if went:
                left.append(Presence(channel, left=went))
        return joined, left


class Overlap:
    """What was said on both connections since the new one was opened."""

    def __init__(self) -> None:
        self._old: deque[Message | Direct] = deque(maxlen=MAX_REMEMBERED)
        self._new: list[Incoming] = []

    def was_delivered(self, frame: Incoming) -> None:
        """`frame` of the old connection has been delivered."""
        if isinstance(frame, Message | Direct):
            self._old.append(frame)

    def hold(self, frame: Incoming) -> bool:
        """Keep a frame of the new connection for later; False when there are too many.

        Not presence: what became of a room is told by its roster.
        """
        if not isinstance(frame, Presence):
            self._new.append(frame)
        return len(self._new) <= MAX_REMEMBERED

    def unseen(self) -> list[Incoming]:
        """Once the old connection has ended: what was held back and not delivered from there."""
        delivered = _by_source(self._old)
        twice = {
            source: repeated(delivered.get(source, []), frames)
            for source, frames in _by_source(self._new).items()
        }
        unseen: list[Incoming] = []
        for frame in self._new:
            source = _source(frame)
            if twice.get(source, 0) > 0:
                twice[source] -= 1
            else:
                unseen.append(frame)
        return unseen


def repeated(old: Sequence[object], new: Sequence[object]) -> int:
    """How many of the first of `new` are the last of `old`: the longest such run."""
    for length in range(min(len(old), len(new)), 0, -1):
        if old[-length:] == new[:length]:
            return length
    return 0


def _by_source(frames: Iterable[Incoming]) -> dict[_Source, list[Incoming]]:
    by_source: dict[_Source, list[Incoming]] = {}
    for frame in frames:
        by_source.setdefault(_source(frame), []).append(frame)
    return by_source


def _source(frame: Incoming) -> _Source:
    match frame:
        case Message(channel, sender):
            return channel, sender
        case Direct(sender):
            # A channel has a name, so the empty one stands for none.
            return "", sender
    # The server itself; none of it is remembered of the old connection.
    return "", ""
