"""What peers say about their tracks: remembered from others, and told to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from agent.realtime.connections.connection_media import ReceivedTrack
from agent.realtime.json_text import json_bytes
from agent.realtime.negotiation.signals import TrackMeta
from agent.realtime.sending.tracks import Outgoing

#: Kept of one peer; the oldest goes when there are more, or more bytes of JSON.
MAX_TRACK_METAS = 512
MAX_TRACK_METAS_BYTES = 256 * 1024


class TrackMetas:
    """What one peer said about its tracks; it outlives connections, which the tracks do not."""

    def __init__(self) -> None:
        self._metas: OrderedDict[str, tuple[TrackMeta, int]] = OrderedDict()
        self._bytes = 0

    def remember(self, meta: TrackMeta) -> None:
        """Set, or clear, what is said about one track."""
        self._forget(meta.track_id)
        if meta.metadata is None:
            return
        size = json_bytes(dict(meta.metadata))
        self._metas[meta.track_id] = (meta, size)
        self._bytes += size
        while len(self._metas) > MAX_TRACK_METAS or self._bytes > MAX_TRACK_METAS_BYTES:
            self._forget(next(iter(self._metas)))

    def of(self, received: ReceivedTrack) -> Mapping[str, Any] | None:
        """By the track's name where it has one, otherwise by its stream if all said of that agrees."""
        for name in (received.track_id, received.track.id):
            if name is not None and name in self._metas:
                return self._metas[name][0].metadata
        same = [
            meta.metadata
            for meta, _ in self._metas.values()
            if meta.stream_id
            and meta.stream_id == received.stream_id
            and meta.kind in (None, received.track.kind)
        ]
        return same[0] if same and all(metadata == same[0] for metadata in same) else None

    def _forget(self, track_id: str) -> None:
        _, size = self._metas.pop(track_id, (None, 0))
        self._bytes -= size


def news(wanted: Sequence[Outgoing], told: Mapping[str, TrackMeta]) -> list[TrackMeta]:
    """What a peer that was told `told`, by track id, has to be told for it to know of `wanted`, in order."""
    metas = {outgoing.track_id: outgoing.meta() for outgoing in wanted if outgoing.metadata is not None}
    gone = [TrackMeta(track_id, None) for track_id in told if track_id not in metas]
    return gone + [meta for track_id, meta in metas.items() if track_id not in told]
