"""Callers made by hand hear and are heard, and what is measured of them is what was."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from agent.realtime.opus import OpusDecoder, has_fec
from benchmarks.media import clicks, cpu, density, setups, soak
from benchmarks.media.agent import hub
from benchmarks.media.caller import callers
from benchmarks.media.calls import calls_with
from benchmarks.media.clicks import PERIOD_S, click_numbers, sound
from benchmarks.media.density import Climb, Look
from benchmarks.media.holdings import Holdings
from benchmarks.media.part import Plan
from benchmarks.media.plot import plot
from benchmarks.media.profile import Function, place_of
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import FRAME_S, microphone, packets, speech
from benchmarks.media.window import Flow, Window, missing, watched
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
        flows = (await watched(calls, 1.0)).flows
        assert [flow.late_ms == 0 for flow in flows] == [False, True, False]
        for flow, there in zip(flows, ((1, 1, 1), (1, 1, 0), (0, 0, 1)), strict=True):
            assert [share is not None for share in (flow.said, flow.heard, flow.came)] == list(
                map(bool, there)
            )
        sent = np.diff(np.array(both.arrivals.timestamps, np.int64)) % (1 << 32)
        assert set(sent.tolist()) <= {960 * frames for frames in range(1, 40)}


def test_lateness_is_against_the_most_punctual_packet() -> None:
    frames = np.arange(5)
    timestamps = ((1 << 32) - 2 * 960 + 960 * frames) % (1 << 32)
    late_s = np.array([0.003, 0.001, 0.001, 0.021, 0.002])
    late_ms = lateness_ms(1e9 + 0.02 * frames + late_s, timestamps, 0.1)
    assert late_ms == pytest.approx([2, 0, 0, 20, 1], abs=0.01)
    # The second and third frame were never sent.
    sent = [0, 3, 4]
    late_ms = lateness_ms((1e9 + 0.02 * frames + late_s)[sent], timestamps[sent], 0.1)
    assert late_ms == pytest.approx([1, 19, 0, np.inf, np.inf], abs=0.01)
    assert lateness_ms(np.zeros(0), np.zeros(0, np.int64), 0.1) == [np.inf]


def test_who_stops_sending_within_a_window_is_late() -> None:
    frames = np.arange(200)
    at_s, timestamps = 1e9 + 0.02 * frames, 960 * frames
    assert np.isfinite(lateness_ms(at_s, timestamps, 4.0)).all()
    assert np.count_nonzero(np.isinf(lateness_ms(at_s, timestamps, 10.0))) == 299


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


def test_sound_that_is_missing_makes_a_window_unfit() -> None:
    assert missing([Flow(1.0, 0.99, 1.0), Flow(None, None, 1.01), Flow(0.99, 1.0, None)]) is None
    for flow, what in (
        (Flow(0.9, 0.9, 1.0), "90.0 % of the time was said by a caller"),
        (Flow(1.0, 0.08, 1.0), "8.0 % of the time was heard by the agent's side"),
        (Flow(1.0, 1.0, 0.0), "0.0 % of the time was received by a caller"),
    ):
        assert what in (missing([Flow(1.0, 1.0, 1.0), flow]) or "")


def look(
    calls: int, late_ms: float = 2.0, *, callers: float = 0.1, said: float = 1.0, heard: float = 1.0
) -> Look:
    return Look(calls, late_ms, 0.3, callers, (40 + 10 * calls) << 20, said, heard)


def test_calls_on_a_core_are_those_before_one_slips() -> None:
    looks = [look(8), look(10, 9.9), look(12, 30.0)]
    climb = Climb("ours", looks)
    assert climb.most == looks[1]
    assert climb.slipped == looks[2]
    assert climb.call_megabytes == 10
    assert Climb("ours", looks[2:]).most is None
    assert Climb("ours", looks[:1]).slipped is None


def test_a_call_that_is_not_heard_is_not_kept() -> None:
    deaf = look(10, heard=0.97)
    climb = Climb("ours", [look(8), deaf])
    assert (climb.most, climb.slipped) == (look(8), deaf)
    # Against what was said, not against what should have been.
    window = Window(0.5, 0.5, 0, [Flow(0.99, 0.985, 1.0, 3.0), Flow(1.0, 0.99, 1.0, 5.0)])
    assert Look.of(window) == Look(2, 5.0, 0.5, 0.5, 0, 0.99, pytest.approx(0.99))
    assert Look.of(window).is_kept


def test_callers_who_are_too_busy_prove_nothing_about_who_they_call() -> None:
    busy = Climb("ours", [look(8), look(10, 30.0, callers=0.95)])
    assert (busy.most, busy.slipped) == (look(8), None)
    kept = Climb("ours", [look(8), look(10, callers=0.95)])
    assert kept.most == look(10, callers=0.95)
    # Ten callers who leave packets out are not ten calls.
    left_out = Climb("ours", [look(8), look(10, said=0.9)])
    assert (left_out.most, left_out.slipped) == (look(8), None)
    assert density.row("ours", [busy, busy])[1] == "at least 8 (8, 8), limited by the callers"
    plain = Climb("aiortc", [look(8), look(10, 30.0)])
    twice = Climb("ours", [look(16), look(18, 30.0)])
    (line,) = density.bars([("ours", [twice]), ("aiortc", [plain])])
    assert line.endswith("2 >= 2 ok")
    # Nobody knows how many that would have been.
    (line,) = density.bars([("ours", [twice]), ("aiortc", [busy])])
    assert line.endswith("- >= 2 short")


def test_what_costs_nothing_was_not_measured() -> None:
    results = [cpu.Result(cpu.THE_LOAD, "ours", [0.0]), cpu.Result(cpu.THE_LOAD, "aiortc", [0.4])]
    assert all(line.endswith("short") for line in cpu.bars(results))


def test_clicks_that_are_not_heard_miss_a_bar() -> None:
    def lines(heard: int) -> list[str]:
        return list(
            clicks.bars(
                [
                    clicks.Result(path, system, 4, 200, [1.0 if system == "ours" else 81.0] * heard, 1.0)
                    for path in (clicks.CLEAN, clicks.BURST)
                    for system in ("ours", "aiortc")
                ]
            )
        )

    assert all(line.endswith("ok") for line in lines(196))
    assert [line.endswith("ok") for line in lines(195)] == [True, False, False, True]


def test_a_packet_that_takes_long_is_overtaken() -> None:
    path = clicks.Path((), clicks.PATHS["30 ms jitter"], range(0), seed=1)
    delays_s = [path.delay_s() for _ in range(4000)]
    assert 0 <= min(delays_s) < 0.001
    assert 0.029 < max(delays_s) <= 0.03
    overtaken = sum(first > second + FRAME_S for first, second in itertools.pairwise(delays_s))
    assert overtaken / 4000 == pytest.approx(1 / clicks.OVERTAKEN, rel=0.2)


def test_memory_that_calls_leave_behind_misses_a_bar() -> None:
    def memory_is_flat(kilobytes: float) -> bool:
        # A pool that grows once says nothing.
        held = [
            Holdings(int(1e8 + 1000 * kilobytes * calls + 2e5 * (calls % 20 == 0)), 5, 20, 9)
            for calls in range(0, 205, 5)
        ]
        counts = [soak.Count(5 * number, each) for number, each in enumerate(held)]
        memory, *others = soak.bars(counts, 50)
        assert all(line.endswith("ok") for line in others)
        return memory.endswith("ok")

    assert memory_is_flat(2.0)
    assert not memory_is_flat(53.0)


def test_who_never_hears_misses_a_bar() -> None:
    spoke_s = [1.0] * 28
    assert all(line.endswith("ok") for line in setups.bars([setups.Result("ours", 28, spoke_s, spoke_s)]))
    deaf = list(setups.bars([setups.Result("ours", 28, spoke_s, spoke_s[:27])]))
    assert [line.endswith("ok") for line in deaf] == [True, True, False, True]


def test_every_round_begins_with_another_system() -> None:
    plan = Plan(False, ("ours", "aiortc", "vendor"), Console())
    assert [plan.systems_in(number)[0] for number in range(4)] == ["ours", "aiortc", "vendor", "ours"]
    assert all(set(plan.systems_in(number)) == set(plan.systems) for number in range(4))


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
