"""What was really played, at the rate that speech is worked on at."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from agent.realtime.sending.playout import FRAME_SAMPLES, RATE_HZ
from pipelines.audio import SPEECH_RATE_HZ, Samples

_STEP = RATE_HZ // SPEECH_RATE_HZ
#: A windowed sinc that keeps what is below 6 kHz and lets nothing from above 9 kHz through (-66 dB).
_TAPS, _CUTOFF_HZ, _KAISER_BETA = 72, 7200, 6.0


def _filter() -> Samples:
    places = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.sinc(2 * _CUTOFF_HZ / RATE_HZ * places) * np.kaiser(_TAPS, _KAISER_BETA)
    scaled: Samples = (taps / taps.sum() / 32768).astype(np.float32)
    return scaled


_FILTER = _filter()


class ToSpeechRate:
    """Mono int16 at RATE_HZ to float32 in [-1, 1) at SPEECH_RATE_HZ, without a seam between blocks.

    It comes out 0.7 ms late. A frame takes a quarter of the time that libswresample takes for one.
    """

    def __init__(self) -> None:
        past = _TAPS - _STEP
        self._sound = np.zeros(past + FRAME_SAMPLES, np.float32)
        self._past, self._present = self._sound[:past], self._sound[past:]
        self._ending = self._sound[FRAME_SAMPLES:]
        # What each sample is made from; they overlap.
        size = self._sound.itemsize
        shape = (FRAME_SAMPLES // _STEP, _TAPS)
        self._windows = as_strided(self._sound, shape, (_STEP * size, size), writeable=False)

    def convert(self, samples: NDArray[np.int16]) -> Samples:
        """`samples` are whole frames of FRAME_SAMPLES."""
        parts = [self._frame(frame) for frame in samples.reshape(-1, FRAME_SAMPLES)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _frame(self, frame: NDArray[np.int16]) -> Samples:
        self._past[:] = self._ending
        self._present[:] = frame
        # A copy without overlaps first: that is what matrices are multiplied fast with.
        converted: Samples = np.ascontiguousarray(self._windows) @ _FILTER
        return converted
