"""Is somebody speaking? Silero's model, streamed, and the hysteresis that makes edges of its probabilities.

The model is the ONNX file inside the ``faster-whisper`` package, run by onnxruntime alone: no torch. One
window costs about 0.1 ms, so it runs where it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from faster_whisper.utils import get_assets_path

from pipelines.audio import SPEECH_RATE_HZ, Samples, level_dbfs
from pipelines.options import VadOptions

#: The model looks at 512 samples at a time, with the last 64 of the window before as context.
WINDOW_SAMPLES = 512
WINDOW_MS = 1000.0 * WINDOW_SAMPLES / SPEECH_RATE_HZ
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)
#: A single window over this is plainly speech, or something very like it.
PLAIN_PROBABILITY = 0.8
#: How long after speech a caller counts as one who may go on.
RESUME_MS = 1000.0


@lru_cache(maxsize=1)
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One window is too small to share between threads: waking them costs more than the work.
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    model = Path(get_assets_path()) / "silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(str(model), sess_options=options, providers=["CPUExecutionProvider"])


class SileroVad:
    """The speech probability of one stream of audio; the model is shared, the state is this stream's."""

    def __init__(self) -> None:
        self._session = _session()
        self._h: Any = np.zeros(_STATE_SHAPE, np.float32)
        self._c: Any = np.zeros(_STATE_SHAPE, np.float32)
        self._context: Samples = np.zeros(_CONTEXT_SAMPLES, np.float32)

    def probability(self, window: Samples) -> float:
        """The probability, 0..1, that the next `WINDOW_SAMPLES` samples at 16 kHz hold speech."""
        if window.shape != (WINDOW_SAMPLES,):
            raise ValueError(f"a window has {WINDOW_SAMPLES} samples, not shape {window.shape}")
        batch = np.concatenate([self._context, window])[None, :]
        output, self._h, self._c = self._session.run(None, {"input": batch, "h": self._h, "c": self._c})
        self._context = window[-_CONTEXT_SAMPLES:]
        return float(np.asarray(output).reshape(-1)[0])


class Windows:
    """Cuts blocks of any size into whole windows; keeps the rest for the next block."""

    def __init__(self) -> None:
        self._rest: Samples = np.zeros(0, np.float32)

    @property
    def rest_ms(self) -> float:
        """How much audio waits for the rest of its window."""
        return 1000.0 * len(self._rest) / SPEECH_RATE_HZ

    def split(self, block: Samples) -> Iterator[Samples]:
        data = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(data) - len(data) % WINDOW_SAMPLES
        self._rest = data[whole:]
        for start in range(0, whole, WINDOW_SAMPLES):
            yield data[start : start + WINDOW_SAMPLES]


@dataclass(frozen=True, slots=True)
class Edge:
    """Speech began (its first window's start) or ended (its last window's end) at `at_ms`."""

    speech: bool
    at_ms: float


class SpeechDetector:
    """Probabilities in, edges out; pure.

    Speech begins with `onset_ms` of windows over `threshold`, uninterrupted by one under `release_threshold`,
    and ends with the first window under `release_threshold`: how long a silence must last to mean something
    is decided by `pipelines.turns`, not here. Shortly after speech a single window is enough: whoever just
    spoke is likely to go on, and the sooner that is known the less often somebody is cut short.
    """

    def __init__(self, options: VadOptions) -> None:
        self._options = options
        self._needed = ceil(options.onset_ms / WINDOW_MS)
        self._voiced = 0
        self._plain = False
        self._began_ms = 0.0
        self._last_spoken_ms = -inf
        self.speaking = False

    @property
    def murmur_ms(self) -> float:
        """How long something has sounded that may become speech, with too little of it for an edge yet."""
        if self.speaking or (self._voiced == 1 and not self._plain):
            return 0.0
        return self._voiced * WINDOW_MS

    def feed(self, probability: float, window: Samples, end_ms: float) -> Edge | None:
        """Take the next window, which ended at `end_ms`; returns the edge it completes, if any."""
        if level_dbfs(window) < self._options.floor_dbfs:
            probability = 0.0
        if probability >= self._options.threshold:
            if self.speaking:
                self._last_spoken_ms = end_ms
                return None
            if self._voiced == 0:
                self._began_ms = end_ms - WINDOW_MS
            self._voiced += 1
            self._plain = probability >= PLAIN_PROBABILITY
            goes_on = self._began_ms - self._last_spoken_ms < RESUME_MS
            if self._voiced >= (1 if goes_on else self._needed):
                self.speaking = True
                self._last_spoken_ms = end_ms
                return Edge(True, self._began_ms)
        elif probability >= self._options.release_threshold:
            if self.speaking:
                self._last_spoken_ms = end_ms
            elif end_ms - self._began_ms > 2 * self._options.onset_ms:
                # Too long undecided: what began so long ago was not the onset of what comes now.
                self._voiced = 0
        else:
            self._voiced = 0
            if self.speaking:
                self.speaking = False
                return Edge(False, self._last_spoken_ms)
        return None
