"""What a `Peer` tells its owner, in the order it happened."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from aiortc import MediaStreamTrack
from prometheus_client import Counter

if TYPE_CHECKING:
    from agent.realtime.connections.channels import DataChannel
    from agent.realtime.remote.remote_peer import RemotePeer

DROPPED_DATA = Counter(
    "voice_agent_room_messages_dropped_total",
    "Data messages, and news of data channels, dropped because the agent did not take them in time",
)

DROPPED_EVENTS = Counter(
    "voice_agent_peer_events_dropped_total",
    "Events dropped, the oldest first, because nobody read them",
)

#: Data messages that may wait. Anybody in the room can send them, so what is too much is dropped.
MAX_WAITING_DATA = 256
#: Events that may wait in all: what a room full of peers brings forth while nobody reads for minutes.
MAX_WAITING_EVENTS = 4096


@dataclass(frozen=True, slots=True)
class PeerJoined:
    remote: RemotePeer


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """Its connection is being closed and its tracks have ended."""

    remote: RemotePeer


@dataclass(frozen=True, slots=True)
class TrackAdded:
    """A remote audio track. After a connection was made anew it is another object with the same stream id."""

    remote: RemotePeer
    track: MediaStreamTrack
    #: As named by the sender; None if it names none.
    stream_id: str | None
    #: What the sender says about the track; None if nothing.
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TrackEnded:
    remote: RemotePeer
    track: MediaStreamTrack


@dataclass(frozen=True, slots=True)
class DataChannelOpened:
    """The other side opened a data channel. It is told once, also when the connection is made anew."""

    remote: RemotePeer
    channel: DataChannel


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Application data from a peer; `sender_id` is vouched for by the server."""

    sender_id: str
    data: Any
    kind: Literal["broadcast", "direct"]
    sender_metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state of the connection to `remote`, or, when that is None, of this peer in the room."""

    remote: RemotePeer | None
    state: str


@dataclass(frozen=True, slots=True)
class FatalError:
    """This peer is out of the room and will not come back by itself; the stream of events ends."""

    #: A close code or the server's error code.
    code: str
    message: str


PeerEvent: TypeAlias = (
    PeerJoined
    | PeerLeft
    | TrackAdded
    | TrackEnded
    | DataChannelOpened
    | DataReceived
    | StateChanged
    | FatalError
)


#: What anybody in the room can bring about as often as it likes.
_AT_WILL = (DataReceived, DataChannelOpened)


class PeerEvents:
    """A queue for one reader: ``async for event in events``. Ends after `finish`.

    Events wait from the beginning, so none is missed between joining and the first read. Messages and news of
    data channels beyond MAX_WAITING_DATA are dropped and counted. What happens to peers and tracks is kept,
    up to MAX_WAITING_EVENTS, which a stream that is read never comes near; then the oldest goes, counted too.
    """

    def __init__(self) -> None:
        self._waiting: deque[PeerEvent] = deque()
        self._waiting_data = 0
        self._wake = asyncio.Event()
        self._finished = False

    def put(self, event: PeerEvent) -> None:
        if self._finished:
            return
        if isinstance(event, _AT_WILL):
            if self._waiting_data >= MAX_WAITING_DATA:
                DROPPED_DATA.inc()
                return
            self._waiting_data += 1
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            DROPPED_EVENTS.inc()
            self._take()
        self._waiting.append(event)
        self._wake.set()

    def finish(self) -> None:
        """What waits is still delivered; nothing is added any more."""
        self._finished = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PeerEvent:
        while not self._waiting:
            if self._finished:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._take()

    def _take(self) -> PeerEvent:
        event = self._waiting.popleft()
        if isinstance(event, _AT_WILL):
            self._waiting_data -= 1
        return event
