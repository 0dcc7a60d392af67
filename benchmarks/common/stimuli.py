"""What a caller may do while somebody speaks to them: say something, approve, cough, echo."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from piper import PiperVoice

from agent.recording import RATE_HZ, read_audio
from benchmarks.common.sound import Int16, Recording, load_recording, speech_in

BACKCHANNELS = ("Mm-hm.", "Uh-huh.", "Yeah.", "Okay.", "Right.", "I see.", "Yes.", "Sure.", "Oh.", "Got it.")
#: These of the callers' recordings approve; every other one says something.
APPROVING = ("yes",)
#: These ask to be let in, whatever follows.
STOPPING = ("stop", "wait-a-moment", "never-mind", "no", "no-thank-you")
#: So much of a recording of noise is played, at this level, from as many places in it.
NOISE_S, NOISE_DBFS, NOISE_PARTS = 2.2, -26.0, 2
COUGHS = 12
#: People who read aloud, for so long.
SUSTAINED_S = (1.5, 2.7)
#: Longer interruptions say nothing more and take time.
MAX_INTERRUPTION_S = 2.2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EchoPath:
    """From the loudspeaker back into the microphone."""

    delay_ms: float
    gain: float
    reverberation_s: float


@dataclass(frozen=True, slots=True)
class Stimulus:
    """What happens over a reply, and whether it is meant to stop it."""

    kind: str
    #: None: nothing is said.
    recording: Recording | None
    interrupts: bool
    #: What the microphone hears of the reply; None: headphones.
    echo: EchoPath | None = None

    @property
    def name(self) -> str:
        return self.recording.name if self.recording else "reply"

    @property
    def speech_s(self) -> float:
        return self.recording.speech_s if self.recording else 0.0


ECHOES = tuple(
    EchoPath(delay_ms, gain, reverberation_s)
    for delay_ms, gain, reverberation_s in (
        (60.0, 0.6, 0.2),
        (120.0, 0.3, 0.3),
        (180.0, 0.5, 0.4),
        (240.0, 0.15, 0.3),
        (300.0, 0.4, 0.2),
        (360.0, 0.08, 0.5),
        (420.0, 0.25, 0.3),
        (500.0, 0.5, 0.35),
    )
)


def interruptions(audio: Path) -> list[Stimulus]:
    """Calls to stop, and questions."""
    known = json.loads((audio / "callers.json").read_text())["callers"]
    recordings = [load_recording(audio / c["file"], c["text"]) for c in known]
    return [
        Stimulus("stop or wait" if recording.name in STOPPING else "words", recording, interrupts=True)
        for recording in recordings
        if recording.name not in APPROVING and recording.speech_s <= MAX_INTERRUPTION_S
    ]


def sustained(audio: Path) -> list[Stimulus]:
    """People who go on speaking."""
    known = json.loads((audio / "manifest.json").read_text())["speech"]
    recordings = [load_recording(audio / clip["file"], clip["text"]) for clip in known if clip["text"]]
    least_s, most_s = SUSTAINED_S
    return [
        Stimulus("sustained speech", recording, interrupts=True)
        for recording in recordings
        if least_s <= recording.speech_s <= most_s
    ]


def harmless(audio: Path, voices: Iterable[Path]) -> list[Stimulus]:
    """Approval in every one of `voices` (Piper), coughs and noise."""
    found = [
        Stimulus("backchannel", load_recording(audio / "callers" / f"{name}.wav", "Yes."), interrupts=False)
        for name in APPROVING
    ]
    for path in voices:
        voice = PiperVoice.load(path)
        for text in BACKCHANNELS:
            chunks = list(voice.synthesize(text))
            samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
            spoken = resampled(samples, chunks[0].sample_rate)
            found.append(Stimulus("backchannel", _laid_out(text.strip("."), text, spoken), interrupts=False))
    found += [
        Stimulus("cough", _laid_out(f"cough {n}", "", cough(n)), interrupts=False) for n in range(COUGHS)
    ]
    for path in sorted((audio / "noise").glob("*.wav")):
        samples = read_audio(path).astype(np.float64)
        size = int(NOISE_S * RATE_HZ)
        for start in np.linspace(0, max(0, len(samples) - size), NOISE_PARTS, dtype=int):
            part = samples[start : start + size]
            level = np.sqrt(np.mean(part**2)) / 32768
            noise = np.clip(part * 10 ** (NOISE_DBFS / 20) / level, -32768, 32767).astype(np.int16)
            name = f"{path.stem} {start / RATE_HZ:.0f} s"
            found.append(Stimulus("noise", Recording(name, "", noise, 0, len(noise)), interrupts=False))
    return found


def cough(number: int) -> Int16:
    """One to three bursts: a sharp onset of broad noise, a throat's resonances, a voiced end."""
    random = np.random.default_rng(number)
    parts: list[Floats] = []
    for _ in range(1 + number % 3):
        seconds = np.arange(int(random.uniform(0.18, 0.35) * RATE_HZ)) / RATE_HZ
        attack = np.minimum(1.0, seconds / 0.008)
        breath = random.standard_normal(len(seconds)) * attack * np.exp(-seconds / random.uniform(0.04, 0.09))
        pitch_hz = random.uniform(90, 220) * (1 - 0.8 * seconds)
        pulses = np.maximum(0, np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)) ** 4
        voiced = pulses * np.minimum(1, seconds / 0.06) * np.exp(-seconds / 0.08) * random.uniform(0.2, 0.6)
        parts += [
            _resonant(breath + voiced, (random.uniform(450, 750), random.uniform(1200, 1700), 2700.0)),
            np.zeros(int(random.uniform(0.06, 0.2) * RATE_HZ)),
        ]
    sound = np.concatenate(parts)
    return np.asarray(sound / np.abs(sound).max() * 0.4 * 32767, np.int16)


def room_response(path: EchoPath) -> Floats:
    """Of a small loudspeaker in a room, at `RATE_HZ`, without the delay; its power is `gain` squared."""
    random = np.random.default_rng(int(path.delay_ms))
    seconds = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
    response = random.standard_normal(len(seconds)) * 10 ** (-3 * seconds / path.reverberation_s)
    response *= 0.7 / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    size = 2 * len(response)
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    band = (hz / 250) ** 2 / (1 + (hz / 250) ** 2) / np.sqrt(1 + (hz / 6000) ** 8)
    # The loudspeaker's ringing must not come before its sound: that is the room's end, in a transform.
    ringing = np.exp(-2j * np.pi * hz * 0.004)
    response = np.fft.irfft(np.fft.rfft(response, size) * band * ringing, size)[: len(seconds)]
    return np.asarray(path.gain * response / np.sqrt(np.sum(response**2)))


def resampled(samples: Int16, rate_hz: int) -> Int16:
    """At `RATE_HZ`, by straight lines between samples: good enough for what is only to be overheard."""
    at = np.arange(int(len(samples) * RATE_HZ / rate_hz)) * rate_hz / RATE_HZ
    return np.interp(at, np.arange(len(samples)), samples).astype(np.int16)


def _laid_out(name: str, text: str, samples: Int16) -> Recording:
    begin, end = speech_in(samples)
    return Recording(name, text, samples, begin, end)


def _resonant(sound: Floats, formants_hz: tuple[float, ...]) -> Floats:
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    shape = 0.15 + sum(1 / (1 + ((hz - formant_hz) / 150) ** 2) for formant_hz in formants_hz)
    return np.asarray(np.fft.irfft(np.fft.rfft(sound) * shape, len(sound)))
