"""Sample-rate conversion with state, for what the agent says."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from agent.realtime.sending.playout import RATE_HZ

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000

_NO_SAMPLES: NDArray[np.int16] = np.zeros(0, np.int16)


class ToPlayoutRate:
    """Mono int16 at one rate after another to RATE_HZ. Chunks of one rate join without a seam."""

    def __init__(self) -> None:
        self.rate_hz = RATE_HZ
        self._resampler: av.AudioResampler | None = None

    def switch(self, rate_hz: int) -> NDArray[np.int16]:
        """Go on at `rate_hz`; returns the tail of the previous rate."""
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise ValueError(f"rate_hz must be between {MIN_RATE_HZ} and {MAX_RATE_HZ}, got {rate_hz}")
        tail = self.finish()
        self.rate_hz = rate_hz
        return tail

    def convert(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """`samples` at RATE_HZ; about a millisecond is kept back until more comes or `finish`."""
        if self.rate_hz == RATE_HZ:
            return samples.copy()
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
        frame.sample_rate = self.rate_hz
        return _join(self._resampler.resample(frame))

    def finish(self) -> NDArray[np.int16]:
        """What was kept back. The next chunk starts afresh."""
        resampler, self._resampler = self._resampler, None
        return _join(resampler.resample(None)) if resampler else _NO_SAMPLES


def _join(frames: list[av.AudioFrame]) -> NDArray[np.int16]:
    parts = [frame.to_ndarray()[0].astype(np.int16, copy=False) for frame in frames]
    return np.concatenate(parts) if parts else _NO_SAMPLES
