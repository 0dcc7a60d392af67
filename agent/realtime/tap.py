"""What was really played, at the rate that speech is worked on at."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from agent.realtime.playout import RATE_HZ
from pipelines.audio import SPEECH_RATE_HZ, Samples


class ToSpeechRate:
    """Mono int16 at RATE_HZ to float32 in [-1, 1) at SPEECH_RATE_HZ, without a seam between blocks.

    About a millisecond is kept back, so the first block comes out shorter than the others.
    """

    def __init__(self) -> None:
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE_HZ)

    def convert(self, samples: NDArray[np.int16]) -> Samples:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)
