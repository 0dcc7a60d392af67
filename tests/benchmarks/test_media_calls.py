"""Callers made by hand hear and are heard, and what is measured of them is what was."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from agent.realtime.opus import OpusDecoder, has_fec
from benchmarks.media.agent import hub
from benchmarks.media.caller import callers
from benchmarks.media.calls import calls_with
from benchmarks.media.clicks import PERIOD_S, click_numbers, sound
from benchmarks.media.density import Climb, Look
from benchmarks.media.plot import plot
from benchmarks.media.profile import Function, place_of
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import FRAME_S, microphone, packets, speech
from benchmarks.media.wire import lateness_ms
from benchmarks.media.words import Condition, Result, Sentence, extra, judged, rates


@pytest.mark.network
@pytest.mark.parametrize("system", ["ours", "aiortc", "vendor"])
async def test_callers_hear_and_are_heard_as_told(system: SystemName) -> None:
    async with hub() as running, callers() as ticking, calls_with(system, running, ticking) as calls:
        both = await calls.add("always", microphone())
        speaker = await calls.add("none", microphone())
        listener = await calls.add("always", ())
        for caller in (both, listener):
            await caller.hears()
        for caller in (both, speaker):
            await calls.agent.ask("hears", number=caller.number)
        told = [await calls.agent.ask("heard", number=caller.number) for caller in calls.callers]
        assert 0 < told[0]["heard_ms"] <= both.said * 1000 * FRAME_S
        assert told[2]["heard_ms"] == 0
        assert not len(speaker.arrivals)
        await both.has_said(both.said + 50)
        sent = np.diff(np.array(both.arrivals.timestamps, np.int64)) % (1 << 32)
        assert set(sent.tolist()) <= {960 * frames for frames in range(1, 40)}


def test_lateness_is_against_the_most_punctual_packet() -> None:
    frames = np.arange(5)
    timestamps = ((1 << 32) - 2 * 960 + 960 * frames) % (1 << 32)
    late_s = np.array([0.003, 0.001, 0.001, 0.021, 0.002])
    late_ms = lateness_ms(1e9 + 0.02 * frames + late_s, timestamps)
    assert late_ms == pytest.approx([2, 0, 0, 20, 1], abs=0.01)
    # The second and third frame were never sent.
    sent = [0, 3, 4]
    late_ms = lateness_ms((1e9 + 0.02 * frames + late_s)[sent], timestamps[sent])
    assert late_ms == pytest.approx([1, 19, 0, np.inf, np.inf], abs=0.01)
    assert lateness_ms(np.zeros(0), np.zeros(0, np.int64)) == [np.inf]


def test_packets_tell_of_the_one_before_where_they_should() -> None:
    with_fec = packets(speech(), expected_loss=0.05)
    without = packets(speech(), fec=False, expected_loss=0.05)
    assert len(with_fec) == len(without) == len(speech()) // 960
    assert sum(map(has_fec, with_fec)) > len(with_fec) / 4
    assert not any(map(has_fec, without))


def test_clicks_are_in_their_packets() -> None:
    numbers = click_numbers(3, 0.5, seed=1)
    assert np.diff(numbers).min() >= PERIOD_S / FRAME_S
    decoder = OpusDecoder(16_000)
    peaks = [int(np.abs(decoder.decode(packet)).max()) for packet in sound(numbers)]
    # Opus is 6.5 ms late: a click's end is in the packet after it.
    loud = {number for number, peak in enumerate(peaks) if peak > 0.2 * 32_768}
    assert set(numbers) <= loud <= {number + late for number in numbers for late in (0, 1)}


def test_words_lost_are_counted_above_those_lost_anyway() -> None:
    where = [Sentence("What time is it?", 0, 1), Sentence("Stop.", 1, 2)]

    def result(loss: float, seed: int, texts: list[str]) -> Result:
        return judged(Condition(loss, True, seed), "ours", where, texts)

    clean = result(0.0, 0, ["what time is it", "top"])
    lossy = [result(0.05, 0, ["what is it", "top"]), result(0.05, 1, ["what time is it", ""])]
    assert (clean.words, clean.errors) == (5, 1)
    found = rates([clean, *lossy])
    assert found[0.05, True, "ours"] == (3, 10)
    assert extra(found, 0.05, True, "ours") == pytest.approx(3 / 10 - 1 / 5)
    assert extra(found, 0.05, True, "aiortc") is None


def test_calls_on_a_core_are_those_before_one_slips() -> None:
    looks = [
        Look(8, 2.0, 0.3, 0.1, 120 << 20),
        Look(10, 9.9, 0.4, 0.1, 140 << 20),
        Look(12, 30.0, 0.5, 0.1, 0),
    ]
    climb = Climb("ours", looks)
    assert climb.most == looks[1]
    assert climb.slipped == looks[2]
    assert climb.call_megabytes == 10
    assert Climb("ours", looks[2:]).most is None
    assert Climb("ours", looks[:1]).slipped is None


def test_a_picture_holds_every_point_within_its_frame() -> None:
    points = [(0.0, 80.0), (100.0, 97.5), (200.0, 99.9)]
    svg = ET.fromstring(plot(points, across="calls", up="MB"))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    (line,) = svg.iter("{http://www.w3.org/2000/svg}polyline")
    drawn = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(drawn) == len(points)
    assert all(0 < x < width and 0 < y < height for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    # More is higher up.
    assert [y for _, y in drawn] == sorted((y for _, y in drawn), reverse=True)


@pytest.mark.parametrize(
    ("file", "name", "place"),
    [
        ("", "<method 'poll' of 'select.epoll' objects>", "waiting for packets"),
        ("", "<method 'sendto' of '_socket.socket' objects>", "sending to the network"),
        ("/x/agent/realtime/receiving/jitter.py", "put", "room layer"),
        ("/x/agent/realtime/opus.py", "_decode", "Opus"),
        ("/x/site-packages/aiortc/rtp.py", "parse", "aiortc: RTP, RTCP, statistics"),
        ("/x/lib/python3.11/asyncio/base_events.py", "_run_once", "event loop"),
    ],
)
def test_time_is_counted_where_it_was_spent(file: str, name: str, place: str) -> None:
    assert place_of(Function(file, 1, name, 1, 0.1, 0.1)) == place
