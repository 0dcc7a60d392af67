"""Every reach into aiortc's private parts but those in the other modules called ``..._seam``.

Checked with aiortc 1.16; tests/agent/realtime/connections/test_aiortc_seam.py guards it. Each function says
what it needs it for and what goes wrong without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    rtp,
)
from aiortc.codecs import CODECS
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from prometheus_client import Counter

from agent.realtime import opus
from agent.realtime.receiving.received_audio import DROPPED_FRAMES, ReceivedAudio
from agent.realtime.receiving.receiving_seam import Ears, arrival_of
from agent.realtime.receiving.source_seam import Sources, keep_reporting

#: Decoded pictures kept for a slow reader. They are large, and only the newest are of use.
MAX_WAITING_PICTURES = 3

DATA_ABORTS = Counter(
    "voice_agent_data_transports_aborted_total",
    "Connections whose data part was ended because the other side sent beyond the limits",
)

#: Ids of data channels one peer may use, including some that are being closed.
MAX_DATA_STREAMS = 64
#: Pieces of unfinished messages kept; what may be under way at once is 1 MiB, in pieces of about 1200 bytes.
MAX_DATA_PIECES = 2048


class _NewestFrames(asyncio.Queue[Any]):
    """A frame queue whose writer never waits: when full, the oldest frame goes. The end mark (None) stays.

    `put` is for the decoder, which keeps the queue it was started with and means the one made last of all
    that follow on each other.
    """

    def __init__(self, maxsize: int, after: _NewestFrames | None = None) -> None:
        super().__init__(maxsize)
        self._all: list[_NewestFrames] = after._all if after is not None else []
        self._all[:] = [self]

    async def put(self, item: Any) -> None:
        self._all[-1].add(item)

    async def get(self) -> Any:
        item = await super().get()
        if item is None:
            # For whoever else reads this track.
            self.put_nowait(None)
        return item

    def add(self, item: Any) -> None:
        if self.full():
            self.get_nowait()
            DROPPED_FRAMES.inc()
        self.put_nowait(item)


def ask_for_fec() -> None:
    """Say in every description that Opus packets may tell of the one before them; aiortc says nothing.

    Senders that can, such as browsers, then do so as soon as packets get lost. `opus.OpusError` where there
    is no libopus to make use of it.
    """
    opus.library()
    for codec in CODECS["audio"]:
        if codec.mimeType == "audio/opus":
            codec.parameters["useinbandfec"] = 1


def prepare_received_track(pc: RTCPeerConnection, track: MediaStreamTrack) -> MediaStreamTrack:
    """Bound the frames that wait for a reader of pictures; receive sound by our own means (`Ears`).

    To be called in the ``track`` event, before the receiver starts. Returns the track to be used from now on.
    """
    receiver: Any = next(t.receiver for t in pc.getTransceivers() if t.receiver.track is track)
    receiver._handle_rtcp_packet = _all_but_goodbyes(receiver._handle_rtcp_packet)
    keep_reporting(receiver)
    if track.kind == "audio":
        return Ears(receiver).track
    receiver.track._queue = _NewestFrames(MAX_WAITING_PICTURES)
    return track


def guard_sources(pc: RTCPeerConnection) -> None:
    """Bound what is remembered of whom the other side sends as; see `Sources`. Idempotent.

    For every connection: one that receives nothing decrypts what comes all the same.
    """
    transports: Any = getattr(pc, "_RTCPeerConnection__dtlsTransports")  # noqa: B009 (mypy knows the class)
    for transport in transports:
        Sources.of(transport)


def end_received_track(track: MediaStreamTrack) -> None:
    """End a track prepared above, as aiortc does only if its receiver ever started; its reader would hang."""
    if isinstance(track, ReceivedAudio):
        track.end()
        return
    queue: Any = getattr(track, "_queue", None)
    if track.readyState == "live" and isinstance(queue, _NewestFrames):
        queue.add(None)


def renew_received_track(receiver: RTCRtpReceiver) -> MediaStreamTrack:
    """A new track in place of one that was ended, for what the same section carries from now on."""
    before: Any = receiver.track
    renewed: Any
    if isinstance(before, ReceivedAudio):
        renewed = ReceivedAudio(before.id)
        arrival_of(receiver).renew(renewed)
    else:
        renewed = RemoteStreamTrack(kind=before.kind, id=before.id)
        renewed._queue = _NewestFrames(before._queue.maxsize, after=before._queue)
    receiver._track = renewed
    return renewed  # type: ignore[no-any-return]


async def say_bye(sender: RTCRtpSender) -> None:
    """Tell the other side that nothing more comes from this sender; a remote aiortc ends its track then.

    A description alone does not make it do so.
    """
    with suppress(ConnectionError):
        await sender._send_rtcp([rtp.RtcpByePacket(sources=[sender._ssrc])])


def _all_but_goodbyes(handle: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """A goodbye would end the receiver for good, though browsers say it at every pause of a track."""

    async def handle_packet(packet: Any) -> None:
        if not isinstance(packet, rtp.RtcpByePacket):
            await handle(packet)

    return handle_packet


def set_stream_id(sender: RTCRtpSender, stream_id: str) -> None:
    """Name the stream of an outgoing track; aiortc would invent one, and receivers know the agent by it."""
    sender._stream_id = stream_id


def set_track_id(track: MediaStreamTrack, track_id: str) -> None:
    """Name an outgoing track, so that every connection announces the same track under the same id."""
    track._id = track_id


def decline_unoffered(pc: RTCPeerConnection, offered_mids: set[str]) -> None:
    """Make an answer possible to an offer that lacks a section we have.

    aiortc combines every transceiver's direction with the offered one, which is unset for those sections.
    """
    for transceiver in pc.getTransceivers():
        if transceiver.mid not in offered_mids:
            transceiver._offerDirection = "inactive"


def guard_data(pc: RTCPeerConnection) -> None:
    """End the data part of a connection when the other side sends more than it may. Idempotent.

    aiortc announces how much it takes and keeps everything all the same: fragments of messages that never
    end, pieces out of order, channels by the thousand.
    """
    sctp: Any = pc.sctp
    if sctp is None or hasattr(sctp, "_is_guarded"):
        return
    sctp._is_guarded = True
    receive = sctp._receive_data_chunk

    async def receive_within_limits(chunk: Any) -> None:
        await receive(chunk)
        stream = sctp._inbound_streams.get(chunk.stream_id)
        if (
            sctp._advertised_rwnd < 0
            or len(sctp._data_channels) > MAX_DATA_STREAMS
            or len(sctp._inbound_streams) > MAX_DATA_STREAMS
            or len(sctp._sack_misordered) > MAX_DATA_PIECES
            or (stream is not None and len(stream.reassembly) > MAX_DATA_PIECES)
        ):
            DATA_ABORTS.inc()
            await sctp._abort()
            sctp._set_state(sctp.State.CLOSED)

    sctp._receive_data_chunk = receive_within_limits


def number_streams_from(pc: RTCPeerConnection, used: int) -> None:
    """Give data channels of this connection stream ids that the `used` lowest ones are not among.

    Called before the connection is established; a second call changes nothing.
    """
    sctp: Any = pc.sctp
    if sctp is None or hasattr(sctp, "_is_numbered"):
        return
    sctp._is_numbered = True
    start = sctp.start

    async def start_later(*capabilities: Any) -> None:
        first_time = sctp._data_channel_id is None
        await start(*capabilities)
        if first_time:
            # Even ids are the DTLS client's, odd ones the server's: that is kept.
            sctp._data_channel_id += used + used % 2

    sctp.start = start_later


class Restorable:
    """A negotiation state of `pc` to come back to: aiortc cannot take an offer back.

    To be made before an offer is; `restore` undoes that offer. Without it the side that yields in a collision
    has to throw its connection away, sound and all.
    """

    _STATES = ("signalingState", "pendingLocalDescription", "sctp_mline_index")

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._pc: Any = pc
        self._states = {name: getattr(pc, f"_RTCPeerConnection__{name}") for name in self._STATES}
        self._sections = {
            t: (t.mid, t._get_mline_index(), t._codecs, t._headerExtensions) for t in self._transceivers()
        }
        self._data_mid = None if pc.sctp is None else pc.sctp.mid

    def restore(self) -> None:
        """The offer is as good as never made; what was to be sent in new sections has no section again."""
        for name, value in self._states.items():
            setattr(self._pc, f"_RTCPeerConnection__{name}", value)
        for transceiver in self._transceivers():
            mid, index, codecs, extensions = self._sections.get(transceiver, (None, None, [], []))
            transceiver._set_mid(mid)
            transceiver._set_mline_index(index)
            transceiver._codecs, transceiver._headerExtensions = codecs, extensions
        if self._pc.sctp is not None:
            self._pc.sctp.mid = self._data_mid
        for transport in self._pc._RTCPeerConnection__iceTransports:
            if transport.state == "new":
                # Whoever offers controls; now it is the other side.
                transport._role_set = False

    def _transceivers(self) -> list[Any]:
        return list(self._pc.getTransceivers())
