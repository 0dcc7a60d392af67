"""Where our own voice activity detection ends the speech in a recording."""

from __future__ import annotations

import av
import numpy as np

from agent.recording import RATE_HZ
from benchmarks.common.sound import Int16, Recording
from pipelines.audio import SPEECH_RATE_HZ, to_float
from pipelines.options import VadOptions
from pipelines.vad import WINDOW_MS, WINDOW_SAMPLES, Edge, SileroVad, SpeechDetector, Windows

_SILENCE_S = 1
_PHASES = 4


def heard_until(recording: Recording) -> int:
    """The sample at 48 kHz at which the agent hears the speech of `recording` end.

    Quiet ends of words are speech to a level meter and not to the detector, or the other way round; the agent
    can only count from what it hears. Where its windows of 32 ms fall is chance: this is the mean over it.
    """
    ends_ms = [
        _edges(recording, ahead)[-1].at_ms - 1000 * ahead / SPEECH_RATE_HZ
        for ahead in range(0, WINDOW_SAMPLES, WINDOW_SAMPLES // _PHASES)
    ]
    return int(sum(ends_ms) / len(ends_ms) * RATE_HZ / 1000)


def has_pause(recording: Recording) -> bool:
    """Whether the agent hears silence inside the speech."""
    return len(_edges(recording, 0)) > 2


def _edges(recording: Recording, ahead: int) -> list[Edge]:
    """Onsets and ends, with `ahead` samples of silence (at `SPEECH_RATE_HZ`) before."""
    silence = np.zeros(_SILENCE_S * RATE_HZ, np.int16)
    samples = to_float(_at_speech_rate(np.concatenate((recording.samples, silence))))
    detector, vad, windows = SpeechDetector(VadOptions()), SileroVad(), Windows()
    edges: list[Edge] = []
    at_ms = 0.0
    for window in windows.split(np.concatenate((np.zeros(ahead, np.float32), samples))):
        at_ms += WINDOW_MS
        if (edge := detector.feed(vad.probability(window), window, at_ms)) is not None:
            edges.append(edge)
    return edges


def _at_speech_rate(samples: Int16) -> Int16:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ)
    frame = av.AudioFrame.from_ndarray(samples[None, :], layout="mono")
    frame.sample_rate = RATE_HZ
    return np.concatenate([out.to_ndarray()[0] for part in (frame, None) for out in resampler.resample(part)])
