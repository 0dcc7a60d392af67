"""What is said on a bad network: tones that follow one another, so that a gap and its length can be heard.

A cycle of 20 tones of 100 ms. Every block of 20 ms that arrives is told apart by its tone alone; what a
receiver makes up to fill a hole prolongs a tone, and no tone counts for more than it lasts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
BLOCK_MS = 20
TONE_MS = 100
#: Whole periods in 20 ms each, so that they join without a click, and within what telephones carry.
TONES_HZ = tuple(600 + 150 * step for step in range(20))
_BLOCK = RATE_HZ * BLOCK_MS // 1000
_TIMES_S = np.arange(_BLOCK) / RATE_HZ
_PROBES = np.exp(-2j * np.pi * np.outer(TONES_HZ, _TIMES_S)) * np.hanning(_BLOCK)
QUIET = 200.0


def cycle(rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    """All tones once, mono."""
    times_s = np.arange(rate_hz * TONE_MS // 1000) / rate_hz
    return np.concatenate([8000 * np.sin(2 * np.pi * hz * times_s) for hz in TONES_HZ]).astype(np.int16)


def which(block: NDArray[np.float64]) -> int | None:
    """The tone in 20 ms of sound in 16-bit units; None if there is none, or something else."""
    power = np.abs(_PROBES @ block) ** 2
    tone = int(np.argmax(power))
    energy = float(np.dot(block, block))
    # A pure tone of this energy has this power at its own probe.
    pure = energy * _BLOCK / 8
    return tone if energy > _BLOCK * QUIET**2 and power[tone] > 0.3 * pure else None


async def heard(track: Any) -> AsyncIterator[tuple[float, int]]:
    """When (on the machine's monotonic clock) which tone came out of an aiortc track, for every 20 ms."""
    from aiortc.mediastreams import MediaStreamError

    resampler = av.AudioResampler("s16", "mono", RATE_HZ, frame_size=_BLOCK)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        for block in resampler.resample(frame):
            tone = which(block.to_ndarray()[0].astype(np.float64))
            if tone is not None:
                yield time.monotonic(), tone
