"""What a remote peer shares with the room it is in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from agent.realtime.ice import IceServer
from agent.realtime.peer_events import PeerEvent
from agent.realtime.signals import TrackMeta
from agent.realtime.source import AudioSource


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A source that every remote peer gets a track of."""

    source: AudioSource
    stream_id: str
    metadata: Mapping[str, Any] | None
    track_id: str = field(default_factory=lambda: str(uuid4()))

    def meta(self) -> TrackMeta:
        return TrackMeta(self.track_id, self.metadata, "audio", self.stream_id)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a remote peer needs of the room it is in."""

    #: Sends a payload to a peer id; False if it did not get through.
    send: Callable[[str, Any], Awaitable[bool]]
    is_online: Callable[[], bool]
    ice_servers: Callable[[], Sequence[IceServer]]
    outgoing: Sequence[Outgoing]
    emit: Callable[[PeerEvent], None]
    #: Runs something to its end without waiting for it here.
    spawn: Callable[[Coroutine[Any, Any, None]], object]
