"""Who is in the room, and one `RemotePeer` for each of them."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import Iterable

from prometheus_client import Counter

from agent.realtime.frames import Direct, Member
from agent.realtime.names import is_peer_id
from agent.realtime.negotiation import signals
from agent.realtime.remote.early import EarlyMessages
from agent.realtime.remote.peer_events import (
    DataReceived,
    PeerEvent,
    PeerJoined,
    PeerLeft,
    StateChanged,
    TrackAdded,
)
from agent.realtime.remote.remote_peer import RemotePeer
from agent.realtime.remote.surroundings import Surroundings
from agent.realtime.room.ghosts import Ghosts, predecessors

logger = logging.getLogger(__name__)

IGNORED_PEERS = Counter("voice_agent_peers_ignored_total", "Peers not connected to because the room was full")
GHOSTS = Counter("voice_agent_ghost_peers_total", "Peers whose successor came before they were gone")
BAD_SIGNALS = Counter("voice_agent_bad_signals_total", "Signals of remote peers that could not be used")

MAX_PEERS = 256

#: A peer whose signalling broke is announced as gone, and is back a moment later. While its media flows it is
#: given this long; that covers the first attempts to reconnect (after 0.5, 1 and 2 s) of both sides.
LINGER_S = 5.0

#: With a publishable key every reconnect brings a new id, and the old one stays announced for a while.
MAX_FORMER_IDS = 32


class Roster:
    """Keeps `remotes` in step with what the server announces. Belongs to the event loop of `tasks`."""

    def __init__(self, tasks: asyncio.TaskGroup, around: Surroundings) -> None:
        self.remotes: dict[str, RemotePeer] = {}
        self._tasks = tasks
        self._emit = around.emit
        self._around = dataclasses.replace(around, emit=self._emit_for_remote)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        #: Those of whom nothing was heard since a reconnect but their media.
        self._unconfirmed: set[str] = set()
        self._early = EarlyMessages()
        self._ghosts = Ghosts()
        self._own_id = ""
        self._former_ids: deque[str] = deque(maxlen=MAX_FORMER_IDS)
        self._is_new_id = False

    def own_id_is(self, peer_id: str) -> None:
        """The server calls us so from now on."""
        if self._own_id and self._own_id != peer_id:
            self._former_ids.append(self._own_id)
            self._is_new_id = True
        self._own_id = peer_id

    def here(self, member: Member) -> None:
        """`member` is in the room."""
        self._unconfirmed.discard(member.peer_id)
        self._ghosts.pop(member.peer_id)
        if not is_peer_id(member.peer_id):
            logger.warning("a peer was ignored: its id is none")
            return
        known = self.remotes.get(member.peer_id)
        if member.peer_id == self._own_id or member.peer_id in self._former_ids:
            return
        if known is not None:
            known.metadata = member.metadata
            if self._stop_lingering(known.id):
                known.resume()
        elif len(self.remotes) >= MAX_PEERS:
            IGNORED_PEERS.inc()
            logger.warning("a peer was ignored: the room has more than %d", MAX_PEERS)
        else:
            self._add(member)

    def gone(self, peer_id: str) -> None:
        """`peer_id` is not in the room, or has only lost its way to the server."""
        self._unconfirmed.discard(peer_id)
        self._ghosts.pop(peer_id)
        remote = self.remotes.get(peer_id)
        if remote is None:
            return
        if remote.state != "connected":
            self._remove(peer_id)
        elif peer_id not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[peer_id] = loop.call_later(LINGER_S, self._remove, peer_id)

    def reconcile(self, present: Iterable[Member]) -> None:
        """After a reconnect: compare who was here with who is here now."""
        self._unconfirmed.clear()
        members = {member.peer_id: member for member in present}
        for remote in list(self.remotes.values()):
            if remote.id not in members:
                self.gone(remote.id)
            elif self._is_new_id:
                remote.start_over(polite=self._own_id < remote.id)
            else:
                remote.resume()
        self._is_new_id = False
        self._ghosts.keep_only(members)
        for member in members.values():
            if member.peer_id not in self._ghosts:
                self.here(member)

    def unknown(self) -> None:
        """After a reconnect nobody says who is here: whoever's media flows is, and as long as it does."""
        for remote in list(self.remotes.values()):
            if remote.state == "connected":
                self._unconfirmed.add(remote.id)
                remote.resume()
            else:
                self._remove(remote.id)

    def direct(self, message: Direct) -> None:
        """Hand a direct message to where it belongs; nothing counts that comes from outside the room."""
        ghost = self._ghosts.pop(message.sender)
        if ghost is not None:
            self.here(ghost)
        self._unconfirmed.discard(message.sender)
        remote = self.remotes.get(message.sender)
        if remote is None:
            self._early.keep(message, asyncio.get_running_loop().time())
            return
        match signals.parse(message.data):
            case None:
                self._emit(DataReceived(message.sender, message.data, "direct", message.from_metadata))
            case signals.Unusable(reason):
                BAD_SIGNALS.inc()
                logger.warning("a signal was dropped: %s", reason)
            case signal:
                remote.deliver(signal)

    def tracks_changed(self) -> None:
        """What is sent is not the same as before."""
        for remote in self.remotes.values():
            remote.tracks_changed()

    def close(self) -> list[asyncio.Task[None]]:
        """Let everybody go; returns what still has to finish."""
        runs = list(self._runs.values())
        for peer_id in list(self.remotes):
            self._remove(peer_id)
        return runs

    def _add(self, member: Member) -> None:
        remote = RemotePeer(
            member.peer_id, member.metadata, polite=self._own_id < member.peer_id, around=self._around
        )
        self.remotes[remote.id] = remote
        self._runs[remote.id] = self._tasks.create_task(remote.run(), name="remote-peer")
        self._emit(PeerJoined(remote))
        for message in self._early.take(remote.id, asyncio.get_running_loop().time()):
            self.direct(message)

    def _remove(self, peer_id: str) -> None:
        self._stop_lingering(peer_id)
        self._unconfirmed.discard(peer_id)
        remote = self.remotes.pop(peer_id)
        remote.end_media()
        self._runs.pop(peer_id).cancel()
        self._emit(PeerLeft(remote))

    def _stop_lingering(self, peer_id: str) -> bool:
        timer = self._lingering.pop(peer_id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _emit_for_remote(self, event: PeerEvent) -> None:
        self._emit(event)
        match event:
            case StateChanged(RemotePeer() as remote) if remote.id in self.remotes:
                if remote.state == "connected":
                    return
                if remote.id in self._lingering or remote.id in self._unconfirmed:
                    # It was announced as gone, or no longer as present, and now its media is gone as well.
                    self._remove(remote.id)
                elif any(predecessors(later, [remote]) for later in self._after(remote)):
                    self._remove_ghost(remote)
            case TrackAdded(remote):
                earlier = itertools.takewhile(lambda other: other is not remote, self.remotes.values())
                for peer_id in predecessors(remote, earlier):
                    self._remove_ghost(self.remotes[peer_id])

    def _after(self, remote: RemotePeer) -> list[RemotePeer]:
        """Those who came after `remote`."""
        known = list(self.remotes.values())
        return known[known.index(remote) + 1 :]

    def _remove_ghost(self, remote: RemotePeer) -> None:
        GHOSTS.inc()
        logger.info("a peer is back under another id; the old one is taken for gone")
        if remote.id not in self._lingering:
            self._ghosts.add(Member(remote.id, remote.metadata))
        self._remove(remote.id)
