"""Every reach into aiortc's private parts, in one place; tests/agent/realtime/test_aiortc_seam.py guards it.

Checked with aiortc 1.14 to 1.16. Each function says what it needs it for and what goes wrong without it.
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


class Arrivals:
    """Counts the datagrams that arrive for `pc`, and asks the other side to send one.

    To be made when `pc` is connected. aiortc says nothing of what arrives, and its own questions are 4-6 s
    apart.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        #: Datagrams of any kind: media, reports, handshakes, and the answers to `ask`.
        self.count = 0
        self._connections = ice_connections(pc)
        for connection in self._connections:
            for protocol in connection._protocols:
                self._listen_to(protocol)

    def ask(self) -> None:
        """Send a question of RFC 7675; whatever comes back counts as arrived."""
        for connection in self._connections:
            for pair in connection._nominated.values():
                request = connection.build_request(pair, nominate=False)
                request.add_message_integrity(connection.remote_password.encode())
                pair.protocol.send_stun(request, pair.remote_addr)

    def _listen_to(self, protocol: Any) -> None:
        received = protocol.datagram_received

        def count(data: bytes, address: Any) -> None:
            self.count += 1
            received(data, address)

        protocol.datagram_received = count


def ice_connections(pc: RTCPeerConnection) -> list[Any]:
    """The aioice connections under `pc`; one when all sections are bundled."""
    transports: Any = getattr(pc, "_RTCPeerConnection__iceTransports")  # noqa: B009 (mypy knows the class)
    return [transport._connection for transport in transports]
