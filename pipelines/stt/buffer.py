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
    """At most `MAX_SEGMENT_SAMPLES` of 16 kHz mono audio, appended to by one thread and read by the same."""

    def __init__(self) -> None:
        self._chunks: list[Samples] = []
        self._length = 0
        self._closed = False

    def __len__(self) -> int:
        """Samples held."""
        return self._length

    def append(self, samples: Samples) -> None:
        """Keep a copy of `samples`, as far as there is room."""
        if self._closed:
            return
        if samples.ndim != 1:
            raise ValueError(f"audio is mono, one dimension; got shape {samples.shape}")
        kept = samples[: MAX_SEGMENT_SAMPLES - self._length]
        if len(kept) < len(samples):
            _DROPPED.inc((len(samples) - len(kept)) / SPEECH_RATE_HZ)
        if len(kept):
            self._chunks.append(np.array(kept, dtype=np.float32))
            self._length += len(kept)

    def since(self, start: int) -> Samples:
        """The samples from index `start` to the end."""
        if len(self._chunks) > 1:
            self._chunks = [np.concatenate(self._chunks)]
        return self._chunks[0][start:] if self._chunks else np.empty(0, np.float32)

    def clear(self) -> None:
        """Drop the audio for good; later samples are ignored."""
        self._closed = True
        self._chunks = []
        self._length = 0
