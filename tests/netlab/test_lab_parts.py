"""What the lab measures with is right itself: ears, tones and the fate of packets."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest

from tests.netlab import tones
from tests.netlab.hearing import Heard
from tests.netlab.path import TCP, UDP, Conditions, Fate, endpoints


def said(start_s: float, end_s: float) -> list[tuple[float, int]]:
    """Everything that is said in that time, block by block."""
    return [(n / 50, n // 5 % 20) for n in range(round(start_s * 50), round(end_s * 50))]


def test_what_is_heard_and_what_is_missed():
    heard = Heard()
    heard.add(said(0, 2) + said(5, 7))
    assert heard.heard_ms(0, 7) == 4000
    assert heard.missed_ms(0, 7) == 3000
    assert heard.longest_gap_s(0, 7) == pytest.approx(3.02)
    assert heard.back_s(3) == 5
    assert heard.back_s(6.9) is None


def test_a_tone_that_is_drawn_out_to_fill_a_hole_counts_once():
    heard = Heard()
    heard.add([*said(0, 0.1), *((n / 50, 0) for n in range(5, 20))])
    assert heard.heard_ms(0, 1) == tones.TONE_MS


def test_sound_is_back_when_the_last_gap_has_ended():
    heard = Heard()
    heard.add(said(0, 2) + said(3, 4) + said(6, 8))
    # Gaps that were over before do not count, one that was under way does.
    assert heard.gap_ends_s(2.5, 4) == 3
    assert heard.gap_ends_s(3.5, 8) == 6
    assert heard.gap_ends_s(7, 8) == 7
    # One that goes on has not ended.
    assert heard.gap_ends_s(7, 10) == 10


def test_every_tone_is_known_from_any_20_ms_of_it():
    cycle = tones.cycle().astype(np.float64)
    block = tones.RATE_HZ * tones.BLOCK_MS // 1000
    found = [tones.which(cycle[start : start + block]) for start in range(0, len(cycle), block)]
    assert found == [n // 5 for n in range(100)]


@pytest.mark.parametrize("level", [0, 100, 8000])
def test_noise_is_no_tone(level: int):
    noise = np.random.default_rng(1).normal(0, level, tones.RATE_HZ * tones.BLOCK_MS // 1000)
    assert tones.which(noise) is None


@pytest.mark.parametrize("burst_ms", [0, 80])
def test_as_much_is_lost_as_was_asked_for(burst_ms: float):
    fate, conditions = Fate(1), Conditions(loss=0.2, burst_ms=burst_ms)
    lost = [fate.is_lost(conditions, 100 + n / 50) for n in range(50_000)]
    assert sum(lost) / len(lost) == pytest.approx(0.2, rel=0.1)
    runs = sum(is_lost and not before for before, is_lost in zip([False, *lost], lost, strict=False))
    # One by one a run is 1.25 packets on average; bursts of 80 ms are four packets and more.
    assert (sum(lost) / runs > 3) == bool(burst_ms)


def test_no_packet_overtakes_another():
    fate, conditions = Fate(1), Conditions(delay_ms=40, jitter_ms=60)
    due_s = [fate.due_s(conditions, n / 50) for n in range(1000)]
    assert due_s == sorted(due_s)
    assert all(due - n / 50 >= 0.04 for n, due in enumerate(due_s))


@pytest.mark.parametrize("protocol", [UDP, TCP])
def test_a_packet_is_known_by_both_its_ends(protocol: int):
    header = struct.pack("!9xB2x4s4s", protocol, socket.inet_aton("10.99.0.1"), socket.inet_aton("10.99.0.2"))
    packet = b"\x45" + header[1:] + struct.pack("!HH4x", 3478, 50_000)
    assert endpoints(packet) == (protocol, {(protocol, "10.99.0.1", 3478), (protocol, "10.99.0.2", 50_000)})
