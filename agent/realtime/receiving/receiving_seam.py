"""Every reach into the private parts of aiortc's receivers of sound but those in `source_seam`.

Checked with aiortc 1.16 and aioice 0.13; tests/agent/realtime/receiving/test_receiving_seam.py guards it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pylibsrtp
from aiortc import clock, rtp
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from prometheus_client import Counter

from agent.realtime.receiving.audio_arrival import AudioArrival
from agent.realtime.receiving.received_audio import ReceivedAudio
from agent.realtime.receiving.rtp_header import RtpSound, parse
from agent.realtime.receiving.source_seam import Sources

REFUSED = Counter(
    "voice_agent_received_packets_refused_total",
    "Packets dropped before anything was made of them: empty, too long, come twice, not to be decrypted, "
    "with a broken header",
)

#: What pylibsrtp decrypts; networks carry no longer ones in one piece.
MAX_SRTP_BYTES = 1500

#: What is made ready for each datagram, longer than any that is of use. asyncio's 256 kB are a piece of
#: memory that has to be got from the system and given back for each of them.
MAX_DATAGRAM_BYTES = 4096


class Ears:
    """Takes the place of the jitter buffer, the decoder thread and the track of a receiver of sound.

    aiortc's buffer holds back four packets for a loudspeaker that must never run dry, 80 ms in which the
    agent could have begun to think. After one lost packet it jams, and it is 300 ms for the rest of the call;
    nothing is put in the place of what was lost; and every track has a thread. What aiortc keeps:
    statistics, reports to the sender.
    """

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self.track = ReceivedAudio(receiver.track.id)
        self.arrival = AudioArrival(self.track)
        receiver._track = self.track
        receiver._RTCRtpReceiver__jitter_buffer = self
        receiver._RTCRtpReceiver__stop_decoder = self.arrival.end
        receiver.receive = self._receive

    def add(self, packet: rtp.RtpPacket) -> tuple[bool, None]:
        """As aiortc's buffer: whether a whole picture is wanted, and a frame for the decoder thread."""
        codec = self._receiver._RTCRtpReceiver__codecs[packet.payload_type]
        self.arrival.packet(packet, codec)
        return False, None

    def hear(self, sound: RtpSound, payload_type: int) -> None:
        """A packet that the receiver has not seen: with it goes what it keeps about sources of sound."""
        receiver = self._receiver
        if not receiver._enabled:
            return
        codec = receiver._RTCRtpReceiver__codecs[payload_type]
        receiver._RTCRtpReceiver__active_ssrc[sound.ssrc] = clock.current_datetime()
        statistics = receiver._RTCRtpReceiver__remote_streams.get(sound.ssrc)
        if statistics is None:
            statistics = StreamStatistics(codec.clockRate)
            receiver._RTCRtpReceiver__remote_streams[sound.ssrc] = statistics
        statistics.add(sound)
        self.arrival.packet(sound, codec)

    async def _receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """As aiortc's, without the decoder thread; and what a later description announces is heard, too."""
        receiver = self._receiver
        sources = Sources.of(receiver.transport)
        if receiver._RTCRtpReceiver__started:
            for source in {encoding.ssrc for encoding in parameters.encodings}:
                sources.assign(source, receiver)
            return
        for codec in parameters.codecs:
            receiver._RTCRtpReceiver__codecs[codec.payloadType] = codec
        receiver.transport._register_rtp_receiver(receiver, parameters)
        _Shortcut.through(receiver.transport)
        receiver._RTCRtpReceiver__rtcp_task = asyncio.ensure_future(receiver._run_rtcp())
        receiver._RTCRtpReceiver__started = True


def arrival_of(receiver: Any) -> AudioArrival:
    """Of a receiver that has `Ears`."""
    ears: Ears = receiver._RTCRtpReceiver__jitter_buffer
    return ears.arrival


class _Shortcut:
    """The way of packets of sound from the socket to their `Ears`, without a stop.

    aiortc puts whatever comes into a queue, from which a task fetches it: one more turn of the event loop for
    each packet. It still gets all the rest that way: handshakes, data, reports, pictures, sources it has not
    assigned to a receiver yet, and whatever comes while there is something in the queue, so that the order is
    kept. What counts of what it does to a packet of sound is done here in the same way and by the same means:
    counting, decryption, and the statistics that reports are made from. The rest is for pictures (estimates
    of the bit rate, requests to send again) or for header extensions, which nobody reads.
    """

    def __init__(self, dtls: Any, connection: Any) -> None:
        self._dtls = dtls
        self._queue: asyncio.Queue[Any] = connection._queue
        self._enqueue = connection.data_received
        connection.data_received = self._received
        for protocol in connection._protocols:
            # A relay's is no transport of asyncio's.
            if hasattr(protocol.transport, "max_size"):
                protocol.transport.max_size = MAX_DATAGRAM_BYTES

    @classmethod
    def through(cls, dtls: Any) -> None:
        """Make one for a transport that has none."""
        connection = dtls.transport._connection
        if not isinstance(getattr(connection.data_received, "__self__", None), cls):
            cls(dtls, connection)

    def _received(self, data: bytes, component: int) -> None:
        if not data or (len(data) > MAX_SRTP_BYTES and 127 < data[0] < 192):
            # Either would end aiortc's task, and with it the connection.
            REFUSED.inc()
            return
        ears = self._ears_of(data)
        if ears is None:
            self._enqueue(data, component)
            return
        dtls = self._dtls
        dtls._RTCDtlsTransport__rx_bytes += len(data)
        dtls._RTCDtlsTransport__rx_packets += 1
        try:
            sound = parse(dtls._rx_srtp.unprotect(data))
        except (pylibsrtp.Error, ValueError):
            REFUSED.inc()
            return
        ears.hear(sound, data[1] & 0x7F)

    def _ears_of(self, data: bytes) -> Ears | None:
        """Those that `data` can be handed to at once; None if there are none."""
        dtls: Any = self._dtls
        if not 127 < data[0] < 192 or len(data) < rtp.RTP_HEADER_LENGTH or rtp.is_rtcp(data):
            return None
        if dtls._state is not State.CONNECTED or not self._queue.empty():
            return None
        router = dtls._rtp_router
        receiver = router.ssrc_table.get(int.from_bytes(data[8:12], "big"))
        if receiver is None or receiver not in router.payload_type_table.get(data[1] & 0x7F, ()):
            return None
        ears = receiver._RTCRtpReceiver__jitter_buffer
        return ears if isinstance(ears, Ears) else None
