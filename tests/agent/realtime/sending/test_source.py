"""The agent's voice under a virtual clock: playing takes no time, and nothing depends on the machine."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from agent.realtime.sending.playout import FADE_SAMPLES, FRAME_SAMPLES
from agent.realtime.sending.source import AudioSource
from pipelines.audio import Pcm
from tests.agent.realtime.sending.virtual_time import Listener, tone, virtual


@virtual
async def test_pushed_audio_comes_out_whole_and_then_silence():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(1)
        await source.push(tone(100))
        await source.drained()
        await listener.heard(len(listener.frames) + 3)
        assert (listener.audio == 10_000).sum() == 4800
        assert not listener.frames[-1].any()
        assert source.played_ms == 100.0
        assert source.queued_ms == 0.0


@virtual
async def test_the_first_frame_is_immediate_and_the_rest_on_a_20_ms_grid():
    source = AudioSource()
    listener = Listener(source)
    await asyncio.sleep(0)
    async with source:
        await listener.heard(10)
        assert listener.times_s == pytest.approx(np.arange(10) * 0.02)
        assert listener.pts == list(range(0, 10 * FRAME_SAMPLES, FRAME_SAMPLES))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("chunk_ms", [1, 7, 33, 500])
def test_any_rate_and_chunk_size_keeps_the_duration_to_the_sample(rate_hz, chunk_ms):
    @virtual
    async def play():
        async with AudioSource() as source:
            listener = Listener(source)
            await listener.heard(1)
            samples = tone(500, rate_hz).samples
            step = rate_hz * chunk_ms // 1000
            for start in range(0, len(samples), step):
                await source.push(Pcm(samples[start : start + step], rate_hz))
            await source.flush()
            await source.drained()
            assert source.played_ms == pytest.approx(500, abs=0.1)

    play()


@virtual
async def test_a_change_of_rate_loses_no_tail():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(1)
        for rate_hz in (16_000, 22_050, 16_000, 48_000):
            await source.push(tone(100, rate_hz))
        await source.flush()
        await source.drained()
        assert source.played_ms == pytest.approx(400, abs=0.2)


@virtual
async def test_a_rate_nobody_has_is_refused_with_the_range():
    async with AudioSource() as source:
        with pytest.raises(ValueError, match="between 4000 and 192000, got 0"):
            await source.push(Pcm(np.zeros(10, np.int16), 0))
        await source.push(tone(20))


@virtual
async def test_push_waits_for_room_and_the_bound_holds():
    for limit_ms, at_most_ms in ((60, 80), (200, 220), (400, 440)):
        async with AudioSource(max_buffered_ms=limit_ms) as source:
            listener = Listener(source)
            await listener.heard(1)
            pushing = asyncio.create_task(source.push(tone(1000)))
            most_ms = 0.0
            while not pushing.done():
                most_ms = max(most_ms, source.queued_ms)
                await asyncio.sleep(0.001)
            assert limit_ms <= most_ms <= at_most_ms
            await source.drained()
            assert source.played_ms == 1000
        await listener.ended()


@virtual
async def test_concurrent_pushes_play_in_order():
    async with AudioSource(max_buffered_ms=60) as source:
        listener = Listener(source)
        await listener.heard(1)
        await asyncio.gather(*(source.push(tone(200, level=level)) for level in (1000, 2000, 3000)))
        await source.drained()
        audio = listener.audio[np.isin(listener.audio, (1000, 2000, 3000))]
        assert np.array_equal(audio, np.repeat([1000, 2000, 3000], 9600))


@virtual
async def test_after_clear_the_next_frame_holds_nothing_that_was_queued():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(1)
        await source.push(tone(20, level=500))
        await source.push(tone(1000, level=20_000))
        while not (listener.frames[-1] == 500).all():
            await listener.heard(len(listener.frames) + 1)
        source.clear()
        at = len(listener.frames)
        await listener.heard(at + 5)
        assert max(frame.max() for frame in listener.frames[at:]) <= 500
        assert not listener.frames[at][FADE_SAMPLES:].any()
        assert not np.concatenate(listener.frames[at + 1 :]).any()
        assert source.played_ms == 20
        assert source.queued_ms == 0


@virtual
async def test_clear_also_empties_what_waits_in_a_slow_connection():
    async with AudioSource() as source:
        track = source.new_track()
        await track.recv()
        await source.push(tone(1000))
        await asyncio.sleep(0.05)
        source.clear()
        frame = await track.recv()
        assert not frame.to_ndarray()[0][FADE_SAMPLES:].any()
        assert source.played_ms == 0


@virtual
async def test_clear_releases_suspended_pushes_and_drops_their_rest():
    async with AudioSource(max_buffered_ms=100) as source:
        listener = Listener(source)
        await listener.heard(1)
        pushes = [asyncio.create_task(source.push(tone(5000, level=level))) for level in (1000, 2000)]
        await asyncio.sleep(0.05)
        source.clear()
        await asyncio.gather(*pushes)
        assert source.queued_ms == 0
        await source.push(tone(40, level=3000))
        await source.drained()
        assert 2000 not in listener.audio
        assert (listener.audio == 3000).sum() == 1920


@virtual
async def test_no_resampled_remainder_survives_clear():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(1)
        await source.push(tone(100, 16_000, level=20_000))
        source.clear()
        at = len(listener.frames)
        await source.push(Pcm(np.zeros(1600, np.int16), 16_000))
        await source.flush()
        await source.drained()
        assert not np.concatenate(listener.frames[at:]).any()


@virtual
async def test_drained_returns_at_once_when_there_is_nothing_and_after_clear():
    async with AudioSource() as source:
        await source.drained()
        await source.push(tone(1000))
        waiting = asyncio.create_task(source.drained())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        source.clear()
        await waiting
        assert asyncio.get_running_loop().time() < 0.2


@virtual
async def test_a_stall_of_the_loop_is_not_answered_with_a_burst():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(5)
        asyncio.get_running_loop().stall(3.0)
        await listener.heard(15)
        assert np.diff(listener.times_s[6:]) == pytest.approx(np.full(len(listener.times_s) - 7, 0.02))


@virtual
async def test_close_releases_everybody_and_further_pushes_are_dropped():
    source = AudioSource(max_buffered_ms=100)
    source.start()
    listener = Listener(source)
    await listener.heard(1)
    pushing = asyncio.create_task(source.push(tone(5000)))
    draining = asyncio.create_task(source.drained())
    await asyncio.sleep(0.05)
    await source.close()
    await asyncio.gather(pushing, draining, listener.ended())
    await source.push(tone(100))
    await source.flush()
    assert source.queued_ms == 0
    await source.close()
    with pytest.raises(MediaStreamError):
        await source.new_track().recv()


@virtual
async def test_ducking_is_heard_in_the_next_frame():
    async with AudioSource() as source:
        listener = Listener(source)
        await source.push(tone(200))
        await listener.heard(2)
        source.gain_db = -12
        at = len(listener.frames)
        await listener.heard(at + 2)
        assert listener.frames[at][-1] == round(10_000 * 10 ** (-12 / 20))
        assert source.gain_db == -12
        with pytest.raises(ValueError, match="0 or less"):
            source.gain_db = 3


def test_a_bound_that_bounds_nothing_is_refused():
    with pytest.raises(ValueError, match="max_buffered_ms must be positive"):
        AudioSource(max_buffered_ms=0)


@virtual
async def test_a_pause_holds_the_sound_and_everybody_who_waits_for_it():
    async with AudioSource(max_buffered_ms=100) as source:
        listener = Listener(source)
        await listener.heard(1)
        pushing = asyncio.create_task(source.push(tone(400)))
        await asyncio.sleep(0.1)
        source.paused = True
        played_ms, at = source.played_ms, len(listener.frames)
        await listener.heard(at + 50)
        assert not np.concatenate(listener.frames[at + 2 :]).any()
        assert source.played_ms <= played_ms + 20
        assert not pushing.done()
        source.paused = False
        await pushing
        await source.drained()
        assert source.played_ms == 400


@virtual
async def test_clearing_a_paused_source_releases_everybody_and_the_next_sound_plays():
    async with AudioSource() as source:
        listener = Listener(source)
        await listener.heard(1)
        await source.push(tone(400, level=20_000))
        source.paused = True
        waiting = asyncio.create_task(source.drained())
        await asyncio.sleep(0.1)
        source.clear()
        await waiting
        await source.push(tone(100))
        await source.drained()
        assert (listener.audio == 10_000).sum() == 4800


@virtual
async def test_the_tap_gives_what_was_played_at_the_rate_of_speech():
    async with AudioSource() as source:
        played: list[np.ndarray] = []
        times_ms: list[float] = []

        def on_played(samples, at_ms):
            played.append(samples)
            times_ms.append(at_ms)

        source.on_played = on_played
        wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.int16)
        await source.push(Pcm(wave, 48_000))
        await source.drained()
        await asyncio.sleep(0.1)
        audio = np.concatenate(played)
        assert abs(len(audio) - 320 * len(played)) <= 32
        assert np.abs(audio).max() == pytest.approx(8000 / 32768, rel=0.02)
        crossings = np.flatnonzero(np.diff(np.signbit(audio[1600:14_400])))
        assert len(crossings) == pytest.approx(2 * 440 * 0.8, abs=2)
        assert times_ms == sorted(times_ms)
