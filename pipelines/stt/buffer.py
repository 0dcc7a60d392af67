"""The audio of one segment, as recognisers that work on whole utterances need it."""

from __future__ import annotations

import numpy as np
from prometheus_client import Counter

from pipelines.audio import SPEECH_RATE_HZ, Samples

#: Turn-taking cuts a segment before this; what comes beyond it is dropped and counted.
MAX_SEGMENT_SAMPLES = 30 * SPEECH_RATE_HZ

_DROPPED = Counter(
    "voice_agent_stt_dropped_audio_seconds_total",
    "Audio not recognised because a segment was longer than a recogniser takes",
)


class SegmentBuffer:
    """At most `MAX_SEGMENT_SAMPLES` of 16 kHz mono audio, appended to by one thread and read by any."""

    def __init__(self) -> None:
        # Samples are written once, before the length says that they are there, and never moved: whoever reads
        # needs no lock and no copy. The pages of what is never said are never touched.
        self._samples: Samples = np.empty(MAX_SEGMENT_SAMPLES, np.float32)
        self._length = 0
        self._closed = False

    def __len__(self) -> int:
        """Samples held."""
        return self._length

    def append(self, samples: Samples) -> Samples:
        """Keep a copy of `samples`, as far as there is room; returns what was kept."""
        if samples.ndim != 1:
            raise ValueError(f"audio is mono, one dimension; got shape {samples.shape}")
        if self._closed:
            return samples[:0]
        start = self._length
        kept = samples[: MAX_SEGMENT_SAMPLES - start]
        if len(kept) < len(samples):
            _DROPPED.inc((len(samples) - len(kept)) / SPEECH_RATE_HZ)
        self._samples[start : start + len(kept)] = kept
        self._length = start + len(kept)
        return self._samples[start : self._length]

    def since(self, start: int, end: int | None = None) -> Samples:
        """The samples from index `start` to `end`, or to the last one; not to be changed."""
        return self._samples[start : min(self._length, self._length if end is None else end)]

    def clear(self) -> None:
        """Drop the audio for good; later samples are ignored."""
        self._closed = True
        self._length = 0
        self._samples = self._samples[:0]
