"""What `benchmarks.recognition` plays to the recognisers: people, the same people elsewhere, and noise."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float

WORDS = ("yes", "no", "stop", "hello", "goodbye")
#: Noises without people in them; the recording of a crowd holds words.
NOISES = ("car_horn", "dog_bark", "engine_idling", "ringing_phone")
TELEPHONE_HZ = (300, 3400)


@dataclass(frozen=True)
class Sample:
    audio: Samples
    #: Empty where nobody speaks.
    text: str = ""


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return to_float(np.frombuffer(file.readframes(file.getnframes()), np.int16))


def hush(seconds: float) -> Samples:
    """The quiet of a room."""
    return np.random.default_rng(0).normal(0, 2e-4, int(seconds * SPEECH_RATE_HZ)).astype(np.float32)


def samples(folder: Path, *, quick: bool) -> dict[str, list[Sample]]:
    callers = [
        Sample(read(folder / caller["file"]), caller["text"])
        for caller in json.loads((folder / "callers.json").read_text())["callers"]
    ][:: 4 if quick else 1]
    words = [Sample(read(folder / "callers" / f"{word}.wav"), word) for word in WORDS]
    manifest = json.loads((folder / "manifest.json").read_text())
    (jfk,) = [clip for clip in manifest["speech"] if clip["file"].endswith("jfk.wav")]
    noises = [read(folder / "noise" / f"{name}.wav") for name in NOISES]
    return {
        "callers": callers,
        "the same elsewhere": [varied for caller in callers for varied in elsewhere(caller)],
        "one word": [one for word in words for one in (word, *elsewhere(word))],
        "a real speaker, 11 s": [Sample(read(folder / jfk["file"]), jfk["text"])],
        "noise": [Sample(cut) for noise in noises for cut in cuts(noise)][:: 3 if quick else 1],
        "breath, tones, hiss, silence": [Sample(audio) for audio in made_up()],
    }


def elsewhere(sample: Sample) -> Iterator[Sample]:
    """The same words with more noise, faster, slower, on a telephone, and further away."""
    audio = sample.audio
    loudness = float(np.sqrt(np.mean(audio[np.abs(audio) > 0.01] ** 2)))
    noise = np.random.default_rng(5).normal(0, loudness, len(audio)).astype(np.float32)
    yield Sample(audio + noise * np.float32(10 ** (-30 / 20)), sample.text)
    yield Sample(audio + noise * np.float32(10 ** (-20 / 20)), sample.text)
    for pace in (0.93, 1.07):
        at = np.arange(0, len(audio) - 1, pace)
        yield Sample(np.interp(at, np.arange(len(audio)), audio).astype(np.float32), sample.text)
    yield Sample(on_telephone(audio), sample.text)
    yield Sample(audio / 4, sample.text)


def on_telephone(audio: Samples) -> Samples:
    """Between slopes of the fourth order, coded as G.711 does (µ-law).

    A brick wall at 300 Hz is what no line has: it takes the pitch of a low voice away altogether, and with it
    what voice activity detection knows a voice by.
    """
    low_hz, high_hz = TELEPHONE_HZ
    hz = np.maximum(1, np.fft.rfftfreq(len(audio), 1 / SPEECH_RATE_HZ))
    gain = 1 / np.sqrt((1 + (low_hz / hz) ** 8) * (1 + (hz / high_hz) ** 8))
    line = np.fft.irfft(np.fft.rfft(audio) * gain, len(audio))
    code = np.round(127 * np.sign(line) * np.log1p(255 * np.minimum(1, np.abs(line))) / np.log(256))
    coded = np.sign(code) * (256 ** (np.abs(code) / 127) - 1) / 255
    return coded.astype(np.float32)


def between(audio: Samples, low_hz: float, high_hz: float) -> Samples:
    spectrum, hz = np.fft.rfft(audio), np.fft.rfftfreq(len(audio), 1 / SPEECH_RATE_HZ)
    return np.fft.irfft(spectrum * ((hz > low_hz) & (hz < high_hz)), len(audio)).astype(np.float32)


def cuts(audio: Samples, seconds: float = 3.0) -> list[Samples]:
    length = int(seconds * SPEECH_RATE_HZ)
    return [audio[start : start + length] for start in range(0, max(1, len(audio) - length), length)]


def made_up() -> list[Samples]:
    random = np.random.default_rng(1)
    length = 2 * SPEECH_RATE_HZ
    time_s = np.arange(length) / SPEECH_RATE_HZ
    quiet = [np.zeros(length), *(random.normal(0, loudness, length) for loudness in (1e-4, 1e-2, 0.1))]
    chord = sum(np.sin(2 * np.pi * hz * time_s) for hz in (262, 330, 392)) * 0.1
    tune = np.concatenate(
        [np.sin(2 * np.pi * hz * time_s[: length // 4]) * 0.2 for hz in (262, 294, 330, 349)]
    )
    breaths = []
    for low_hz, high_hz in ((200, 1500), (500, 3000), (800, 4000)):
        breath = random.normal(0, 0.05, length) * np.hanning(length) ** 2
        breaths.append(between(breath.astype(np.float32), low_hz, high_hz))
    return [audio.astype(np.float32) for audio in (*quiet, chord, tune, *breaths)]
