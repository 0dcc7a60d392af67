"""Sound as a course of levels in bands: what is compared when we look for our own voice in a microphone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.audio import SPEECH_RATE_HZ, Samples

#: A frame every 8 ms, over 16 ms: delays are known to within one frame.
HOP_SAMPLES = 128
HOP_MS = 1000.0 * HOP_SAMPLES / SPEECH_RATE_HZ
_FRAME_SAMPLES = 256
BANDS = 20
#: What small loudspeakers and Opus at low rates let through, and where speech is.
_LOW_HZ, _HIGH_HZ = 200.0, 5000.0
#: Nothing is quieter than this (dB); full scale is about 20.
SILENCE_DB = -45.0

Levels = NDArray[np.float32]


def _filters() -> Levels:
    """BANDS overlapping bands of equal width on the mel scale."""
    hz = np.fft.rfftfreq(_FRAME_SAMPLES, 1 / SPEECH_RATE_HZ)
    low_mel, high_mel = (2595 * np.log10(1 + edge / 700) for edge in (_LOW_HZ, _HIGH_HZ))
    edges = 700 * (10 ** (np.linspace(low_mel, high_mel, BANDS + 1) / 2595) - 1)
    bin_hz = hz[1] / 2
    inside = (hz >= edges[:-1, None] - bin_hz) & (hz < edges[1:, None] + bin_hz)
    return np.asarray(inside / inside.sum(axis=1, keepdims=True), np.float32)


_FILTERS = _filters()
_WINDOW = np.hanning(_FRAME_SAMPLES).astype(np.float32)


class Spectrum:
    """Turns a stream of blocks of any size into frames of levels."""

    def __init__(self) -> None:
        self._rest: Samples = np.zeros(_FRAME_SAMPLES - HOP_SAMPLES, np.float32)

    @property
    def rest_ms(self) -> float:
        """How much of the stream is in no frame yet."""
        return 1000.0 * (len(self._rest) - (_FRAME_SAMPLES - HOP_SAMPLES)) / SPEECH_RATE_HZ

    def feed(self, samples: Samples) -> Levels:
        """The frames that `samples` completes: (count, BANDS) in dB, SILENCE_DB or more."""
        data = np.concatenate([self._rest, samples])
        count = max(0, (len(data) - _FRAME_SAMPLES) // HOP_SAMPLES + 1)
        self._rest = data[count * HOP_SAMPLES :]
        if not count:
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(data, _FRAME_SAMPLES)[::HOP_SAMPLES] * _WINDOW
        spectra = np.fft.rfft(frames, axis=1)
        power = (spectra.real**2 + spectra.imag**2).astype(np.float32) @ _FILTERS.T
        levels: Levels = np.maximum(10 * np.log10(power + np.float32(1e-9)), SILENCE_DB).astype(np.float32)
        return levels
