"""libopus as it is called here."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.realtime import opus
from agent.realtime.opus import RATES_HZ, OpusDecoder, OpusError, has_fec, packet_ticks
from agent.realtime.sending.encoding import PAUSE, PAUSE_WITHOUT_BODY
from tests.agent.realtime.opus_parts import FRAME, WITH_FEC, packets, voice


def decoded(payloads: list[bytes], rate_hz: int = 48_000) -> np.ndarray:
    decoder = OpusDecoder(rate_hz)
    return np.concatenate([decoder.decode(payload) for payload in payloads])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(("layout", "bit_rate"), [("mono", 16_000), ("stereo", 96_000)])
def test_every_packet_is_as_long_as_it_says_and_sounds_as_it_did(rate_hz: int, layout: str, bit_rate: int):
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.int16)
    payloads = packets(tone, layout=layout, bit_rate=bit_rate)
    assert {packet_ticks(payload) for payload in payloads} == {FRAME}
    sound = decoded(payloads, rate_hz)
    assert len(sound) == len(payloads) * rate_hz // 50
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * rate_hz / len(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound[rate_hz // 10 :]).max() == pytest.approx(8000, rel=0.2)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=4))
@example(b"\x03\x00")
@example(b"\xff\x3f")
def test_the_length_of_a_packet_is_what_libopus_takes_it_for(payload: bytes):
    count = opus.library().opus_packet_get_nb_samples(payload, len(payload), 48_000)
    assert packet_ticks(payload) == max(0, count)


def test_which_packets_tell_of_the_one_before_is_what_libopus_says():
    says = getattr(opus.library(), "opus_packet_has_lbrr", None)
    if says is None:
        pytest.skip("this libopus does not say")
    for options in ({}, WITH_FEC):
        for bit_rate in (12_000, 24_000, 96_000):
            payloads = packets(voice(1.0), bit_rate=bit_rate, options=options)
            assert [has_fec(p) for p in payloads] == [says(p, len(p)) == 1 for p in payloads]
    assert any(has_fec(p) for p in packets(voice(1.0), options=WITH_FEC))
    assert not has_fec(b"")


def test_a_sound_that_begins_in_a_lost_packet_is_told_by_the_next_one_and_cannot_be_made_up():
    said = voice(4.0)
    said[: len(said) // FRAME * FRAME].reshape(-1, FRAME)[np.arange(len(said) // FRAME) % 20 < 10] //= 200
    payloads = packets(said, options=WITH_FEC)
    whole = decoded(payloads).astype(float)
    told, made_up = [], []
    for lost in range(31, len(payloads) - 1, 20):
        truth = whole[lost * FRAME : (lost + 1) * FRAME]
        for heard in (told, made_up):
            decoder = OpusDecoder(48_000)
            for payload in payloads[:lost]:
                decoder.decode(payload)
            guess = decoder.recover(FRAME, payloads[lost + 1]) if heard is told else decoder.conceal(FRAME)
            heard.append(similarity(guess, truth))
    assert len(told) >= 8
    assert np.median(told) > np.median(made_up) + 0.2


@pytest.mark.parametrize("pause", [PAUSE.payload, PAUSE_WITHOUT_BODY], ids=["silence", "empty"])
def test_a_word_that_begins_in_a_lost_packet_after_a_pause_is_told_by_the_next_one(pause: bytes):
    said = packets(np.concatenate([np.zeros(10 * FRAME, np.int16), voice(0.2)]), options=WITH_FEC)
    lost = next(n for n, payload in enumerate(said) if n > 10 and has_fec(payload)) - 1
    decoder = OpusDecoder(48_000)
    heard = [decoder.decode(payload) for payload in [*said[:lost], *[pause] * 20]]
    assert loudness(heard[-1]) < 10
    told = decoder.recover(FRAME, said[lost + 1])
    assert len(told) == FRAME
    goes_on = decoder.decode(said[lost + 1])
    truth = decoded(said[: lost + 2])
    assert loudness(told) > 0.5 * loudness(truth[-2 * FRAME : -FRAME]) > 100
    assert similarity(goes_on.astype(float), truth[-FRAME:].astype(float)) > 0.8


def test_what_is_made_up_goes_on_as_before_and_becomes_quiet():
    decoder = OpusDecoder(16_000)
    payloads = packets(voice(1.0))
    before = np.concatenate([decoder.decode(payload) for payload in payloads])
    made_up = [decoder.conceal(FRAME) for _ in range(25)]
    assert {len(part) for part in made_up} == {320}
    assert loudness(made_up[0]) > 0.4 * loudness(before[-320:])
    assert loudness(made_up[-1]) < 0.5 * loudness(made_up[0])


@pytest.mark.parametrize("ticks", [1, 119, 120, 961, 4803])
def test_what_is_made_up_is_as_long_as_was_asked_for(ticks: int):
    decoder = OpusDecoder(48_000)
    decoder.decode(packets(voice(0.1))[0])
    assert len(decoder.conceal(ticks)) == ticks
    assert len(decoder.recover(ticks, packets(voice(0.1))[1])) == ticks


def test_a_malformed_packet_is_an_error_and_the_next_one_is_not():
    decoder = OpusDecoder(16_000)
    payloads = packets(voice(0.2))
    decoder.decode(payloads[0])
    with pytest.raises(OpusError):
        decoder.decode(bytes([payloads[0][0] & 0xFC | 2, 200, 1]))
    assert len(decoder.decode(payloads[1])) == 320


def test_other_rates_are_refused():
    with pytest.raises(ValueError, match="one of 8000, 12000, 16000, 24000, 48000, got 44100"):
        OpusDecoder(44_100)


def test_without_the_library_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opus, "_candidates", lambda: iter(["/nowhere/libopus.so"]))
    opus.library.cache_clear()
    try:
        with pytest.raises(OpusError, match="neither beside PyAV nor in the system"):
            OpusDecoder(48_000)
    finally:
        opus.library.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is loaded")
def test_the_library_is_the_one_pyav_works_with():
    """Two of them would mean that the wheels are made in another way now."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    loaded = {line.split()[-1] for line in lines if "libopus" in line}
    assert loaded == {os.path.realpath(opus.library()._name)}
    assert isinstance(opus.library(), ctypes.PyDLL)


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def similarity(samples: np.ndarray, truth: np.ndarray) -> float:
    """The correlation of two stretches of sound, -1 to 1."""
    return float(np.dot(samples, truth) / (np.linalg.norm(samples) * np.linalg.norm(truth) + 1e-9))
