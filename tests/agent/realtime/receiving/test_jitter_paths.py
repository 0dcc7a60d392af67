"""The jitter buffer: whatever a path does to packets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.realtime.receiving import jitter
from agent.realtime.receiving.jitter import JitterBuffer, Packet, Piece, Sound
from agent.realtime.receiving.reordering import MAX_WAIT_MS
from tests.agent.realtime.receiving.jitter_parts import FRAME, RATE_HZ, numbers, packet, polled, run

Path = st.lists(
    st.tuples(
        st.sampled_from(["comes", "comes", "comes", "comes", "lost"]),
        st.floats(0, 250),
        st.booleans(),
    ),
    min_size=2,
    max_size=60,
)


class WithoutShortcut(JitterBuffer):
    """For which no packet is the expected one."""

    def _is_expected(self, stream, packet) -> bool:
        return False


Sent = st.tuples(
    # How far on its number and its time stamp are, most often by one packet.
    st.sampled_from([1, 1, 1, 1, 1, 1, 0, 2, 3, -1, 5000]),
    st.sampled_from([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, -1.0, 1.5, 60.0]),
    st.sampled_from([960, 960, 960, 960, 480, 0]),
    st.sampled_from([1, 1, 1, 1, 1, 2]),
    st.sampled_from([20.0, 20.0, 20.0, 0.0, 90.0, 300.0]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(Sent, min_size=2, max_size=40), st.integers(65_500, 65_535), st.integers(2**32 - 9600, 2**32))
def test_packets_that_follow_on_come_to_the_same_with_and_without_the_shortcut(sent, number: int, at: int):
    now_ms, arrivals = 0.0, []
    for further, later, ticks, source, after_ms in sent:
        number, at, now_ms = number + further, at + int(later * FRAME), now_ms + after_ms
        payload = len(arrivals).to_bytes(4, "big")
        arrivals.append((now_ms, Packet(source, number & 0xFFFF, at & 0xFFFFFFFF, ticks, payload)))
    short, long = JitterBuffer(RATE_HZ), WithoutShortcut(RATE_HZ)
    assert run(arrivals, short) == run(arrivals, long)
    assert short.counts == long.counts
    assert short.position == long.position
    assert short._stream == long._stream


@settings(max_examples=100, deadline=None)
@given(Path, st.integers(0, 65_535), st.integers(0, 2**32 - 1))
def test_whatever_a_path_does_the_sound_is_in_order_and_lasts_as_long(fates, first: int, start: int):
    """Lost, late, reordered, doubled, wrapped: each packet at most once, in order; no time is gone."""
    arrivals = []
    for number, (fate, delay_ms, twice) in enumerate(fates):
        if number in (0, len(fates) - 1) or fate == "comes":
            sent = packet(number, first=first, start=start)
            # The first packet is the measure of all others.
            at_ms = number * 20.0 + delay_ms if number else 0.0
            arrivals += [(at_ms, sent), (at_ms + 7, sent)] if twice else [(at_ms, sent)]
    arrivals.sort(key=lambda arrival: arrival[0])
    buffer = JitterBuffer(RATE_HZ)
    held_at_most = 0
    pieces: list[Piece] = []
    for at_ms, arrived in arrivals:
        pieces += polled(buffer, at_ms)
        pieces += buffer.put(arrived, at_ms)
        held_at_most = max(held_at_most, len(buffer._stream.held))
        assert len(buffer._stream.missing) <= jitter.MAX_MISSING_PACKETS
    pieces += polled(buffer, float("inf"))
    heard = numbers(pieces)
    assert all(sooner < later for sooner, later in pairwise(heard))
    for piece in pieces:
        if isinstance(piece, Sound):
            assert piece.at == int.from_bytes(piece.payload, "big") * FRAME
    ends = [piece.at + piece.ticks for piece in pieces]
    assert all(end <= piece.at for end, piece in zip(ends, pieces[1:], strict=False))
    skipped = buffer.counts.skipped_ms * 48
    assert sum(piece.ticks for piece in pieces) + skipped == pytest.approx(ends[-1])
    assert held_at_most <= jitter.MAX_HELD_PACKETS + 1
    counts = buffer.counts
    assert counts.received == len(arrivals)
    assert counts.received == len(heard) + counts.late + counts.duplicate + counts.refused
    assert counts.max_held_ms <= MAX_WAIT_MS


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, 65_535),
            st.integers(0, 2**32 - 1),
            st.sampled_from([0, 120, 960]),
            st.floats(0, 100),
        ),
        max_size=40,
    ),
)
def test_no_numbers_at_all_break_it(strange):
    buffer = JitterBuffer(RATE_HZ)
    at_ms, position = 0.0, 0
    for source, sequence, timestamp, ticks, later_ms in strange:
        at_ms += later_ms
        pieces = polled(buffer, at_ms)
        for piece in pieces + buffer.put(Packet(source, sequence, timestamp, ticks, b"!"), at_ms):
            assert piece.at >= position
            assert piece.ticks > 0
            position = piece.at + piece.ticks
        assert buffer.due_ms is None or buffer.due_ms <= at_ms + MAX_WAIT_MS
