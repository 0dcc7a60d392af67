"""Makes the samples that are not recordings as they came: `python samples/make.py [--noise FOLDER]`.

- weather-with-pause.wav: what-is-the-weather-in-berlin.wav with 450 ms of near-silence after "the".
- fellow-americans.wav: the first 2.9 seconds of jfk.wav.
- silence.wav: four seconds of a quiet room: noise at -70 dBFS.
- noise.wav: a running engine at -38 dBFS, a dog, a car horn and a ringing telephone on top.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
RATE_HZ = 16_000
THE_ENDS_MS = 425
PAUSE_MS = 450
FADE_MS = 10


def read(path: Path) -> NDArray[np.float64]:
    """A 16 kHz mono recording as samples in [-1, 1)."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise SystemExit(f"{path}: expected 16 kHz, mono, 16 bits")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def write(name: str, samples: NDArray[np.float64]) -> None:
    with wave.open(str(HERE / name), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def hiss(duration_ms: int, dbfs: float) -> NDArray[np.float64]:
    return np.random.default_rng(7).normal(0, 10 ** (dbfs / 20), duration_ms * RATE_HZ // 1000)


def at_level(samples: NDArray[np.float64], dbfs: float) -> NDArray[np.float64]:
    return samples * 10 ** (dbfs / 20) / np.sqrt(np.mean(samples**2))


def pause_inside() -> NDArray[np.float64]:
    speech = read(HERE / "what-is-the-weather-in-berlin.wav").copy()
    cut, fade = THE_ENDS_MS * RATE_HZ // 1000, FADE_MS * RATE_HZ // 1000
    before, after = speech[:cut], speech[cut:]
    before[-fade:] *= np.linspace(1, 0, fade)
    after[:fade] *= np.linspace(0, 1, fade)
    return np.concatenate((before, hiss(PAUSE_MS, -62), after))


def street(noise_dir: Path) -> NDArray[np.float64]:
    engine = at_level(read(noise_dir / "engine_idling.wav"), -38)
    out = np.concatenate((engine, engine))
    for name, dbfs, start_s in (("dog_bark", -30, 0.5), ("car_horn", -32, 4.6), ("ringing_phone", -30, 3.5)):
        sound, start = at_level(read(noise_dir / f"{name}.wav"), dbfs), int(start_s * RATE_HZ)
        sound = sound[: len(out) - start]
        out[start : start + len(sound)] += sound
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=Path, help="the folder of the noises; without it, noise.wav is left")
    options = parser.parse_args()
    write("weather-with-pause.wav", pause_inside())
    write("fellow-americans.wav", read(HERE / "jfk.wav")[: int(2.9 * RATE_HZ)])
    write("silence.wav", hiss(4000, -70))
    if options.noise:
        write("noise.wav", street(options.noise))


if __name__ == "__main__":
    main()
