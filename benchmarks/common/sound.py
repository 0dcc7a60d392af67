"""Levels, where speech is in a recording, and where sound is in what was received. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.recording import RATE_HZ, find_speech, read_audio

Int16: TypeAlias = NDArray[np.int16]

FRAME_SAMPLES = 960
#: Levels are taken over so many samples, 2.5 ms.
WINDOW_SAMPLES = 120
#: What is louder is sound: what Opus makes of silence is far below, a voice ducked by 20 dB above.
SOUND_DBFS = -50.0
#: A microphone in a quiet room.
ROOM_DBFS = -75.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Something a caller says: mono at 48 kHz, laid out so that its last sound ends with a 20 ms frame."""

    name: str
    text: str
    samples: Int16
    #: Of the first and behind the last sample of speech.
    begin: int
    end: int

    @property
    def speech_s(self) -> float:
        return (self.end - self.begin) / RATE_HZ


def load_recording(path: Path, text: str) -> Recording:
    """Raises `agent.recording.AudioFileError`."""
    samples = read_audio(path)
    begin, end = speech_in(samples)
    # Where in a frame speech ends would otherwise blur what is measured by up to 20 ms.
    ahead = -end % FRAME_SAMPLES
    padded = np.concatenate((np.zeros(ahead, np.int16), samples))
    tail = np.zeros(-len(padded) % FRAME_SAMPLES, np.int16)
    return Recording(path.stem, text, np.concatenate((padded, tail)), begin + ahead, end + ahead)


def speech_in(samples: Int16) -> tuple[int, int]:
    """The first sample of speech and the one behind the last, by the rule that the service's own caller has.

    What is 25 dB quieter than the loud parts is the room. Raises `ValueError` for silence.
    """
    speech = find_speech(samples)
    if speech is None:
        raise ValueError("there is no speech in this recording")
    return int(speech.start_ms * RATE_HZ / 1000), int(speech.end_ms * RATE_HZ / 1000)


def levels_dbfs(samples: Int16) -> NDArray[np.float64]:
    """The level of each whole window."""
    whole = samples[: len(samples) // WINDOW_SAMPLES * WINDOW_SAMPLES].astype(np.float64) / 32768.0
    power = np.mean(whole.reshape(-1, WINDOW_SAMPLES) ** 2, axis=1)
    return np.asarray(10 * np.log10(power + 1e-12))


def room_noise(count: int, random: np.random.Generator) -> Int16:
    """What a microphone hears when nobody speaks."""
    return np.asarray(random.normal(0, 32768 * 10 ** (ROOM_DBFS / 20), count), np.int16)
