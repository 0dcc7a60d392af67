"""The jitter buffer: any order of packets in, one order of sound out."""

from __future__ import annotations

import random

import pytest

from agent.realtime.receiving import jitter
from agent.realtime.receiving.jitter import JitterBuffer, Lost, Packet, Silence, Sound
from tests.agent.realtime.receiving.jitter_parts import (
    FRAME,
    RATE_HZ,
    assert_seamless,
    numbers,
    packet,
    run,
    told,
)

# ---- in order


def test_what_comes_in_order_is_released_at_once():
    buffer = JitterBuffer(RATE_HZ)
    for number in range(100):
        pieces = buffer.put(packet(number), number * 20.0)
        assert pieces == [Sound(number * FRAME, FRAME, number.to_bytes(4, "big"))]
        assert buffer.due_ms is None
    assert (buffer.counts.received, buffer.counts.held_ms, buffer.counts.lost) == (100, 0.0, 0)


def test_jitter_alone_holds_nothing_back():
    random_ms = random.Random(1)
    at_ms, buffer = 0.0, JitterBuffer(RATE_HZ)
    for number in range(200):
        at_ms = max(at_ms, number * 20 + random_ms.uniform(0, 60))
        assert len(buffer.put(packet(number), at_ms)) == 1


@pytest.mark.parametrize("first", [65_530, 65_535, 32_760])
@pytest.mark.parametrize("start", [2**32 - 5 * FRAME, 2**31 - 3 * FRAME, 17])
def test_numbers_and_time_stamps_overflow_unnoticed(first: int, start: int):
    order = [0, 1, 2, 4, 3, 5, 7, 8, 9, 10, 11, 12]
    pieces = run((15.0 * at, packet(n, first=first, start=start)) for at, n in enumerate(order))
    assert_seamless(pieces)
    assert told(pieces) == "012345+789012"


def test_a_very_long_call():
    """Numbers overflow several times; nothing grows."""
    buffer = JitterBuffer(RATE_HZ)
    for number in range(70_000):
        if number % 500 != 1:
            buffer.put(packet(number), number * 20.0)
    assert buffer.position == 70_000 * FRAME
    assert buffer.counts.lost == 140


# ---- gaps


def test_a_lost_packet_is_waited_for_and_then_told_by_its_successor():
    buffer = JitterBuffer(RATE_HZ)
    buffer.put(packet(0), 0.0)
    assert buffer.put(packet(2), 40.0) == []
    due_ms = buffer.due_ms
    assert due_ms == 40.0 + buffer.wait_ms > 40.0
    assert buffer.poll(due_ms - 0.1) == []
    assert buffer.poll(due_ms) == [
        Lost(FRAME, FRAME, packet(2).payload),
        Sound(2 * FRAME, FRAME, packet(2).payload),
    ]
    assert buffer.due_ms is None


def test_a_late_packet_is_put_where_it_belongs_while_it_is_waited_for():
    buffer = JitterBuffer(RATE_HZ)
    arrivals = [(0.0, 0), (40.0, 2), (41.0, 3), (42.0, 1), (60.0, 4)]
    assert told(run(((at, packet(n)) for at, n in arrivals), buffer)) == "01234"
    assert buffer.counts.late == buffer.counts.lost == 0
    assert buffer.counts.max_held_ms == 2.0


def test_a_packet_that_comes_after_it_was_given_up_is_dropped():
    buffer = JitterBuffer(RATE_HZ)
    arrivals = [(0.0, 0), (40.0, 2), (150.0, 1), (160.0, 3)]
    assert told(run(((at, packet(n)) for at, n in arrivals), buffer)) == "0+23"
    assert (buffer.counts.late, buffer.counts.lost, buffer.counts.duplicate) == (1, 0, 0)


def test_each_gap_has_its_own_time():
    buffer = JitterBuffer(RATE_HZ)
    buffer.put(packet(0), 0.0)
    buffer.put(packet(2), 40.0)
    buffer.put(packet(4), 50.0)
    assert told(buffer.poll(40.0 + buffer.wait_ms)) == "+2"
    assert buffer.due_ms == 50.0 + buffer.wait_ms
    assert told(buffer.poll(buffer.due_ms)) == "+4"


def test_several_lost_packets_are_made_up_to_the_last_which_is_told():
    assert told(run([(0.0, packet(0)), (80.0, packet(4))])) == "0~~+4"


def test_of_a_long_loss_only_the_beginning_and_the_end_can_be_known():
    pieces = run([(0.0, packet(0)), (400.0, packet(21))])
    assert_seamless(pieces)
    assert told(pieces) == "0" + "~" * 5 + "_" * 14 + "+1"


def test_an_outage_is_left_out_but_for_its_ends():
    buffer = JitterBuffer(RATE_HZ)
    pieces = run([(0.0, packet(0)), (4000.0, packet(200))], buffer)
    assert told(pieces) == "0~~~~~+0"
    assert [piece.at // FRAME for piece in pieces] == [0, 1, 199, 200]
    assert buffer.counts.skipped_ms == 199 * 20 - jitter.MAX_CONCEALED_MS - 20


def test_a_pause_in_which_nothing_was_sent_is_silence_as_long_as_it_was():
    """Discontinuous transmission: numbers follow one another, time stamps do not."""
    resumed = Packet(1, 2, 21 * FRAME, FRAME, b"!")
    pieces = run([(0.0, packet(0)), (20.0, packet(1)), (420.0, resumed)])
    assert pieces[2:] == [Silence(2 * FRAME, 19 * FRAME), Sound(21 * FRAME, FRAME, b"!")]


def test_what_a_sender_that_stalled_left_out_is_made_up():
    buffer = JitterBuffer(48_000)
    resumed = Packet(1, 2, 5 * FRAME, FRAME, b"!")
    pieces = run([(0.0, packet(0)), (20.0, packet(1)), (100.0, resumed)], buffer)
    assert pieces[2:] == [Lost(2 * FRAME, 3 * FRAME), Sound(5 * FRAME, FRAME, b"!")]
    assert (buffer.counts.lost_ms, buffer.counts.silent_ms) == (0, 60)


def test_with_a_pause_nobody_knows_which_end_of_it_was_lost_so_both_are_made_up():
    """The last packet before it, or the first of what is said after it, which the next one tells of."""
    buffer = JitterBuffer(RATE_HZ)
    resumed = Packet(1, 3, 12 * FRAME, FRAME, b"!")
    pieces = run([(0.0, packet(0)), (20.0, packet(1)), (240.0, resumed)], buffer)
    assert pieces[2:-1] == [
        Lost(2 * FRAME, FRAME),
        Silence(3 * FRAME, 8 * FRAME),
        Lost(11 * FRAME, FRAME, b"!"),
    ]
    assert (buffer.counts.lost_ms, buffer.counts.silent_ms) == (20, 180)


def test_the_first_packet_after_a_long_pause_is_told_by_its_successor():
    buffer = JitterBuffer(RATE_HZ)
    pieces = run([(0.0, packet(0)), (2000.0, Packet(1, 2, 100 * FRAME, FRAME, b"!"))], buffer)
    assert pieces[1:-1] == [Lost(FRAME, FRAME), Lost(99 * FRAME, FRAME, b"!")]
    assert (buffer.counts.lost_ms, buffer.counts.silent_ms, buffer.counts.skipped_ms) == (20, 20, 97 * 20)


@pytest.mark.parametrize("every", [20, 21], ids=["ours", "libopus"])
@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_pause_is_as_long_as_it_was_when_a_sign_of_life_is_lost(every: int, lost: int):
    """Nothing is sent in a pause but one packet every 400 ms or so."""
    sent = [Packet(1, number, number * every * FRAME, FRAME, bytes([number])) for number in range(6)]
    buffer = JitterBuffer(RATE_HZ)
    pieces = run(((p.timestamp / 48, p) for p in sent if p.sequence != lost), buffer)
    assert_seamless(pieces)
    assert buffer.position == (5 * every + 1) * FRAME
    assert buffer.counts.skipped_ms == 0
    assert buffer.counts.lost_ms == 20


def test_padding_takes_its_place_and_is_not_heard():
    padding = Packet(1, 1, FRAME, 0, b"")
    after = Packet(1, 2, FRAME, FRAME, b"!")
    pieces = run([(0.0, packet(0)), (20.0, padding), (20.0, after)])
    assert pieces == [Sound(0, FRAME, packet(0).payload), Sound(FRAME, FRAME, b"!")]


def test_what_cannot_be_understood_is_made_up():
    assert told(run([(0.0, packet(0)), (20.0, packet(1, ticks=0)), (40.0, packet(2))])) == "0~2"


def test_packets_of_changing_length_follow_one_another():
    arrivals, at, ticks = [], 0, [480, 960, 2880, 120, 5760, 960]
    for number, length in enumerate(ticks):
        arrivals.append((at / 48, Packet(1, number, at, length, b"!")))
        at += length
    pieces = run(arrivals)
    assert_seamless(pieces)
    assert [piece.ticks for piece in pieces] == ticks


# ---- strange numbers


def test_duplicates_are_heard_once():
    buffer = JitterBuffer(RATE_HZ)
    order = [0, 0, 1, 3, 3, 2, 2, 4, 0]
    pieces = run(((float(at), packet(n)) for at, n in enumerate(order)), buffer)
    assert told(pieces) == "01234"
    assert buffer.counts.duplicate == 4


def test_what_was_sent_before_the_first_packet_that_came_is_late():
    buffer = JitterBuffer(RATE_HZ)
    assert told(run(((float(at), packet(n, first=9)) for at, n in enumerate([1, 0, 2, 1])), buffer)) == "12"
    assert (buffer.counts.late, buffer.counts.duplicate, buffer.counts.lost) == (1, 1, 0)


def test_one_packet_with_a_number_far_away_is_refused():
    buffer = JitterBuffer(RATE_HZ)
    order = [0, 1, 20_000, 2, 3]
    assert told(run(((float(at), packet(n)) for at, n in enumerate(order)), buffer)) == "0123"
    assert buffer.counts.refused == 1


@pytest.mark.parametrize("restart", [(40_000, 123_456_789), (0, 0), (65_000, 2**31)])
def test_a_sender_that_begins_anew_is_followed_from_the_second_packet_on(restart: tuple[int, int]):
    first, start = restart
    before = [(20.0 * n, packet(n, first=5000, start=777)) for n in range(200)]
    after = [(4000.0 + 20 * n, packet(n, first=first, start=start)) for n in range(5)]
    pieces = run(before + after)
    assert_seamless(pieces)
    assert numbers(pieces) == [*range(200), 1, 2, 3, 4]


def test_a_clock_that_is_set_back_or_forth_shifts_nothing_behind_it():
    forth = [packet(n, start=10_000_000) for n in (2, 3)]
    back = [packet(n, start=500) for n in (4, 5)]
    pieces = run((20.0 * at, p) for at, p in enumerate([packet(0), packet(1), *forth, *back]))
    assert numbers(pieces) == [0, 1, 2, 3, 4, 5]
    assert_seamless(pieces[:2])
    assert_seamless(pieces[2:], start=pieces[2].at)


def test_another_source_takes_over_at_once_and_the_one_before_is_not_heard_beside_it():
    buffer = JitterBuffer(RATE_HZ)
    order = [packet(0), packet(1), packet(70, source=2), packet(2), packet(71, source=2), packet(3)]
    pieces = run(((20.0 * at, p) for at, p in enumerate(order)), buffer)
    assert_seamless(pieces)
    assert numbers(pieces) == [0, 1, 70, 71]
    assert buffer.counts.refused == 2


def test_what_was_held_back_is_heard_before_another_source_is():
    pieces = run([(0.0, packet(0)), (40.0, packet(2)), (41.0, packet(50, source=2))])
    assert told(pieces) == "0+20"


def test_a_source_that_comes_back_after_the_other_fell_silent_is_heard():
    order = [(0.0, packet(0)), (20.0, packet(0, source=2)), (2000.0, packet(1)), (2020.0, packet(2))]
    assert numbers(run(order)) == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "resumed",
    [[packet(7, source=2)], [packet(0, first=9000), packet(1, first=9000)]],
    ids=["source", "number"],
)
@pytest.mark.parametrize(
    ("pause_ms", "silent_ms", "skipped_ms"), [(50, 0, 0), (500.5, 500, 0), (900, 900, 0), (5000, 0, 5000)]
)
def test_a_pause_between_two_streams_lasts_as_long_as_nothing_came(
    resumed: list[Packet], pause_ms: float, silent_ms: float, skipped_ms: float
):
    buffer = JitterBuffer(RATE_HZ)
    # Of a new numbering it takes two packets to be followed.
    at_ms = 40 + pause_ms
    arrivals = [(0.0, packet(0)), (20.0, packet(1)), *((at_ms, each) for each in resumed)]
    pieces = run(arrivals, buffer)
    assert (buffer.counts.silent_ms, buffer.counts.skipped_ms) == (silent_ms, skipped_ms)
    assert pieces[-1].at == 2 * FRAME + (silent_ms + skipped_ms) * 48
    assert [piece for piece in pieces if isinstance(piece, Silence)] == (
        [Silence(2 * FRAME, int(silent_ms) * 48)] if silent_ms else []
    )


# ---- limits


def test_more_sound_than_time_is_refused():
    buffer = JitterBuffer(RATE_HZ)
    sound_ms = 0.0
    for number in range(5000):
        sound_ms += sum(piece.ticks for piece in buffer.put(packet(number), number * 1.0)) / 48
    assert sound_ms <= jitter.MAX_AHEAD_MS + 5000 * jitter.MAX_PACE + jitter.MAX_FILL_MS
    assert buffer.counts.refused > 0


def test_time_stamps_that_leap_make_no_more_sound_than_time():
    buffer = JitterBuffer(RATE_HZ)
    sound_ms = 0.0
    for number in range(3000):
        leaping = Packet(1, number, number * 30_000, FRAME, b"!")
        sound_ms += sum(piece.ticks for piece in buffer.put(leaping, number * 20.0)) / 48
    assert sound_ms <= jitter.MAX_AHEAD_MS + 60_000 * jitter.MAX_PACE + jitter.MAX_FILL_MS + 20


def test_a_gap_before_very_many_packets_is_given_up():
    buffer = JitterBuffer(RATE_HZ)
    buffer.put(packet(0), 0.0)
    for number in range(2, 2 + jitter.MAX_HELD_PACKETS):
        assert buffer.put(packet(number), 1.0) == []
    assert len(buffer.put(packet(2 + jitter.MAX_HELD_PACKETS), 1.0)) == jitter.MAX_HELD_PACKETS + 2


def test_flush_gives_up_all_gaps():
    buffer = JitterBuffer(RATE_HZ)
    for number in (0, 2, 4):
        buffer.put(packet(number), 0.0)
    assert told(buffer.flush(0.0)) == "+2+4"
    assert buffer.flush(0.0) == []
    assert JitterBuffer(RATE_HZ).flush(0.0) == []


def test_it_can_begin_anywhere_and_at_another_clock():
    buffer = JitterBuffer(8000, position=1234)
    pieces = [*buffer.put(Packet(1, 0, 0, 160, b"a"), 0.0), *buffer.put(Packet(1, 1, 160, 160, b"b"), 20.0)]
    assert_seamless(pieces, start=1234)
