"""What the reader of a received track does with it: as little as the measurement allows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.audio import SPEECH_RATE_HZ

#: What is noted: how much there was; also when clicks came; also every sample.
Attention: TypeAlias = Literal["count", "clicks", "keep"]

#: Samples as readers give them: of full scale, or 16 bit.
Block: TypeAlias = NDArray[np.float32] | NDArray[np.int16]
FULL_SCALE = 32_768

#: A click is full of energy, everything else almost silent.
LOUD = 0.2
#: Louder than a quiet room.
AUDIBLE = 0.01


class Ear:
    """Hears one call, as blocks of mono at 16 kHz."""

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        #: The caller has been heard.
        self.has_heard = asyncio.Event()
        #: When the agent said something that is timed.
        self.said_s: list[float] = []
        self._samples = 0
        self._first_s: float | None = None
        self._clicks_s: list[float] = []
        self._was_loud = False
        self._kept: list[tuple[float, Block]] = []

    def hear(self, block: Block) -> None:
        """It is here now."""
        self._samples += len(block)
        if self._first_s is None and peak(block) > AUDIBLE:
            self._first_s = time.monotonic()
            self.has_heard.set()
        if self._attention == "clicks":
            is_loud = peak(block) > LOUD
            if is_loud and not self._was_loud:
                self._clicks_s.append(time.monotonic())
            self._was_loud = is_loud
        elif self._attention == "keep":
            self._kept.append((time.monotonic(), block))

    @property
    def heard_ms(self) -> float:
        return 1000.0 * self._samples / SPEECH_RATE_HZ

    def told(self) -> dict[str, Any]:
        """What it heard. Times are in seconds of the machine's monotonic clock."""
        return {
            "heard_ms": self.heard_ms,
            "first_s": self._first_s,
            "clicks_s": self._clicks_s,
            "said_s": self.said_s,
        }

    def save(self, path: Path) -> None:
        """All blocks, and when each of them was there (`load`)."""
        blocks = [_of_full_scale(block) for _, block in self._kept]
        np.savez(
            path,
            at_s=np.array([at_s for at_s, _ in self._kept]),
            lengths=np.array([len(block) for block in blocks], np.int64),
            samples=np.concatenate(blocks) if blocks else np.zeros(0, np.float32),
        )


def load(path: Path) -> list[tuple[float, NDArray[np.float32]]]:
    """What `Ear.save` wrote, of full scale."""
    with np.load(path) as file:
        ends = np.cumsum(file["lengths"])
        parts = np.split(file["samples"], ends[:-1]) if len(ends) else []
        return list(zip(file["at_s"].tolist(), parts, strict=True))


def peak(block: Block) -> float:
    """The greatest of the samples, of full scale."""
    return float(np.abs(_of_full_scale(block)).max()) if len(block) else 0.0


def _of_full_scale(block: Block) -> NDArray[np.float32]:
    scale = np.float32(FULL_SCALE if block.dtype == np.int16 else 1)
    return np.asarray(block, np.float32) / scale
