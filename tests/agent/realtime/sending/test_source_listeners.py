"""Who hears the agent's voice, and what one of them is to the others: under a virtual clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from agent.realtime.sending.fanout import MAX_TRACK_FRAMES
from agent.realtime.sending.source import AudioSource
from tests.agent.realtime.sending.virtual_time import Fed, Listener, tone, virtual


@virtual
async def test_what_nobody_hears_passes_by_and_does_not_count():
    async with AudioSource() as source:
        source.new_track()
        await source.push(tone(300))
        await source.drained()
        assert asyncio.get_running_loop().time() == pytest.approx(0.3, abs=0.021)
        assert source.played_ms == 0


@virtual
async def test_a_late_joiner_hears_only_the_present():
    async with AudioSource() as source:
        early, late_track = Listener(source), source.new_track()
        await early.heard(1)
        await source.push(tone(400, level=1000))
        await source.push(tone(400, level=2000))
        await asyncio.sleep(0.6)
        first = (await late_track.recv()).to_ndarray()[0]
        assert (first == 2000).all()


@virtual
async def test_several_listeners_hear_the_same_and_count_once():
    async with AudioSource() as source:
        listeners = [Listener(source) for _ in range(3)]
        await listeners[0].heard(1)
        await source.push(tone(200))
        await source.drained()
        assert [int((x.audio == 10_000).sum()) for x in listeners] == [9600] * 3
        assert source.played_ms == 200


@virtual
async def test_a_slow_connection_loses_the_oldest_and_disturbs_nobody():
    async with AudioSource() as source:
        listener, slow = Listener(source), source.new_track()
        await slow.recv()
        await listener.heard(1)
        for level in range(1, 51):
            await source.push(tone(20, level=level))
        await source.drained()
        behind = [(await slow.recv()).to_ndarray()[0][0] for _ in range(MAX_TRACK_FRAMES)]
        assert behind == list(range(51 - MAX_TRACK_FRAMES, 51))
        assert sorted(set(listener.audio) - {0}) == list(range(1, 51))
        assert source.played_ms == 1000


@virtual
async def test_stopping_one_track_wakes_its_reader_and_leaves_the_others():
    async with AudioSource() as source:
        stopped, other = Listener(source), Listener(source)
        await other.heard(2)
        stopped.track.stop()
        await stopped.ended()
        with pytest.raises(MediaStreamError):
            await stopped.track.recv()
        await source.push(tone(100))
        await source.drained()
        assert (other.audio == 10_000).sum() == 4800
        assert source.played_ms == 100


@virtual
async def test_a_stopped_track_does_not_hold_up_drained():
    async with AudioSource() as source:
        track = source.new_track()
        await track.recv()
        await source.push(tone(40))
        waiting = asyncio.create_task(source.drained())
        await asyncio.sleep(0.1)
        assert not waiting.done(), "40 ms still wait for the one connection there is"
        track.stop()
        await waiting
        assert source.played_ms == 0


@virtual
async def test_who_is_fed_gets_each_frame_when_it_is_due_and_nothing_waits():
    async with AudioSource() as source:
        fed = Fed(source)
        await source.push(tone(200))
        while len(fed.sounds) < 5:
            await asyncio.sleep(0.001)
            assert source.queued_ms + source.played_ms == 200
        source.gain_db = -12
        await source.drained()
        assert source.played_ms == 200
        assert fed.times_s == pytest.approx(np.arange(len(fed.sounds)) * 0.02)
        assert fed.sounds[5].samples[-1] == round(10_000 * 10 ** (-12 / 20))
        fed.track.stop()
        count = len(fed.sounds)
        await asyncio.sleep(0.1)
        assert len(fed.sounds) == count


@virtual
async def test_what_did_not_go_out_does_not_count_unless_it_did_elsewhere():
    async with AudioSource() as source:
        Fed(source, goes_out=False)
        await source.push(tone(100))
        await source.drained()
        assert source.played_ms == 0
        Fed(source)
        Listener(source)
        await source.push(tone(100))
        await source.drained()
        assert source.played_ms == 100


@virtual
async def test_after_a_stall_the_sound_is_at_its_time_again_and_nothing_of_it_is_lost():
    async with AudioSource() as source:
        fed, played = Fed(source), []
        source.on_played = lambda samples, _: played.append(len(samples))
        await source.push(tone(1000))
        await asyncio.sleep(0.2)
        asyncio.get_running_loop().stall(0.777)
        await source.drained()
        assert source.played_ms == 1000
        assert np.concatenate([sound.samples for sound in fed.sounds]).astype(bool).sum() == 48_000
        late_s = np.array(fed.times_s) - np.array([sound.at for sound in fed.sounds]) / 48_000
        assert late_s.min() > -0.001
        assert late_s.max() < 0.02
        assert sum(played) / 16_000 == pytest.approx(fed.sounds[-1].at / 48_000 + 0.02, abs=0.002)


@virtual
async def test_it_is_known_what_the_sound_was_made_at():
    async with AudioSource() as source:
        fed = Fed(source)
        rates_hz = []
        for rate_hz in (48_000, 16_000, 22_050, 16_000):
            await source.push(tone(60, rate_hz))
            rates_hz.append(fed.track._fanout.content_rate_hz)
        await source.flush()
        await source.drained()
        await source.push(tone(60, 16_000))
        rates_hz.append(fed.track._fanout.content_rate_hz)
        assert rates_hz == [48_000, 48_000, 48_000, 48_000, 16_000]
