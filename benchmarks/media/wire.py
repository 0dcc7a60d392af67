"""The packets of a call, made and taken by hand: what a caller costs is next to nothing.

What is received is not even decrypted: number and time stamp of a packet are readable, and the kernel notes
when it was sent on to us, however late this process looks.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, RtpPacket
from numpy.typing import NDArray

from agent.recording import RATE_HZ
from benchmarks.common.sound import FRAME_SAMPLES

#: Not in Python's socket module; its value on Linux.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_RTP = struct.Struct("!BBHLL")
#: Longest datagram, and room for what the kernel says about it.
MAX_BYTES, MAX_NOTE_BYTES = 2048, 64


class Arrivals:
    """Packets of the agent's voice: when the kernel had them, and their time stamps."""

    def __init__(self) -> None:
        #: Unix time.
        self.at_s = array("d")
        self.timestamps = array("L")
        #: The number of the last packet, and whose they are.
        self.sequence = 0
        self.ssrc = 0
        #: The packets themselves, encrypted, for a caller who keeps them.
        self.kept: list[bytes] | None = None

    def note(self, packet: bytes, at_s: float) -> None:
        _, _, self.sequence, timestamp, self.ssrc = _RTP.unpack_from(packet)
        self.at_s.append(at_s)
        self.timestamps.append(timestamp)
        if self.kept is not None:
            self.kept.append(packet)

    def __len__(self) -> int:
        return len(self.at_s)


def lateness_ms(
    at_s: NDArray[np.float64], timestamps: NDArray[np.int64], window_s: float
) -> NDArray[np.float64]:
    """How much later than its time stamp says each frame was sent that came within `window_s`.

    The most punctual one is on time. One that was left out is infinitely late, and so is what is missing
    to fill the window, but for the frame that may be under way at its end.
    """
    if not len(at_s):
        return np.full(1, np.inf)
    # Time stamps overflow at 32 bits.
    elapsed = (timestamps - timestamps[0] + (1 << 31)) % (1 << 32) - (1 << 31)
    late_ms = 1000 * ((at_s - at_s[0]) - elapsed / RATE_HZ)
    spanned = int(elapsed.max() - elapsed.min()) // FRAME_SAMPLES + 1
    left_out = max(spanned, int(window_s * RATE_HZ) // FRAME_SAMPLES - 1) - len(np.unique(elapsed))
    return np.concatenate((late_ms - late_ms.min(), np.full(max(0, left_out), np.inf)))


class Wire:
    """A connection of aiortc's, which must be there, taken over."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        # All private: below it there is only the network.
        self._dtls: Any = pc.getTransceivers()[0].sender.transport
        connection = self._dtls.transport._connection
        pair = connection._nominated[1]
        self._address = pair.remote_addr
        self._socket = _socket(pair.protocol)
        # The other side may send on another path than we do.
        self._ears = [(_taken_over(protocol), protocol) for protocol in connection._protocols]
        sender: Any = pc.getTransceivers()[0].sender
        self._ssrc: int = sender._ssrc
        codec = pc.getTransceivers()[0]._codecs[0]
        self._payload_type = int(codec.payloadType or 0)
        self._tail = _extensions(sender)

    def packet(self, payload: bytes, number: int) -> bytes:
        """An encrypted packet of 20 ms."""
        has_extensions = 0x10 if self._tail else 0
        header = _RTP.pack(
            0x80 | has_extensions, self._payload_type, number & 0xFFFF,
            number * FRAME_SAMPLES & 0xFFFFFFFF, self._ssrc,
        )  # fmt: skip
        data: bytes = self._dtls._tx_srtp.protect(header + self._tail + payload)
        return data

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._address)
        except OSError:
            # Full, or closed while it was under way: lost, as on any network.
            return

    def take(self, arrivals: Arrivals) -> None:
        """Everything that has come."""
        for ear, protocol in self._ears:
            while (datagram := _datagram(ear)) is not None:
                data, notes, sender = datagram
                if not 127 < data[0] < 192:
                    # ICE and DTLS go on as ever.
                    protocol.datagram_received(data, sender)
                elif not 192 <= data[1] <= 223 and notes:
                    seconds, nanoseconds = _TIMESPEC.unpack(notes[0][2])
                    arrivals.note(data, seconds + nanoseconds / 1e9)

    def opened(self, packets: Iterable[bytes]) -> Iterator[bytes]:
        """What is in encrypted packets, which have to be in their order."""
        for packet in packets:
            yield RtpPacket.parse(self._dtls._rx_srtp.unprotect(packet)).payload

    def report(self, arrivals: Arrivals) -> None:
        """Tell the agent that nothing got lost."""
        about = RtcpReceiverInfo(
            ssrc=arrivals.ssrc, fraction_lost=0, packets_lost=0, highest_sequence=arrivals.sequence,
            jitter=0, lsr=0, dlsr=0,
        )  # fmt: skip
        report = RtcpRrPacket(ssrc=self._ssrc, reports=[about])
        self.send(self._dtls._tx_srtp.protect_rtcp(bytes(report)))


def _socket(protocol: Any) -> Any:
    return protocol.transport.get_extra_info("socket")._sock


def _taken_over(protocol: Any) -> Any:
    """The socket of a path, of which nobody else is told any more."""
    taken = _socket(protocol)
    taken.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    protocol.transport._loop._remove_reader(protocol.transport._sock_fd)
    return taken


def _datagram(ear: Any) -> tuple[bytes, Any, Any] | None:
    try:
        data, notes, _, sender = ear.recvmsg(MAX_BYTES, MAX_NOTE_BYTES)
    except OSError:
        # There is nothing, or the connection is closed.
        return None
    return data, notes, sender


def _extensions(sender: Any) -> bytes:
    """The header extensions that aiortc sends with every packet."""
    packet = RtpPacket()
    packet.extensions.mid = sender._RTCRtpSender__mid
    packet.extensions.audio_level = (False, 30)
    packet.extensions.abs_send_time = 0
    return packet.serialize(sender._RTCRtpSender__rtp_header_extensions_map)[_RTP.size :]
