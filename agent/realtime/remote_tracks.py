"""The tracks of one remote peer, and what it says about them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiortc import MediaStreamTrack

from agent.realtime.connection import ReceivedTrack
from agent.realtime.peer_events import PeerEvent, TrackAdded, TrackEnded
from agent.realtime.signals import TrackMeta

if TYPE_CHECKING:
    from agent.realtime.remote import RemotePeer

MAX_TRACK_METAS = 512


class RemoteTracks:
    """Reports each track of `remote` once when it comes and once when it ends."""

    def __init__(self, remote: RemotePeer, emit: Callable[[PeerEvent], None]) -> None:
        self._remote = remote
        self._emit = emit
        self._metas: OrderedDict[str, TrackMeta] = OrderedDict()
        self._live: set[MediaStreamTrack] = set()

    def remember(self, meta: TrackMeta) -> None:
        """Keep what the peer says about a track, or forget it."""
        if meta.metadata is None:
            self._metas.pop(meta.track_id, None)
            return
        self._metas[meta.track_id] = meta
        while len(self._metas) > MAX_TRACK_METAS:
            self._metas.popitem(last=False)

    def arrived(self, received: ReceivedTrack) -> None:
        """A connection has a new track."""
        track = received.track
        self._live.add(track)
        track.on("ended", lambda: self.ended(track))
        self._emit(TrackAdded(self._remote, track, received.stream_id, self._metadata_of(received)))

    def ended(self, track: MediaStreamTrack) -> None:
        """Nothing comes of `track` any more. Idempotent."""
        if track in self._live:
            self._live.discard(track)
            self._emit(TrackEnded(self._remote, track))

    def end_all(self) -> None:
        for track in list(self._live):
            self.ended(track)

    def _metadata_of(self, received: ReceivedTrack) -> Mapping[str, Any] | None:
        """By the track's name where it has one, otherwise by its stream if all said of that agrees."""
        for name in (received.track_id, received.track.id):
            if name is not None and name in self._metas:
                return self._metas[name].metadata
        same = [m.metadata for m in self._metas.values() if m.stream_id and m.stream_id == received.stream_id]
        return same[0] if same and all(metadata == same[0] for metadata in same) else None
