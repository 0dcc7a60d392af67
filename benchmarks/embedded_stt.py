"""How well the embedded recogniser hears what is expected, what is not, and what is no speech at all.

    python benchmarks/embedded_stt.py [--quick] [--json FILE] [--audio DIR]

The thresholds of `pipelines.stt.sphinx_decoder` are read off this table. Expected sentences are spoken by the
built-in voice, and by the recordings in DIR where there are any (`callers.json`: sentences; `manifest.json`:
people, who say something else, and noises). There are no peers: what is measured is our judgement.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import wave
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from piper import PiperVoice
from rapidfuzz.distance import Levenshtein

from benchmarks.common.figures import bar, finish
from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float
from pipelines.llm.scripted import UNDERSTOOD_PHRASES
from pipelines.stt.sphinx_decoder import SphinxDecoder
from pipelines.stt.sphinx_phrases import words_of
from pipelines.tts.piper import BUILTIN_FILE, builtin_folder

UNEXPECTED = (
    "I want to buy a new bicycle for my daughter", "How tall is the Eiffel tower", "bananas", "maybe later",
    "Who won the football game last night", "My grandmother bakes wonderful apple pies", "open the window",
    "It was a dark and stormy night", "why is the sky blue", "I think the government should lower taxes",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    group: str
    audio: Samples
    #: What is said; empty for noise, None where nobody wrote it down.
    text: str | None


def spoken(group: str, sentences: tuple[str, ...]) -> Iterator[Sample]:
    with builtin_folder() as folder:
        voice = PiperVoice.load(folder / BUILTIN_FILE)
    for text in sentences:
        audio = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text)])
        yield Sample(group, audio.astype(np.float32), text)


def recorded(folder: Path) -> Iterator[Sample]:
    if (folder / "callers.json").is_file():
        for caller in json.loads((folder / "callers.json").read_text())["callers"]:
            yield Sample("expected, callers", read(folder / caller["file"]), caller["text"])
    if (folder / "manifest.json").is_file():
        manifest = json.loads((folder / "manifest.json").read_text())
        for clip in manifest["speech"]:
            if clip["language"] == "en":
                yield Sample("unexpected, people", read(folder / clip["file"]), clip["text"])
        for clip in manifest["noise"]:
            audio = read(folder / clip["file"])
            for start in range(0, len(audio) - SPEECH_RATE_HZ, 3 * SPEECH_RATE_HZ):
                yield Sample("noise, recorded", audio[start : start + 3 * SPEECH_RATE_HZ], "")


def made_up() -> Iterator[Sample]:
    random = np.random.default_rng(1)
    for loudness in (0.0, 1e-4, 1e-3, 1e-2, 1e-1):
        yield Sample("noise, hiss", random.normal(0, 1, SPEECH_RATE_HZ).astype(np.float32) * loudness, "")
    for _ in range(20):
        length = int(random.integers(4000, 24_000))
        breath = random.normal(0, 10 ** random.uniform(-2.5, -0.8), length) * np.hanning(length) ** 2
        spectrum, hz = np.fft.rfft(breath), np.fft.rfftfreq(length, 1 / SPEECH_RATE_HZ)
        spectrum *= (hz > random.uniform(100, 800)) / (1 + (hz / random.uniform(500, 3000)) ** 2)
        yield Sample("noise, breath", np.fft.irfft(spectrum).astype(np.float32), "")


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return to_float(np.frombuffer(file.readframes(file.getnframes()), np.int16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fifth sample")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peers", choices=("none", "all"), default="none", help="there are none")
    parser.add_argument(
        "--audio", type=Path, default=os.environ.get("VOICE_AGENT_TEST_AUDIO", "../shared/audio")
    )
    options = parser.parse_args()
    callers = tuple(s.text for s in recorded(options.audio) if s.group.startswith("expected") and s.text)
    phrases = tuple(dict.fromkeys((*UNDERSTOOD_PHRASES, *callers)))
    samples = [*recorded(options.audio), *made_up(), *spoken("unexpected, built-in voice", UNEXPECTED)]
    samples += spoken("expected, built-in voice", UNDERSTOOD_PHRASES)
    table = measure(samples[:: 5 if options.quick else 1], phrases)
    show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    finish(bars(table))


def measure(samples: list[Sample], phrases: tuple[str, ...]) -> dict[str, dict[str, float]]:
    decoder = SphinxDecoder()
    decoder.expect(np.zeros(1600, np.float32), phrases)
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        group = sums[sample.group]
        started = time.perf_counter()
        heard = decoder.hear(sample.audio, phrases)
        group["x_real_time"].append((time.perf_counter() - started) * SPEECH_RATE_HZ / len(sample.audio))
        expected, stock = decoder.expect(sample.audio, phrases), decoder.expect(sample.audio)
        if expected.text and stock.text:
            group["margin"].append(expected.score - stock.score)
        group["quiet"].append(not heard.text)
        if sample.text:
            said = words_of(sample.text)
            group["words"].append(len(said))
            for name, text in (("", heard.text), ("_phrases", expected.text), ("_stock", stock.text)):
                group[f"errors{name}"].append(Levenshtein.distance(said, words_of(text)))
    return {name: summary(group) for name, group in sorted(sums.items())}


def summary(group: dict[str, list[float]]) -> dict[str, float]:
    out = {"samples": len(group["quiet"]), "quiet": statistics.mean(group["quiet"])}
    out["x_real_time"] = statistics.median(group["x_real_time"])
    out["x_real_time_worst"] = max(group["x_real_time"])
    for name in ("errors", "errors_phrases", "errors_stock"):
        if group["words"]:
            out[name.replace("errors", "wer")] = sum(group[name]) / sum(group["words"])
    if group["margin"]:
        out["margin_p5"], out["margin_p50"], out["margin_p95"] = np.percentile(group["margin"], (5, 50, 95))
    return {name: round(float(value), 3) for name, value in out.items()}


def show(table: dict[str, dict[str, float]]) -> None:
    names = ("samples", "wer", "wer_phrases", "wer_stock", "quiet", "margin_p5", "margin_p50", "margin_p95")
    names += ("x_real_time", "x_real_time_worst")
    print(f"{'':28}" + "".join(f"{name:>13.13}" for name in names))
    for group, row in table.items():
        print(f"{group:28}" + "".join(f"{row[name]:>13g}" if name in row else f"{'':13}" for name in names))


def bars(table: dict[str, dict[str, float]]) -> Iterator[str]:
    for group, limit in (("expected, callers", 0.05), ("unexpected, people", 0.4)):
        if group in table:
            yield bar(f"{group} wer", table[group]["wer"], "<=", limit)
    for group in ("noise, recorded", "noise, breath", "noise, hiss"):
        if group in table:
            yield bar(f"{group} quiet", table[group]["quiet"], ">=", 0.9)


if __name__ == "__main__":
    main()
