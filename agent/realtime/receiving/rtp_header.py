"""What is needed of the header of a packet of sound (RFC 3550, section 5.1). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

_HEADER = struct.Struct("!BBHLL")
_EXTENSION = struct.Struct("!HH")


class Rtp(Protocol):
    """A packet, parsed here or by aiortc."""

    ssrc: int
    sequence_number: int
    timestamp: int
    payload: bytes


@dataclass(slots=True)
class RtpSound:
    """A packet without what nobody reads: marks, other sources, extensions."""

    ssrc: int
    sequence_number: int
    timestamp: int
    payload: bytes


def parse(data: bytes) -> RtpSound:
    """From a decrypted packet. `ValueError` if it breaks off, or is of another version."""
    if len(data) < _HEADER.size:
        raise ValueError("an RTP packet has at least 12 bytes")
    first, _, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise ValueError("RTP of another version than 2")
    start, end = _HEADER.size + 4 * (first & 0x0F), len(data)
    if first & 0x10:
        if end < start + 4:
            raise ValueError("an RTP packet ends in its header")
        start += 4 + 4 * _EXTENSION.unpack_from(data, start)[1]
    if start > end:
        raise ValueError("an RTP packet ends in its header")
    if first & 0x20:
        padding = data[-1]
        if not padding or padding > end - start:
            raise ValueError("an RTP packet with more padding than there is")
        end -= padding
    return RtpSound(ssrc, sequence, timestamp, data[start:end])
