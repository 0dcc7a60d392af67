"""How the end of an utterance sounds: pitch, length and loudness, against the caller's own; numpy only.

The pitch is the best peak of the autocorrelation of a Hann-windowed frame divided by that of the window
(Boersma 1993, "Accurate short-term analysis of the fundamental frequency"), twice a window. Everything is
relative to what this caller did before, so a low voice is not a fall and a slow one not a hesitation.
"""

from __future__ import annotations

from collections import deque
from math import log2

import numpy as np
from numpy.typing import NDArray

from pipelines.audio import SPEECH_RATE_HZ, Samples, level_dbfs
from pipelines.endpoint.evidence import Prosody

#: Voices lie between these; children above 400 Hz count as unvoiced.
MIN_PITCH_HZ, MAX_PITCH_HZ = 65.0, 400.0
#: Three periods of the lowest voice fit into a frame.
FRAME_SAMPLES = 736
HOP_SAMPLES = 256
HOP_MS = 1000.0 * HOP_SAMPLES / SPEECH_RATE_HZ
#: A frame is voiced when it repeats itself so well (1 is a perfect period), where the VAD hears speech.
MIN_PERIODICITY = 0.55
MIN_SPEECH_PROBABILITY = 0.35
#: Two periods fit as well as one: a longer lag must be better by so much per octave.
OCTAVE_COST = 0.06

#: The end is the last so much voiced speech; pitches from before a longer gap do not belong to it.
END_MS = 300.0
MAX_GAP_MS = 250.0
#: Fewer voiced frames than these say nothing about a slope, or about what is usual for a caller.
MIN_END_FRAMES = 6
MIN_USUAL_FRAMES = 40
MIN_USUAL_STRETCHES = 4
#: What is remembered of a caller: about 10 s of voiced speech.
MAX_FRAMES = 640
MAX_STRETCHES = 64
#: A jump beyond this between neighbouring frames is an octave error, not a melody.
MAX_JUMP_ST = 5.0
#: A dip so deep between two peaks of loudness separates two syllables.
SYLLABLE_DIP_DB = 4.0

_FFT = 1024
_MIN_LAG = int(SPEECH_RATE_HZ / MAX_PITCH_HZ)
_MAX_LAG = int(SPEECH_RATE_HZ / MIN_PITCH_HZ) + 1
_HANN = np.hanning(FRAME_SAMPLES).astype(np.float32)


def _autocorrelation(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(frame, _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    return np.fft.irfft(power, _FFT)[: _MAX_LAG + 2].astype(np.float32)


_HANN_CORRELATION = _autocorrelation(_HANN) / _autocorrelation(_HANN)[0]
_COST = OCTAVE_COST * np.log2(np.arange(_MIN_LAG, _MAX_LAG) / _MIN_LAG)


def pitch_hz(frame: Samples) -> float | None:
    """The pitch of `FRAME_SAMPLES` samples at 16 kHz; None where nothing repeats itself."""
    correlation = _autocorrelation((frame - frame.mean()) * _HANN)
    if correlation[0] <= 1e-9:
        return None
    correlation = correlation / correlation[0] / _HANN_CORRELATION
    lag = _MIN_LAG + int(np.argmax(correlation[_MIN_LAG:_MAX_LAG] - _COST))
    before, at, after = (float(correlation[lag + k]) for k in (-1, 0, 1))
    if at < MIN_PERIODICITY or at < before or at < after:
        return None
    curve = before - 2 * at + after
    return SPEECH_RATE_HZ / (lag + (0.5 * (before - after) / curve if curve else 0.0))


class ProsodyTracker:
    """Follows one caller, window by window; bounded memory, no clock, about 0.1 ms a window."""

    def __init__(self) -> None:
        self._tail: Samples = np.zeros(FRAME_SAMPLES, np.float32)
        self._now_ms = 0.0
        #: Voiced frames: when, pitch in semitones (re 1 Hz), level in dBFS.
        self._voiced: deque[tuple[float, float, float]] = deque(maxlen=MAX_FRAMES)
        self._stretches_ms: deque[float] = deque(maxlen=MAX_STRETCHES)
        self._stretch = _Stretch()

    def feed(self, window: Samples, probability: float) -> None:
        """Take the next window (16 kHz mono, a multiple of `HOP_SAMPLES`) and its speech probability."""
        for start in range(0, len(window), HOP_SAMPLES):
            hop = window[start : start + HOP_SAMPLES]
            self._tail = np.concatenate([self._tail[len(hop) :], hop])
            self._now_ms += 1000.0 * len(hop) / SPEECH_RATE_HZ
            pitch = pitch_hz(self._tail) if probability >= MIN_SPEECH_PROBABILITY else None
            level = level_dbfs(hop) if pitch is not None else 0.0
            if pitch is not None:
                self._voiced.append((self._now_ms, 12.0 * log2(pitch), level))
            if (ended := self._stretch.take(level if pitch is not None else None)) is not None:
                self._stretches_ms.append(ended)

    def at_offset(self) -> Prosody:
        """How the speech heard last ended; ask when it has ended, before more of it is fed."""
        end = self._end()
        if len(end) < MIN_END_FRAMES:
            return Prosody()
        pitch = np.array([semitones for _, semitones, _ in end])
        level = float(np.mean([db for _, _, db in end[-MIN_END_FRAMES:]]))
        usual = list(self._voiced)[: -len(end)]
        is_known = len(usual) >= MIN_USUAL_FRAMES
        return Prosody(
            pitch_slope_st_per_s=_slope(np.array([at for at, _, _ in end]), pitch),
            pitch_end_st=(
                float(np.median(pitch[-MIN_END_FRAMES:]) - np.median([st for _, st, _ in usual]))
                if is_known
                else None
            ),
            lengthening=self._lengthening(),
            level_drop_db=float(np.median([db for _, _, db in usual])) - level if is_known else None,
        )

    def _end(self) -> list[tuple[float, float, float]]:
        """The voiced frames of the last `END_MS`, without octave errors, oldest first."""
        end: list[tuple[float, float, float]] = []
        last_ms = self._now_ms
        for frame in reversed(self._voiced):
            at, semitones, _ = frame
            if len(end) * HOP_MS >= END_MS or (end and last_ms - at > MAX_GAP_MS):
                break
            if not end or last_ms - at > 2 * HOP_MS or abs(semitones - end[-1][1]) <= MAX_JUMP_ST:
                end.append(frame)
                last_ms = at
        return end[::-1]

    def _lengthening(self) -> float | None:
        *usual, last = [*self._stretches_ms, self._stretch.duration_ms]
        if not last and usual:
            last = usual.pop()
        if len(usual) < MIN_USUAL_STRETCHES:
            return None
        return last / float(np.median(usual))


_NO_PEAK_DBFS = -200.0


class _Stretch:
    """Measures syllables, roughly: voiced stretches, cut where the loudness dips between two peaks."""

    def __init__(self) -> None:
        self.duration_ms = 0.0
        self._peak_dbfs = _NO_PEAK_DBFS
        self._low_dbfs = 0.0

    def take(self, level_dbfs: float | None) -> float | None:
        """The next frame's level, None when unvoiced; returns the length of the stretch it ends, if any."""
        if level_dbfs is None:
            return self._end()
        self._low_dbfs = min(self._low_dbfs, level_dbfs)
        is_next = (
            self._peak_dbfs - self._low_dbfs > SYLLABLE_DIP_DB
            and level_dbfs - self._low_dbfs > SYLLABLE_DIP_DB
        )
        ended = self._end() if is_next else None
        if level_dbfs > self._peak_dbfs:
            self._peak_dbfs = self._low_dbfs = level_dbfs
        self.duration_ms += HOP_MS
        return ended

    def _end(self) -> float | None:
        ended = self.duration_ms
        self.duration_ms = 0.0
        self._peak_dbfs = _NO_PEAK_DBFS
        self._low_dbfs = 0.0
        # Shorter than two frames is no syllable.
        return ended if ended > 2 * HOP_MS else None


def _slope(at_ms: NDArray[np.float64], semitones: NDArray[np.float64]) -> float:
    """Semitones per second: the median of the slopes between frames half the end apart (after Theil and Sen),
    which a few wrong pitches do not move."""
    half = len(at_ms) // 2
    rise = semitones[half:] - semitones[: len(semitones) - half]
    run_s = (at_ms[half:] - at_ms[: len(at_ms) - half]) / 1000.0
    return float(np.median(rise / run_s))
