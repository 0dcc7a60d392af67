"""The track of what another peer says: decoded as it is read."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from aiortc.codecs import CODECS, get_encoder
from aiortc.mediastreams import MediaStreamError

from agent.realtime.receiving.decoding import AUDIO_SECONDS, MALFORMED, packet_ticks
from agent.realtime.receiving.jitter import MAX_AHEAD_MS, Lost, Silence, Sound
from agent.realtime.receiving.receive import iter_audio, iter_speech
from agent.realtime.receiving.received_audio import (
    DROPPED_FRAMES,
    MAX_PIECES_IN_A_ROW,
    MAX_WAITING_MS,
    ReceivedAudio,
)
from tests.agent.realtime.connections.test_aiortc_seam import audio_frame
from tests.agent.realtime.opus_parts import FRAME, WITH_FEC, packets, voice

OPUS, G722, PCMU, _ = CODECS["audio"]


def sounds(payloads: list[bytes]) -> list[Sound]:
    return [Sound(number * FRAME, FRAME, payload) for number, payload in enumerate(payloads)]


def ended_track(pieces: list, codec=OPUS) -> ReceivedAudio:
    track = ReceivedAudio("voice")
    track.take(pieces, codec)
    track.end()
    return track


async def everything(track: ReceivedAudio, rate_hz: int) -> np.ndarray:
    parts = []
    with suppress(MediaStreamError):
        while True:
            parts.append(await track.read(rate_hz))
    return np.concatenate(parts)


async def test_frames_have_their_place_in_time():
    track = ended_track(sounds(packets(voice(0.2))))
    frames = [await track.recv() for _ in range(10)]
    assert [frame.pts for frame in frames] == [number * FRAME for number in range(10)]
    assert {(frame.samples, frame.sample_rate, frame.layout.name) for frame in frames} == {
        (960, 48_000, "mono")
    }
    assert track.readyState == "live"
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert track.readyState == "ended"


async def test_what_is_missing_keeps_its_length_and_comes_in_frames():
    before, after = packets(voice(0.4), options=WITH_FEC)[:2]
    pieces = [
        Sound(0, FRAME, before),
        Lost(FRAME, 3 * FRAME + 7),
        Silence(4 * FRAME + 7, 5 * FRAME - 7),
        Lost(9 * FRAME, FRAME, after),
        Sound(10 * FRAME, FRAME, after),
    ]
    frames = ended_track(pieces)
    lengths = [(await frames.recv()).samples for _ in range(12)]
    assert (sum(lengths), max(lengths)) == (11 * FRAME, FRAME)
    assert len(await everything(ended_track(pieces), 48_000)) == 11 * FRAME
    blocks = [block async for block in iter_speech(ended_track(pieces))]
    assert len(blocks) == 10
    assert not np.concatenate(blocks)[5 * 320 : 8 * 320].any()


async def test_recognisers_get_their_rate_without_a_detour():
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)).astype(np.int16)
    payloads = packets(tone)
    for rate_hz in (16_000, 44_100):
        blocks = [b async for b in iter_audio(ended_track(sounds(payloads)), rate_hz=rate_hz)]
        assert {block.shape for block in blocks} == {(rate_hz // 50,)}
        assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
        assert len(blocks) in (len(payloads), len(payloads) - 1)
        sound = np.concatenate(blocks)
        assert np.argmax(np.abs(np.fft.rfft(sound))) * rate_hz / len(sound) == pytest.approx(440, abs=3)
        assert np.abs(sound[rate_hz // 10 :]).max() == pytest.approx(8000 / 32_768, rel=0.2)


async def test_nobody_has_to_read_and_a_second_is_kept():
    track = ReceivedAudio("voice")
    dropped = DROPPED_FRAMES._value.get()
    for piece in sounds([b"\x48" + bytes(20)] * 200):
        track.take([piece], OPUS)
    assert DROPPED_FRAMES._value.get() == dropped + 150
    track.end()
    assert (await track.recv()).pts == 150 * FRAME
    assert len(await everything(track, 16_000)) == 16 * MAX_WAITING_MS - 320


async def test_a_reader_that_waits_gets_all_that_comes_at_once_after_a_stall():
    track, heard = ReceivedAudio("voice"), []
    pieces = sounds([b"\x48" + bytes(20)] * 1000)

    async def listen() -> None:
        with suppress(MediaStreamError):
            while True:
                heard.append((await track.recv()).pts // FRAME)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    dropped = DROPPED_FRAMES._value.get()
    most = int(MAX_AHEAD_MS / 20)
    for piece in pieces[: most + 10]:
        track.take([piece], OPUS)
    assert DROPPED_FRAMES._value.get() == dropped + 10
    while len(heard) < MAX_PIECES_IN_A_ROW:
        await asyncio.sleep(0)
    assert len(heard) < most, "others have their turn"
    for piece in pieces[most + 10 : most + 20]:
        track.take([piece], OPUS)
    track.end()
    await listening
    assert heard == list(range(10, most + 20))


async def test_of_what_nobody_reads_any_more_a_second_is_kept(monkeypatch: pytest.MonkeyPatch):
    track, now = ReceivedAudio("voice"), time.monotonic
    track.take(sounds([b"\x48" + bytes(20)]), OPUS)
    await track.recv()
    pieces = sounds([b"\x48" + bytes(20)] * 200)
    track.take(pieces[:100], OPUS)
    monkeypatch.setattr(time, "monotonic", lambda: now() + MAX_WAITING_MS / 1000)
    track.take(pieces[100:101], OPUS)
    assert (await track.recv()).pts == 51 * FRAME


async def test_a_reader_waits_for_sound_and_ends_with_the_track():
    track = ReceivedAudio("voice")
    one, other = (asyncio.create_task(track.recv()) for _ in range(2))
    await asyncio.sleep(0)
    track.take(sounds(packets(voice(0.02))), OPUS)
    assert (await asyncio.wait_for(one, 5)).samples == FRAME
    track.end()
    with pytest.raises(MediaStreamError):
        await other


async def test_readers_get_what_comes_in_turn():
    track = ReceivedAudio("voice")
    heard: list[list[int]] = [[], []]

    async def read(places: list[int]) -> None:
        with suppress(MediaStreamError):
            while True:
                places.append((await track.recv()).pts)

    readers = [asyncio.create_task(read(places)) for places in heard]
    for piece in sounds(packets(voice(0.2))):
        for _ in range(10):
            await asyncio.sleep(0)
        track.take([piece], OPUS)
    track.end()
    await asyncio.gather(*readers)
    assert [len(places) for places in heard] == [5, 5]


async def test_stopping_it_releases_the_reader_and_takes_nothing_more():
    track = ReceivedAudio("voice")
    reading = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    track.stop()
    with pytest.raises(MediaStreamError):
        await reading
    track.take(sounds(packets(voice(0.1))), OPUS)
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_what_cannot_be_decoded_is_made_up_and_counted():
    good = packets(voice(0.06))
    bad = bytes([good[0][0] & 0xFC | 1, *good[0][1:4]])
    malformed = MALFORMED._value.get()
    sound = await everything(ended_track(sounds([good[0], bad, good[2]])), 16_000)
    assert len(sound) == 2 * 320 + 320
    assert MALFORMED._value.get() == malformed + 1


async def test_metrics_tell_how_sound_was_come_by():
    before = {kind: seconds(kind) for kind in ("sound", "recovered", "concealed", "silence")}
    payloads = packets(voice(0.2), options=WITH_FEC)
    pieces = [
        Sound(0, FRAME, payloads[4]),
        Lost(FRAME, 2 * FRAME),
        Silence(3 * FRAME, 3 * FRAME),
        Lost(6 * FRAME, FRAME, payloads[7]),
        Sound(7 * FRAME, FRAME, payloads[7]),
    ]
    await everything(ended_track(pieces), 16_000)
    gained = {kind: round(seconds(kind) - before[kind], 3) for kind in before}
    assert gained == {"sound": 0.04, "recovered": 0.02, "concealed": 0.04, "silence": 0.06}


def seconds(kind: str) -> float:
    return AUDIO_SECONDS.labels(kind)._value.get()


@pytest.mark.parametrize("codec", [G722, PCMU], ids=lambda codec: codec.name)
async def test_the_codecs_of_telephones_are_heard_too(codec):
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    encoder = get_encoder(codec)
    payloads = []
    for number, part in enumerate(tone.reshape(50, 160)):
        frame = audio_frame(part, 8000)
        frame.pts, frame.time_base = number * 160, Fraction(1, 8000)
        payloads += encoder.encode(frame)[0]
    assert {packet_ticks(codec, payload) for payload in payloads} == {160}
    pieces = [Sound(number * 160, 160, payload) for number, payload in enumerate(payloads)]
    pieces[10] = Lost(10 * 160, 160, payloads[11])
    sound = await everything(ended_track(pieces, codec), 16_000)
    assert len(sound) == pytest.approx(len(payloads) * 320, abs=64)
    assert np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound) == pytest.approx(440, abs=2)


async def test_the_codec_may_change():
    track = ReceivedAudio("voice")
    track.take(sounds(packets(voice(0.1))), OPUS)
    track.take([Sound(5 * 160, 160, bytes(160))], PCMU)
    track.end()
    assert len(await everything(track, 16_000)) == pytest.approx(6 * 320, abs=32)
