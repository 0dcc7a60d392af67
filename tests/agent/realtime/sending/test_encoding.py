"""What becomes of sound before it is sent: how it is encoded, and how often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.negotiation import sdp
from agent.realtime.opus import OpusDecoder, OpusEncoder, has_fec, packet_ticks
from agent.realtime.sending import encoding
from agent.realtime.sending.encoding import (
    DEFAULT_BIT_RATE,
    ENCODED,
    MAX_BIT_RATE,
    MIN_BIT_RATE,
    PAUSE,
    PAUSE_WITHOUT_BODY,
    SETTLING_FRAMES,
    Packet,
    SoundStream,
    Wishes,
)
from tests.agent.realtime.opus_parts import FRAME, voice

SILENCE = np.zeros(FRAME, np.int16)


def encoded(stream: SoundStream, frames: np.ndarray, wishes: Wishes, loss_percent: int = 0) -> list[Packet]:
    return [
        stream.sound(frame, place * FRAME).packet(wishes, loss_percent) for place, frame in enumerate(frames)
    ]


def spoken(seconds: float) -> np.ndarray:
    return voice(seconds).reshape(-1, FRAME)


@pytest.mark.parametrize(
    ("fmtp", "wishes"),
    [
        ({}, Wishes(DEFAULT_BIT_RATE, fec=False, dtx=False)),
        ({"minptime": "10", "useinbandfec": "1"}, Wishes(fec=True)),
        ({"usedtx": "1", "stereo": "1", "sprop-stereo": "1"}, Wishes(dtx=True)),
        ({"useinbandfec": "0", "usedtx": "yes"}, Wishes()),
        ({"maxaveragebitrate": "20000"}, Wishes(20_000)),
        ({"maxaveragebitrate": "23999"}, Wishes(20_000)),
        ({"maxaveragebitrate": "510000"}, Wishes(MAX_BIT_RATE)),
        ({"maxaveragebitrate": "9" * 5000}, Wishes(MAX_BIT_RATE)),
        ({"maxaveragebitrate": "7999"}, Wishes(MIN_BIT_RATE)),
        ({"maxaveragebitrate": "6000"}, Wishes(6_000)),
        ({"maxaveragebitrate": "5999"}, Wishes()),
        ({"maxaveragebitrate": "0"}, Wishes()),
        ({"maxaveragebitrate": "-1"}, Wishes()),
        ({"maxaveragebitrate": "²"}, Wishes()),
        ({"maxaveragebitrate": ""}, Wishes()),
    ],
)
def test_a_receiver_gets_what_it_asks_for_within_bounds(fmtp: dict[str, str], wishes: Wishes):
    assert Wishes.of(fmtp) == wishes


@given(st.dictionaries(st.sampled_from(["maxaveragebitrate", "useinbandfec", "usedtx"]), st.text(max_size=8)))
def test_whatever_it_asks_for_there_are_few_ways_of_encoding(fmtp: dict[str, str]):
    assert Wishes.of(fmtp).bit_rate in (MIN_BIT_RATE, *range(8000, MAX_BIT_RATE + 1, encoding.BIT_RATE_STEP))


def test_what_it_asks_for_is_found_in_its_description_by_section():
    section = "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:{}\r\na=rtpmap:111 opus/48000/2\r\n"
    text = (
        "v=0\r\n"
        + section.format("first")
        + "a=fmtp:111 minptime=10; UseInbandFEC=1;usedtx = 1;x\r\n"
        + section.format("second")
        + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:third\r\na=rtpmap:96 VP8/90000\r\na=fmtp:96 a=b\r\n"
    )
    assert sdp.opus_parameters_by_mid(text) == {
        "first": {"minptime": "10", "useinbandfec": "1", "usedtx": "1"},
        "second": {},
    }


@pytest.mark.parametrize("bit_rate", [16_000, DEFAULT_BIT_RATE, MAX_BIT_RATE])
def test_packets_are_mono_of_20_ms_at_the_rate_asked_for(bit_rate: int):
    packets = encoded(SoundStream(), spoken(2.0), Wishes(bit_rate))
    assert {packet_ticks(packet.payload) for packet in packets} == {FRAME}
    assert not any(packet.payload[0] & 4 for packet in packets)
    assert sum(len(packet.payload) for packet in packets) * 8 / 2.0 == pytest.approx(bit_rate, rel=0.35)


def test_losses_make_packets_tell_of_those_before_them_if_the_receiver_makes_use_of_it():
    frames = spoken(1.0)
    for wishes, loss_percent, tell in (
        (Wishes(fec=True), 0, False),
        (Wishes(fec=True), 2, True),
        (Wishes(fec=True), 20, True),
        (Wishes(fec=False), 20, False),
    ):
        packets = encoded(SoundStream(), frames, wishes, loss_percent)
        telling = np.mean([has_fec(packet.payload) for packet in packets[5:]])
        assert telling > 0.5 if tell else telling == 0


def test_the_receiver_that_loses_most_decides_and_its_leaving_too():
    stream, wishes = SoundStream(), Wishes(fec=True)
    telling = []
    for place, frame in enumerate(spoken(2.0)):
        sound = stream.sound(frame, place * FRAME)
        packets = {sound.packet(wishes, 0)}
        if place < 50:
            packets.add(sound.packet(wishes, 20))
        assert len(packets) == 1
        telling.append(has_fec(packets.pop().payload))
    assert np.mean(telling[5:50]) > 0.5
    assert not any(telling[55:])


def test_who_wants_the_same_gets_the_same_packet_encoded_once():
    stream, before = SoundStream(), ENCODED._value.get()
    alike = [Wishes.of({"useinbandfec": "1", "usedtx": dtx}) for dtx in ("0", "1", "0", "1")]
    for place, frame in enumerate(spoken(0.2)):
        sound = stream.sound(frame, place * FRAME)
        packets = [sound.packet(wishes, 0) for wishes in alike]
        assert all(packet is packets[0] for packet in packets)
        assert sound.packet(Wishes(16_000), 0) is not packets[0]
    assert ENCODED._value.get() - before == 2 * 10


def test_an_encoder_nobody_needs_any_more_is_dropped():
    stream = SoundStream()
    for place, bit_rate in enumerate(range(8_000, 64_000, 4_000)):
        stream.sound(spoken(0.02)[0], place * 60 * FRAME).packet(Wishes(bit_rate), 0)
    assert len(stream._encoders) == 1


def test_silence_costs_no_encoding_and_three_bytes_once_the_last_sound_has_died_away():
    stream, before = SoundStream(), ENCODED._value.get()
    assert encoded(stream, [SILENCE] * 3, Wishes()) == [PAUSE] * 3
    assert ENCODED._value.get() == before
    frames = [*spoken(0.2), *[SILENCE] * 50]
    packets = encoded(stream, frames, Wishes())
    assert [packet.is_pause for packet in packets] == [False] * (10 + SETTLING_FRAMES) + [True] * (
        50 - SETTLING_FRAMES
    )
    assert ENCODED._value.get() - before == 10 + SETTLING_FRAMES
    assert stream.sound(SILENCE, 0).level == 127


@pytest.mark.parametrize("pause", [PAUSE.payload, PAUSE_WITHOUT_BODY])
def test_a_pause_is_silent_and_the_voice_after_it_is_as_if_there_had_been_none(pause: bytes):
    frames = np.stack([*spoken(1.0), *[SILENCE] * 30, *spoken(1.0)])
    packets = encoded(SoundStream(), frames, Wishes())
    decoder = OpusDecoder(48_000)
    heard = np.stack([decoder.decode(pause if p.is_pause else p.payload) for p in packets])
    assert packet_ticks(pause) == FRAME
    assert np.abs(heard[50 + SETTLING_FRAMES : 80]).max() <= 3
    encoder, decoder = OpusEncoder(DEFAULT_BIT_RATE, fec=False), OpusDecoder(48_000)
    throughout = np.stack([decoder.decode(encoder.encode(frame)) for frame in frames])
    power, expected = ((sound[80:].astype(float) ** 2).mean(axis=1) for sound in (heard, throughout))
    assert power == pytest.approx(expected, rel=0.5)


def test_no_bits_are_spent_on_what_was_not_in_the_recording():
    for rate_hz, config in ((8_000, 1), (11_025, 5), (16_000, 9), (22_050, 13), (44_100, 15), (96_000, 15)):
        stream = SoundStream()
        stream.content_rate_hz = rate_hz
        assert {packet.payload[0] >> 3 for packet in encoded(stream, spoken(0.1), Wishes())} == {config}
    stream = SoundStream()
    for rate_hz, config in ((48_000, 15), (16_000, 9), (48_000, 15)):
        stream.content_rate_hz = rate_hz
        assert encoded(stream, spoken(0.5), Wishes())[-1].payload[0] >> 3 == config


def test_loudness_is_told_as_of_full_scale():
    stream = SoundStream()
    full = np.resize(np.array([32_767, -32_767], np.int16), FRAME)
    assert [stream.sound(part, 0).level for part in (full, full // 10, full // 100)] == [0, 20, 40]
