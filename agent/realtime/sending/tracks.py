"""What a peer sends: sources, and one track of each for every connection, which plays on through changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any, Protocol, TypeAlias, runtime_checkable
from uuid import uuid4

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from agent.realtime.json_text import json_bytes
from agent.realtime.negotiation.signals import MAX_NAME_CHARS, TrackMeta
from agent.realtime.sending.encoding import FedTrack, Sink
from agent.realtime.sending.relay import Relay, Spawn

#: Each track is a section of the session, of which eight are commonly taken; one is left for data.
MAX_TRACKS = 7
MAX_METADATA_BYTES = 8 * 1024
#: How much later than the frame before it the first one of another source is at least.
_MIN_STEP_S = Fraction(1, 100)


@runtime_checkable
class MediaSource(Protocol):
    """Something that plays on any number of connections: `AudioSource`, or what a file is read by."""

    @property
    def kind(self) -> str:
        """``audio`` or ``video``."""

    def new_track(self) -> MediaStreamTrack:
        """A track for one connection. Stopping it ends a `recv` under way, and nothing else."""


#: What can be sent.
Sendable: TypeAlias = MediaSource | MediaStreamTrack


class OutgoingTrack(MediaStreamTrack):
    """The track one connection sends for as long as it lives; what it plays can be changed.

    A sender waits in `recv` nearly all the time and never sends again once that has raised, so nothing but
    closing the connection may end it. With nothing to play it waits, and nothing is sent. What can hand its
    sound on by itself does so, to the sender that asked to be fed, and `recv` waits for the rest.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._playing: MediaStreamTrack | None = None
        self._changed = asyncio.Event()
        self._timeline = _Timeline()
        self._sink: Sink | None = None

    def feed(self, sink: Sink | None) -> None:
        """Hand sound to `sink` as soon as there is some, where that is possible; None for no longer."""
        self._sink = sink
        self._feed()

    def play(self, track: MediaStreamTrack | None) -> None:
        """From now on send `track`; the one before is stopped."""
        before, self._playing = self._playing, track
        if before is not None:
            before.stop()
        self._timeline.begin_anew()
        self._feed()

    async def recv(self) -> av.AudioFrame | av.VideoFrame:
        """The next frame, on one timeline across all changes. Raises `MediaStreamError` once stopped."""
        while self.readyState == "live":
            playing = self._playing
            if playing is None or self._is_fed:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                frame = await playing.recv()
            except MediaStreamError:
                if self._playing is playing:
                    self._playing = None
                continue
            if playing is self._playing and isinstance(frame, av.AudioFrame | av.VideoFrame):
                self._timeline.place(frame)
                return frame
        raise MediaStreamError

    def stop(self) -> None:
        super().stop()
        self.play(None)

    @property
    def _is_fed(self) -> bool:
        return self._sink is not None and isinstance(self._playing, FedTrack)

    def _feed(self) -> None:
        if isinstance(self._playing, FedTrack):
            self._playing.feed(self._sink)
        self._changed.set()


class _Timeline:
    """Lets the frames of one source after another appear as one stream, with the pauses there were."""

    def __init__(self) -> None:
        self._origin_s: float | None = None
        self._shift: int | None = None
        self._last_s = -_MIN_STEP_S

    def begin_anew(self) -> None:
        """The next frame is another source's."""
        self._shift = None

    def place(self, frame: av.AudioFrame | av.VideoFrame) -> None:
        base, pts = Fraction(frame.time_base or 1), frame.pts or 0
        if self._shift is None:
            now_s = asyncio.get_running_loop().time()
            if self._origin_s is None:
                self._origin_s = now_s
            begin_s = max(Fraction(now_s - self._origin_s), self._last_s + _MIN_STEP_S)
            self._shift = int(begin_s / base) - pts
        frame.pts = pts + self._shift
        self._last_s = frame.pts * base
        if isinstance(frame, av.AudioFrame):
            self._last_s += Fraction(frame.samples, frame.sample_rate) - _MIN_STEP_S


class Outgoing:
    """One thing to send under one stream id, and who is to get it (None: everybody).

    Its track id stays the same whatever it plays, so that descriptions and metadata stay true.
    """

    def __init__(
        self,
        given: Sendable,
        stream_id: str,
        metadata: Mapping[str, Any] | None,
        to: Collection[str] | None,
        spawn: Spawn,
    ) -> None:
        self.given = given
        self.kind = given.kind
        self.stream_id = stream_id
        self.metadata = metadata
        self.to = None if to is None else frozenset(to)
        self.track_id = str(uuid4())
        self._spawn = spawn
        self._source: MediaSource | None = self._as_source(given)
        self._tracks: set[OutgoingTrack] = set()

    def is_for(self, peer_id: str) -> bool:
        return self.to is None or peer_id in self.to

    def meta(self) -> TrackMeta:
        return TrackMeta(self.track_id, self.metadata, self.kind, self.stream_id)

    def play_on(self, track: OutgoingTrack) -> None:
        """Play on this connection's track, and on what replaces the source."""
        self._tracks.add(track)
        track.play(self._source.new_track() if self._source else None)

    def stop_on(self, track: OutgoingTrack) -> None:
        """No more on this connection's track."""
        self._tracks.discard(track)
        track.play(None)

    def replace(self, given: Sendable | None) -> None:
        """Play something else on every connection, or nothing."""
        before, self._source = self._source, None if given is None else self._as_source(given)
        if given is not None:
            self.given = given
        for track in self._tracks:
            track.play(self._source.new_track() if self._source else None)
        _close_relay(before)

    def close(self) -> None:
        """Fall silent everywhere."""
        for track in list(self._tracks):
            self.stop_on(track)
        _close_relay(self._source)

    def _as_source(self, given: Sendable) -> MediaSource:
        return Relay(given, self._spawn) if isinstance(given, MediaStreamTrack) else given


class OutgoingTracks:
    """Everything a peer sends. `changed` is called when connections have to follow."""

    def __init__(self, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._spawn = spawn
        self._changed = changed
        self._all: list[Outgoing] = []

    def for_peer(self, peer_id: str) -> list[Outgoing]:
        """What that peer is to get."""
        return [outgoing for outgoing in self._all if outgoing.is_for(peer_id)]

    def add(
        self,
        given: Sendable,
        stream_id: str,
        metadata: Mapping[str, Any] | None,
        to: Collection[str] | None,
    ) -> None:
        _check(given, stream_id, metadata, to)
        known = self._find(given)
        if known is not None:
            if known.stream_id != stream_id:
                raise ValueError(f"this track is sent already, as the stream {known.stream_id!r}")
            if known.metadata != metadata or known.to != (None if to is None else frozenset(to)):
                raise ValueError("this track is sent already; remove it first to change who gets it")
            return
        if len(self._all) >= MAX_TRACKS:
            raise ValueError(f"at most {MAX_TRACKS} tracks can be sent")
        self._all.append(Outgoing(given, stream_id, metadata, to, self._spawn))
        self._changed()

    def remove(self, given: Sendable) -> None:
        outgoing = self._known(given)
        self._all.remove(outgoing)
        outgoing.close()
        self._changed()

    def replace(self, old: Sendable, new: Sendable | None) -> None:
        outgoing = self._known(old)
        if new is not None:
            _check_kind(new)
            if new.kind != outgoing.kind:
                raise ValueError(f"{outgoing.kind} can only be replaced by {outgoing.kind}, not {new.kind}")
            if new is not old and self._find(new) is not None:
                raise ValueError("the new track is sent already")
        outgoing.replace(new)

    def close(self) -> None:
        """Stop reading what was given; it stays the caller's."""
        for outgoing in self._all:
            outgoing.close()

    def _find(self, given: Sendable) -> Outgoing | None:
        return next((outgoing for outgoing in self._all if outgoing.given is given), None)

    def _known(self, given: Sendable) -> Outgoing:
        outgoing = self._find(given)
        if outgoing is None:
            raise ValueError("this track is not among those being sent")
        return outgoing


def _check(
    given: Sendable, stream_id: str, metadata: Mapping[str, Any] | None, to: Collection[str] | None
) -> None:
    if not stream_id or not stream_id.isascii() or not stream_id.isprintable() or " " in stream_id:
        raise ValueError("stream_id must be printable ASCII without spaces")
    if len(stream_id) > MAX_NAME_CHARS:
        raise ValueError(f"stream_id must have at most {MAX_NAME_CHARS} characters")
    if isinstance(to, str):
        raise ValueError("to must be a list of peer ids")
    if metadata is not None and json_bytes(dict(metadata)) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata must be at most {MAX_METADATA_BYTES} bytes of JSON")
    _check_kind(given)


def _check_kind(given: Sendable) -> None:
    if not isinstance(given, MediaStreamTrack | MediaSource) or given.kind not in ("audio", "video"):
        raise ValueError("what is sent must be a track or a source of audio or video")


def _close_relay(source: MediaSource | None) -> None:
    if isinstance(source, Relay):
        source.close()
