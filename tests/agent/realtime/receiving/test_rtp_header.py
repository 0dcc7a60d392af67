"""The short way to read a packet comes to the same as aiortc's."""

from __future__ import annotations

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.receiving.rtp_header import parse

#: Headers of all kinds, most of them of the right version, before all kinds of bytes.
Packets = st.tuples(
    st.one_of(st.integers(128, 191), st.integers(0, 255)),
    st.integers(0, 127),
    st.binary(min_size=10, max_size=10),
    st.one_of(st.binary(max_size=80), st.just(b"\xbe\xde\x00\x01\x10\xaa\x00\x00sound\x00\x00\x03")),
).map(lambda parts: bytes(parts[:2]) + parts[2] + parts[3])


@given(st.one_of(Packets, st.binary(max_size=20)))
def test_it_is_read_and_refused_as_by_aiortc(data):
    try:
        expected = RtpPacket.parse(data)
    except ValueError:
        with pytest.raises(ValueError, match="RTP"):
            parse(data)
        return
    got = parse(data)
    assert (got.ssrc, got.sequence_number, got.timestamp, got.payload) == (
        expected.ssrc,
        expected.sequence_number,
        expected.timestamp,
        expected.payload,
    )
