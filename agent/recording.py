"""Sound files in, and what was heard as one recording on one clock. Pure: no clock, no event loop."""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
MAX_FILE_S = 300.0
MAX_RECORDING_S = 900.0

#: What is louder is sound. A voice, ducked by 12 dB, stays well above; what Opus makes of silence, below.
SOUND_DBFS = -50.0
WINDOW_MS = 10
#: Shorter silences are pauses between words, longer ones are the end of what was said.
WORD_GAP_MS = 450.0
#: How loud somebody speaks is the level that so many windows stay under; the ends of words are up to
#: `SPEECH_RANGE_DB` quieter.
LOUD_PERCENTILE, SPEECH_RANGE_DB = 95.0, 25.0
#: Shorter sounds are clicks.
MIN_SOUND_MS = 30.0

#: A frame is placed by the earliest of those that follow it within this many: those that came in late because
#: a machine was busy are followed by some that did not.
LOOKAHEAD_FRAMES = 50
#: The sender's clock is taken to have jumped when frames come this much earlier or later than before.
JUMP_MS = 20.0

Int16: TypeAlias = NDArray[np.int16]


class AudioFileError(ValueError):
    """A file holds no sound that can be played; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Sound:
    """From the first to the last moment of a stretch of sound, in milliseconds."""

    start_ms: float
    end_ms: float


def read_audio(path: Path) -> Int16:
    """A sound file of any rate, width and number of channels as mono at `RATE_HZ`.

    Raises `AudioFileError`.
    """
    if not path.is_file():
        raise AudioFileError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file, av.open(file, "r") as container:
            if not container.streams.audio:
                raise AudioFileError(f"{path}: there is no sound in it")
            samples = _decode(container, path)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise AudioFileError(f"{path}: not a sound file that can be read here ({reason})") from None
    if not len(samples):
        raise AudioFileError(f"{path}: it holds no samples")
    return samples


def _decode(container: av.container.InputContainer, path: Path) -> Int16:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    parts: list[Int16] = []
    length = 0
    for frame in [*_frames(container), None]:
        for out in resampler.resample(frame):
            parts.append(out.to_ndarray()[0])
            length += len(parts[-1])
        if length > MAX_FILE_S * RATE_HZ:
            raise AudioFileError(f"{path}: it is longer than {MAX_FILE_S:g} s")
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    for frame in container.decode(audio=0):
        frame.pts = None
        yield frame


def write_wav(path: Path, samples: Int16) -> None:
    """Save mono samples at `RATE_HZ`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def find_sounds(samples: Int16, *, over_dbfs: float = SOUND_DBFS) -> list[Sound]:
    """The stretches of `samples` (at `RATE_HZ`) that are louder than `over_dbfs`, apart by `WORD_GAP_MS`."""
    loud = _levels_dbfs(samples) > over_dbfs
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(np.int8), [0]))))
    runs = [(float(a * WINDOW_MS), float(b * WINDOW_MS)) for a, b in edges.reshape(-1, 2)]
    sounds: list[Sound] = []
    for start_ms, end_ms in runs:
        if sounds and start_ms - sounds[-1].end_ms < WORD_GAP_MS:
            sounds[-1] = Sound(sounds[-1].start_ms, end_ms)
        else:
            sounds.append(Sound(start_ms, end_ms))
    return [sound for sound in sounds if sound.end_ms - sound.start_ms >= MIN_SOUND_MS]


def find_speech(samples: Int16) -> Sound | None:
    """From the first to the last word in a recording of one speaker; None when there is only silence.

    What is much quieter than the loudest parts is taken for the room the recording was made in.
    """
    levels = _levels_dbfs(samples)
    if not len(levels):
        return None
    over_dbfs = max(SOUND_DBFS, float(np.percentile(levels, LOUD_PERCENTILE)) - SPEECH_RANGE_DB)
    sounds = find_sounds(samples, over_dbfs=over_dbfs)
    return Sound(sounds[0].start_ms, sounds[-1].end_ms) if sounds else None


def _levels_dbfs(samples: Int16) -> NDArray[np.float64]:
    """The level of each whole window of `WINDOW_MS`."""
    size = RATE_HZ * WINDOW_MS // 1000
    count = len(samples) // size
    windows = samples[: count * size].reshape(count, size).astype(np.float64) / 32768.0
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(np.square(windows), axis=1) + 1e-12)
    return levels


def is_sound(samples: Int16) -> bool:
    """Whether a block as a whole is louder than `SOUND_DBFS`."""
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64))))) if len(samples) else 0.0
    return rms > 32768.0 * 10 ** (SOUND_DBFS / 20)


@dataclass(slots=True)
class _Stretch:
    """Frames of one connection, whose time stamps have one origin."""

    samples: list[Int16] = field(default_factory=list)
    stamps_ms: list[float] = field(default_factory=list)
    arrivals_ms: list[float] = field(default_factory=list)


class Recording:
    """Frames of a voice, each with the sender's time stamp and the moment it arrived by our clock.

    The sender's stamps say how frames follow each other, arrivals say where on our clock they belong. A frame
    sounds at its stamp plus the smallest delay of the frames that follow it: a hiccup of this machine moves
    nothing, while a sender that fell behind is heard as late as it was. Lost frames are silence.
    """

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []
        self._samples = 0

    def begin(self) -> None:
        """What is added next comes from a new connection."""
        self._stretches.append(_Stretch())

    def add(self, samples: Int16, stamp_ms: float, arrived_ms: float) -> None:
        """One frame, mono at `RATE_HZ`; not kept beyond `MAX_RECORDING_S`."""
        if self._samples > MAX_RECORDING_S * RATE_HZ:
            return
        if not self._stretches:
            self.begin()
        self._samples += len(samples)
        stretch = self._stretches[-1]
        stretch.samples.append(samples)
        stretch.stamps_ms.append(stamp_ms)
        stretch.arrivals_ms.append(arrived_ms)

    def render(self) -> tuple[float, Int16]:
        """When it begins on our clock, in milliseconds, and the whole of it at `RATE_HZ`."""
        placed = [(at_ms, samples) for stretch in self._stretches for at_ms, samples in _place(stretch)]
        if not placed:
            return 0.0, np.zeros(0, np.int16)
        origin_ms = min(at_ms for at_ms, _ in placed)
        starts = [round((at_ms - origin_ms) * RATE_HZ / 1000) for at_ms, _ in placed]
        length = max(start + len(samples) for start, (_, samples) in zip(starts, placed, strict=True))
        # A stretch that begins long after the one before must not make up a file of silence without bound.
        out = np.zeros(min(length, int(MAX_RECORDING_S * RATE_HZ)), np.int16)
        for start, (_, samples) in zip(starts, placed, strict=True):
            piece = samples[: max(0, len(out) - start)]
            out[start : start + len(piece)] = piece
        return origin_ms, out

    def sounds(self) -> list[Sound]:
        """What was heard, on our clock."""
        origin_ms, samples = self.render()
        return [Sound(origin_ms + s.start_ms, origin_ms + s.end_ms) for s in find_sounds(samples)]


def _place(stretch: _Stretch) -> Iterator[tuple[float, Int16]]:
    delays = [a - s for a, s in zip(stretch.arrivals_ms, stretch.stamps_ms, strict=True)]
    current = math.inf
    for i, samples in enumerate(stretch.samples):
        delay_ms = min(delays[i : i + LOOKAHEAD_FRAMES])
        if abs(delay_ms - current) > JUMP_MS:
            current = delay_ms
        yield stretch.stamps_ms[i] + current, samples
