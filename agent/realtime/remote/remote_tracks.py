"""The tracks of one remote peer, and what it says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiortc import MediaStreamTrack

from agent.realtime.connections.connection_media import ReceivedTrack
from agent.realtime.negotiation.signals import TrackMeta
from agent.realtime.remote.peer_events import PeerEvent, TrackAdded, TrackEnded
from agent.realtime.remote.track_metas import TrackMetas

if TYPE_CHECKING:
    from agent.realtime.remote.remote_peer import RemotePeer


@dataclass(frozen=True, slots=True)
class RemoteTrack:
    """A track another peer sends."""

    track: MediaStreamTrack
    #: As named by the sender, None if it names none.
    stream_id: str | None
    #: What the sender says about it, None if nothing.
    metadata: Mapping[str, Any] | None


class RemoteTracks:
    """Reports each track of `remote` once when it comes and once when it ends."""

    def __init__(self, remote: RemotePeer, emit: Callable[[PeerEvent], None]) -> None:
        self._remote = remote
        self._emit = emit
        self._metas = TrackMetas()
        self._live: dict[MediaStreamTrack, ReceivedTrack] = {}

    @property
    def all(self) -> tuple[RemoteTrack, ...]:
        """Those that have come and not ended."""
        return tuple(
            RemoteTrack(track, received.stream_id, self._metas.of(received))
            for track, received in self._live.items()
        )

    def remember(self, meta: TrackMeta) -> None:
        """Keep what the peer says about a track, or forget it."""
        self._metas.remember(meta)

    def arrived(self, received: ReceivedTrack) -> None:
        """A connection has a new track."""
        track = received.track
        self._live[track] = received
        track.on("ended", lambda: self.ended(track))
        self._emit(TrackAdded(self._remote, track, received.stream_id, self._metas.of(received)))

    def ended(self, track: MediaStreamTrack) -> None:
        """Nothing comes of `track` any more. Idempotent."""
        if self._live.pop(track, None) is not None:
            self._emit(TrackEnded(self._remote, track))

    def end_all(self) -> None:
        for track in list(self._live):
            self.ended(track)
