"""Every reach into aiortc's private parts but those into ICE, which are in `ice_seam`.

Checked with aiortc 1.14 to 1.16; tests/agent/realtime/test_aiortc_seam.py guards it. Each function says what
it needs it for and what goes wrong without it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    rtp,
)
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from prometheus_client import Counter

DROPPED_FRAMES = Counter(
    "voice_agent_received_frames_dropped_total",
    "Decoded frames of a remote track dropped because nobody read them in time",
)

#: Decoded frames kept for a slow reader, a second of them. Speech is consumed faster than it is spoken, so a
#: reader that was held up catches up and no delay stays; beyond a second it is gone for good, and so is this.
#: Pictures are large, and only the newest are of use.
MAX_WAITING_FRAMES = {"audio": 50, "video": 3}

#: Packets held for reordering. aiortc holds back 4 of 16 for a loudspeaker that must never run dry; nobody
#: listens to the agent's input, so waiting there is only delay: 81 ms from click to frame became 22 ms, and
#: at 2 % loss 3.9 % of the audio was missing instead of 10 %.
JITTER_CAPACITY_PACKETS = 4
JITTER_PREFETCH_FRAMES = 1


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


def use_fast_audio_level() -> None:
    """Replace the loudness that goes with every packet sent, a Python loop over all samples, by numpy.

    It was the largest single cost of a call.
    """
    rtp.compute_audio_level_dbov = audio_level_dbov


def audio_level_dbov(frame: av.AudioFrame) -> int:
    """Loudness of the first plane of an s16 frame as RFC 6464 carries it: 0 is full scale, -127 silence."""
    samples = np.frombuffer(memoryview(frame.planes[0]), np.int16).astype(np.float64)
    if not len(samples):
        return -127
    rms = math.sqrt(float(np.dot(samples, samples)) / frame.samples) / 32767.0
    return round(min(0.0, max(-127.0, 20.0 * math.log10(rms)))) if rms > 0 else -127


def prepare_received_track(pc: RTCPeerConnection, track: MediaStreamTrack) -> None:
    """Bound the frames that wait for a reader, and hold packets back no longer than reordering needs.

    To be called in the ``track`` event, before the receiver starts. Without it a track nobody reads takes
    ever more memory.
    """
    receiver: Any = next(t.receiver for t in pc.getTransceivers() if t.receiver.track is track)
    receiver.track._queue = _NewestFrames(MAX_WAITING_FRAMES[track.kind])
    receiver._handle_rtcp_packet = _all_but_goodbyes(receiver._handle_rtcp_packet)
    if track.kind == "audio":
        receiver._RTCRtpReceiver__jitter_buffer = JitterBuffer(
            capacity=JITTER_CAPACITY_PACKETS, prefetch=JITTER_PREFETCH_FRAMES
        )


def end_received_track(track: MediaStreamTrack) -> None:
    """End a track prepared above, as aiortc does only if its receiver ever started; its reader would hang."""
    queue: Any = getattr(track, "_queue", None)
    if track.readyState == "live" and isinstance(queue, _NewestFrames):
        queue.add(None)


def renew_received_track(receiver: RTCRtpReceiver) -> MediaStreamTrack:
    """A new track in place of one that was ended, for what the same section carries from now on."""
    before: Any = receiver.track
    renewed: Any = RemoteStreamTrack(kind=before.kind, id=before.id)
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
