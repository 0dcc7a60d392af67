"""Audio values that travel between the stages, and the conversions between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: What people say, on its way in: mono, float32 in [-1, 1], at `SPEECH_RATE_HZ`.
Samples: TypeAlias = NDArray[np.float32]

#: The rate that the voice activity model and every recogniser here works at.
SPEECH_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class Pcm:
    """What the agent says, on its way out: mono int16 samples at the voice's own rate."""

    samples: NDArray[np.int16]
    rate_hz: int

    @property
    def duration_ms(self) -> float:
        return 1000.0 * len(self.samples) / self.rate_hz


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Float samples in [-1, 1] to int16, clipped rather than wrapped."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)


def to_float(samples: NDArray[np.int16]) -> Samples:
    """int16 samples to float32 in [-1, 1)."""
    return samples.astype(np.float32) / 32768.0


def level_dbfs(samples: Samples) -> float:
    """Root-mean-square level relative to full scale; -120 dB for digital silence or no samples."""
    if len(samples) == 0:
        return -120.0
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return max(-120.0, 20.0 * float(np.log10(rms))) if rms > 0 else -120.0
