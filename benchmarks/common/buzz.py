"""A voice that costs nothing: a buzz with a word's rhythm, as long as somebody takes to say the text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 24_000
#: Twice as fast as people read, so that a run takes half as long; only the first sound counts.
CHARACTERS_PER_S = 40
_PITCH_HZ = 140.0
_HARMONICS = 12
_PEAK = 0.3


def buzz(text: str) -> NDArray[np.int16]:
    """Mono at `RATE_HZ`; it sounds from the first sample on. Nothing for text without letters or digits."""
    if not any(character.isalnum() for character in text):
        return np.zeros(0, np.int16)
    seconds = np.arange(int(RATE_HZ * len(text.strip()) / CHARACTERS_PER_S)) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * _PITCH_HZ * n * seconds) / n for n in range(1, _HARMONICS + 1))
    rhythm = 0.65 + 0.35 * np.cos(2 * np.pi * 4.0 * seconds)
    return np.asarray(wave / np.max(np.abs(wave)) * rhythm * _PEAK * 32767, np.int16)
