"""Every reach into aiortc's private parts, in one place; tests/agent/realtime/test_aiortc_seam.py guards it.

Checked with aiortc 1.14 to 1.16. Each function says what it needs it for and what goes wrong without it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aioice.ice
import aioice.stun
import av
import numpy as np
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    rtp,
)
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcicetransport import candidate_from_aioice
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from aiortc.sdp import candidate_to_sdp
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
        self._counted: list[Any] = []
        self._listen()

    def ask(self) -> None:
        """Send a question of RFC 7675; whatever comes back counts as arrived."""
        self._listen()
        for connection in self._connections:
            for pair in connection._nominated.values():
                request = connection.build_request(pair, nominate=False)
                request.add_message_integrity(connection.remote_password.encode())
                pair.protocol.send_stun(request, pair.remote_addr)

    def _listen(self) -> None:
        for connection in self._connections:
            for protocol in connection._protocols:
                if protocol not in self._counted:
                    self._counted.append(protocol)
                    protocol.datagram_received = self._counting(protocol.datagram_received)

    def _counting(self, received: Callable[[bytes, Any], None]) -> Callable[[bytes, Any], None]:
        def count(data: bytes, address: Any) -> None:
            self.count += 1
            received(data, address)

        return count


def ice_connections(pc: RTCPeerConnection) -> list[Any]:
    """The aioice connections under `pc`; one when all sections are bundled."""
    transports: Any = getattr(pc, "_RTCPeerConnection__iceTransports")  # noqa: B009 (mypy knows the class)
    return [transport._connection for transport in transports]


#: Giving an allocation back takes a round trip; a relay that is dead keeps it until it expires.
RELEASE_S = 0.5


class Relay:
    """An allocation on a TURN server."""

    def __init__(self, candidate: aioice.Candidate, protocol: Any) -> None:
        self.candidate = candidate
        self.protocol = protocol

    async def release(self) -> None:
        """Give it back. aioice would wait a minute for a server that does not answer, socket open."""
        transport = self.protocol.transport
        transport.close()
        closing: asyncio.Task[None] = transport._TurnTransport__close_task
        await asyncio.wait([closing], timeout=RELEASE_S)
        # Cancelled, it closes the socket all the same.
        for task in (closing, *transport._TurnTransport__send_tasks):
            task.cancel()
        await asyncio.wait([closing])
        if not closing.cancelled():
            closing.exception()


class LocalIce:
    """The addresses of one ICE transport of `pc`: the first section's, which carries all of them.

    aioice gathers once, before anything else. Here candidates come later: they are added to its lists, and
    its loop of connectivity checks, which waits for remote ones in the same way, picks them up.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._pc: Any = pc
        self._transport: Any = _first_transport(pc)
        self._ice: Any = self._transport._connection
        self.relays: list[Relay] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalIce) and other._ice is self._ice

    __hash__ = None  # type: ignore[assignment]

    @property
    def mid(self) -> str:
        """The section its candidates belong to."""
        return str(_sections(self._pc)[0].mid)

    @property
    def ufrag(self) -> str:
        return str(self._ice.local_username)

    def expect_more(self) -> None:
        """Local candidates are still to come: the checks go on, and nothing has failed yet."""
        self._ice._remote_candidates_expected = lambda: True

    def expect_no_more(self) -> None:
        """All local candidates are there."""
        del self._ice._remote_candidates_expected
        if not self._ice._remote_candidates_expected() and not self._ice._closing:
            self._ice._end_remote_candidates()

    def hosts(self) -> list[Any]:
        """Sockets that a STUN server may see from elsewhere: those on IPv4."""
        return [p for p in self._ice._protocols if "." in p.local_candidate.host]

    async def reflexive(self, host: Any, server: tuple[str, int]) -> str | None:
        """The address of `host` as `server` sees it; None if it sees the same. Raises what aioice raises."""
        message = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
        response, _ = await host.request(message, server)
        base, seen = host.local_candidate, response.attributes["XOR-MAPPED-ADDRESS"]
        if seen == (base.host, base.port):
            return None
        candidate = aioice.Candidate(
            foundation=candidate_foundation("srflx", "udp", base.host),
            component=base.component,
            transport="udp",
            priority=candidate_priority(base.component, "srflx"),
            host=seen[0],
            port=seen[1],
            type="srflx",
            related_address=base.host,
            related_port=base.port,
        )
        return self._add(candidate)

    async def allocate(
        self, server: tuple[str, int], username: str, password: str, is_stream: bool, is_tls: bool
    ) -> Relay:
        """An address on a TURN server; its certificate is verified. Raises what aioice raises."""
        candidate, protocol = await aioice.ice.relayed_candidate(
            component=1,
            hide_related_address=self._is_relay_only,
            protocol_factory=lambda: aioice.ice.StunProtocol(self._ice),
            turn_server=server,
            turn_username=username,
            turn_password=password,
            turn_ssl=is_tls,
            turn_transport="tcp" if is_stream else "udp",
        )
        return Relay(candidate, protocol)

    def add_relay(self, relay: Relay) -> str:
        """Use `relay` for this connection; `release` gives it back."""
        self.relays.append(relay)
        text = self._add(relay.candidate)
        self._ice._protocols.append(relay.protocol)
        if self._ice._early_checks_done:
            for remote in self._ice._remote_candidates:
                self._ice._pair_remote_candidate(remote)
            self._ice.sort_check_list()
        elif self._is_relay_only:
            # aiortc does not begin to connect as long as there is no local candidate.
            self._connecting = asyncio.ensure_future(self._pc._RTCPeerConnection__connect())
        return text

    def detach_relays(self) -> list[Relay]:
        """Take the relays out of what aioice closes, which would wait for them one after the other."""
        relays, self.relays = self.relays, []
        for relay in relays:
            with suppress(ValueError):
                self._ice._protocols.remove(relay.protocol)
        return relays

    @property
    def _is_relay_only(self) -> bool:
        return self._ice._transport_policy is aioice.TransportPolicy.RELAY

    def _add(self, candidate: aioice.Candidate) -> str:
        self._ice._local_candidates.append(candidate)
        return "candidate:" + candidate_to_sdp(candidate_from_aioice(candidate))


def _sections(pc: Any) -> list[Any]:
    """Transceivers and the data transport, in the order of their sections."""
    found = [(t._get_mline_index(), t) for t in pc.getTransceivers()]
    if pc.sctp is not None:
        found.append((pc._RTCPeerConnection__sctp_mline_index, pc.sctp))
    return [section for index, section in sorted(found, key=lambda f: f[0]) if index is not None]


def _first_transport(pc: Any) -> Any:
    first = _sections(pc)[0]
    dtls = first.transport if first is pc.sctp else first.receiver.transport
    return dtls.transport
