"""Calls without headphones, simulated: what is played comes back out of a room, through Opus on both ways."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from piper import PiperVoice

from agent.recording import RATE_HZ
from benchmarks.common.stimuli import EchoPath, room_response
from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float, to_int16

#: Before what is said: nothing.
LEAD_S = 0.5
_FRAME_SAMPLES = 960
#: Of Opus, bits in a second: what browsers use for speech.
_BIT_RATE = 32_000


def spoken(text: str, voice: PiperVoice) -> Samples:
    """`text` in this voice, 16 kHz mono, after `LEAD_S` of silence."""
    chunks = list(voice.synthesize(text))
    said = at_rate(
        np.concatenate([to_float(chunk.audio_int16_array) for chunk in chunks]), chunks[0].sample_rate
    )
    return np.concatenate([np.zeros(int(LEAD_S * SPEECH_RATE_HZ), np.float32), said])


def at_rate(samples: Samples, from_hz: int, to_hz: int = SPEECH_RATE_HZ) -> Samples:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
    frame.sample_rate = from_hz
    found = [out.to_ndarray()[0] for part in (frame, None) for out in resampler.resample(part)]
    return np.concatenate(found).astype(np.float32)


def through_opus(samples: Samples) -> Samples:
    """What is left of 16 kHz mono after a call's encoder and decoder; as long as before."""
    wide = to_int16(at_rate(samples, SPEECH_RATE_HZ, RATE_HZ))
    padded = np.concatenate([wide, np.zeros(-len(wide) % _FRAME_SAMPLES, np.int16)])
    heard = at_rate(np.concatenate(list(_coded(padded))), RATE_HZ)
    return np.concatenate([heard, np.zeros(max(0, len(samples) - len(heard)), np.float32)])[: len(samples)]


def _coded(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Iterator[Samples]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE_HZ, "mono", "s16"
    encoder.bit_rate = _BIT_RATE
    encoder.options = {"application": "voip", "frame_duration": "20"}
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.format = RATE_HZ, "mono", "s16"
    for start in range(0, len(samples), _FRAME_SAMPLES):
        frame = av.AudioFrame.from_ndarray(
            samples[None, start : start + _FRAME_SAMPLES], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = RATE_HZ, start
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                yield to_float(decoded.to_ndarray().reshape(-1))


def echo_of(sent: Samples, path: EchoPath) -> Samples:
    """What the microphone has of `sent` (16 kHz mono, as the loudspeaker gets it); as long as that."""
    response = at_rate(room_response(path).astype(np.float32), RATE_HZ) * RATE_HZ / SPEECH_RATE_HZ
    size = 2 ** int(np.ceil(np.log2(len(sent) + len(response))))
    echo = np.fft.irfft(np.fft.rfft(sent, size) * np.fft.rfft(response, size))
    delay = np.zeros(int(path.delay_ms * SPEECH_RATE_HZ / 1000))
    return np.concatenate([delay, echo])[: len(sent)].astype(np.float32)


def mixed(
    count: int, *sounds: tuple[Samples, float], noise_dbfs: float, random: np.random.Generator
) -> Samples:
    """`count` samples of a room and `sounds`, each from so many seconds on, as a call brings them to us."""
    heard = random.normal(0, 10 ** (noise_dbfs / 20), count)
    for sound, at_s in sounds:
        start = int(at_s * SPEECH_RATE_HZ)
        part = sound[: max(0, count - start)]
        heard[start : start + len(part)] += part
    return through_opus(np.clip(heard, -1, 1).astype(np.float32))


def loudness(samples: Samples) -> float:
    """The power of what sounds in it, as an amplitude."""
    sounding = np.abs(samples) > np.abs(samples).max() * 0.05
    return float(np.sqrt(np.mean(samples[sounding] ** 2)))
