"""What is said in the benchmarks of the media path: half the time speech, half the time a quiet room."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import numpy as np

from agent.recording import RATE_HZ, read_audio
from benchmarks.common.sound import FRAME_SAMPLES, Int16, room_noise
from pipelines.audio import SPEECH_RATE_HZ

SAMPLES = Path(__file__).parents[2] / "samples"
SPEECH_S = SILENCE_S = 5.0
CYCLE_S = SPEECH_S + SILENCE_S
FRAME_S = FRAME_SAMPLES / RATE_HZ
#: Between two clicks of an agent: more than any system delays.
CLICK_GAP_S = 0.4
#: What browsers send of a microphone.
BITRATE = 32_000


@cache
def speech() -> Int16:
    """`SPEECH_S` of a person speaking, mono at 48 kHz."""
    return read_audio(SAMPLES / "jfk.wav")[: int(SPEECH_S * RATE_HZ)]


@cache
def speech_at_16_khz() -> Int16:
    """The same as a synthetic voice gives it."""
    return at_rate(speech(), SPEECH_RATE_HZ)


def at_rate(samples: Int16, rate_hz: int) -> Int16:
    """Mono at 48 kHz, resampled."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
    frame.sample_rate = RATE_HZ
    return np.concatenate([out.to_ndarray()[0] for part in (frame, None) for out in resampler.resample(part)])


def starts_after_s(number: int) -> float:
    """When the speech of call `number` begins: not everybody speaks at once."""
    # Multiples of the golden ratio lie evenly, however many there are.
    return CYCLE_S * (0.618034 * number % 1.0)


def click(rate_hz: int) -> Int16:
    """20 ms full of energy: nothing else is as loud."""
    return (20_000 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz // 50) / rate_hz)).astype(np.int16)


@cache
def microphone() -> tuple[bytes, ...]:
    """`CYCLE_S` of what a browser sends of somebody who speaks and is quiet, in packets of 20 ms."""
    quiet = room_noise(int(SILENCE_S * RATE_HZ), np.random.default_rng(1))
    return packets(np.concatenate((speech(), quiet)))


def packets(samples: Int16, *, fec: bool = True, expected_loss: float = 0.0) -> tuple[bytes, ...]:
    """Mono at 48 kHz as Opus, 20 ms a packet, as browsers encode: voice, 32 kbit/s, variable.

    With `fec` packets tell of the one before, as soon as a loss (a share of the packets) is to be expected.
    """
    codec: av.AudioCodecContext = av.CodecContext.create("libopus", "w")
    codec.bit_rate = BITRATE
    codec.format, codec.layout, codec.sample_rate = "s16", "mono", RATE_HZ
    codec.options = {
        "application": "voip",
        "frame_duration": "20",
        "fec": str(int(fec)),
        "packet_loss": str(round(100 * expected_loss)),
    }
    encoded: list[bytes] = []
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    for number, samples_of_frame in enumerate(whole):
        frame = av.AudioFrame.from_ndarray(samples_of_frame[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, number * FRAME_SAMPLES
        encoded += [bytes(packet) for packet in codec.encode(frame)]
    return tuple(encoded)
