"""What Whisper hears, and how long after the last word: faster-whisper as it comes, and as it is used here.

    python -m benchmarks.recognition [--quick] [--json FILE] [--peers none|all] [--audio DIR] [--model DIR]

Words are judged with the model in DIR, which must know what the recordings in DIR say; noise must give no
text. Milliseconds are those of `base.en`: its true shape with random weights (`benchmarks.common.weights`),
which write 12 words for a sentence and 30 for more. faster-whisper gets the audio when all of it is there and
pads it to 30 s. Ours gets it as it is spoken, in real time, and is asked twice as turn-taking does: for a
guess when `PAUSE_MS` of silence are there, and for the text `END_MS` after that. Greedy decoding, one thread
for each of two workers, on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from benchmarks.common.weights import random_whisper
from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float
from pipelines.models import ModelStore
from pipelines.options import ModelsOptions, SttOptions
from pipelines.stt.sphinx_phrases import words_of
from pipelines.stt.whisper import WhisperEngine
from pipelines.vad import WINDOW_SAMPLES

PAUSE_MS, END_MS = 128, 192
#: What a listener keeps from before the onset.
LEAD_S = 0.4
WORDS = ("yes", "no", "stop", "hello", "goodbye")
#: Noises without people in them; the recording of a crowd holds words.
NOISES = ("car_horn", "dog_bark", "engine_idling", "ringing_phone")

Table = dict[str, dict[str, float]]


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
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    (jfk,) = [clip for clip in manifest["speech"] if clip["file"].endswith("jfk.wav")]
    noises = [read(folder / "noise" / f"{name}.wav") for name in NOISES]
    return {
        "callers": callers[:: 4 if quick else 1],
        "one word": [Sample(read(folder / "callers" / f"{word}.wav"), word) for word in WORDS],
        "a real speaker, 11 s": [Sample(read(folder / jfk["file"]), jfk["text"])],
        "noise": [Sample(cut) for noise in noises for cut in cuts(noise)][:: 3 if quick else 1],
        "breath, tones, hiss, silence": [Sample(audio) for audio in made_up()],
    }


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
        spectrum, hz = np.fft.rfft(breath), np.fft.rfftfreq(length, 1 / SPEECH_RATE_HZ)
        breaths.append(np.fft.irfft(spectrum * ((hz > low_hz) & (hz < high_hz))))
    return [audio.astype(np.float32) for audio in (*quiet, chord, tune, *breaths)]


# ---- the two sides


def as_it_comes(engine: WhisperEngine, audio: Samples) -> str:
    segments, _ = engine._model.transcribe(
        audio, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text.strip() for segment in segments)


async def ours(engine: WhisperEngine, audio: Samples) -> str:
    recognition = engine.recognise(language="en")
    recognition.feed(np.concatenate([hush(LEAD_S), audio, hush(0.4)]))
    transcript = await recognition.transcribe(decisive=True)
    recognition.close()
    return transcript.text


@dataclass(frozen=True)
class Live:
    #: From asking to having, for the guess at the pause and for the text at the end of the turn.
    guess_ms: float
    final_ms: float
    #: From the end of the last sound to the text.
    after_last_sound_ms: float


async def spoken(engine: WhisperEngine, audio: Samples) -> Live:
    """Feed `audio` as fast as it is spoken, captions and all."""
    recognition = engine.recognise(language="en")
    whole = np.concatenate([hush(LEAD_S), audio, hush(1.0)])
    ends = int(LEAD_S * SPEECH_RATE_HZ) + len(audio)
    began = time.perf_counter()
    fed = 0

    async def until(position: int) -> None:
        nonlocal fed
        while fed < position:
            fed += WINDOW_SAMPLES
            await asyncio.sleep(began + fed / SPEECH_RATE_HZ - time.perf_counter())
            recognition.feed(whole[fed - WINDOW_SAMPLES : fed])

    async def captions() -> None:
        while True:
            await asyncio.sleep(0.25)
            await recognition.partial()

    following = asyncio.create_task(captions())
    await until(ends + PAUSE_MS * SPEECH_RATE_HZ // 1000)
    asked = time.perf_counter()
    got: list[float] = []
    guess = asyncio.create_task(recognition.transcribe(decisive=False))
    guess.add_done_callback(lambda _: got.append(time.perf_counter()))
    await until(fed + END_MS * SPEECH_RATE_HZ // 1000)
    asked_again = time.perf_counter()
    await recognition.transcribe(decisive=True)
    final = time.perf_counter()
    await guess
    following.cancel()
    await asyncio.wait({following})
    recognition.close()
    last_sound = began + ends / SPEECH_RATE_HZ
    (at,) = got
    return Live(1000 * (at - asked), 1000 * (final - asked_again), 1000 * (at - last_sound))


# ---- what is measured


async def judge_words(model: Path, groups: dict[str, list[Sample]], *, peers: bool) -> Table:
    engine = await load(model)
    table: Table = {}
    for name, group in groups.items():
        heard = {"ours": [await ours(engine, sample.audio) for sample in group]}
        if peers:
            heard["faster-whisper"] = [
                await asyncio.to_thread(as_it_comes, engine, sample.audio) for sample in group
            ]
        row: dict[str, float] = {"n": len(group)}
        for side, texts in heard.items():
            if group[0].text:
                row[f"wer {side}"] = word_error_rate(group, texts)
            else:
                row[f"texts {side}"] = sum(bool(text) for text in texts)
        table[name] = row
    await engine.close()
    return table


def word_error_rate(group: list[Sample], texts: list[str]) -> float:
    said = [words_of(sample.text) for sample in group]
    errors = sum(Levenshtein.distance(one, words_of(other)) for one, other in zip(said, texts, strict=True))
    return errors / sum(map(len, said))


async def judge_time(audio: Path, *, times: int, peers: bool) -> Table:
    sentence, speech = read(audio / "callers" / "my-name-is-david.wav"), read(audio / "speech" / "jfk.wav")
    rows = (
        ("a sentence", 12, sentence),
        ("11 s", 30, speech),
        ("22 s with pauses", 30, np.concatenate([speech, hush(0.6), speech])),
    )
    table: Table = {}
    for name, words, said in rows:
        engine = await load(random_whisper(made_up_words(words)))
        live, full = [], []
        for _ in range(times):
            live.append(await spoken(engine, said))
            if peers:
                full.append(await timed(as_it_comes, engine, said))
        row: dict[str, float] = {"n": times}
        for field in ("guess_ms", "final_ms", "after_last_sound_ms"):
            spread(row, field, [getattr(one, field) for one in live])
        if full:
            spread(row, "faster_whisper_ms", full)
        table[name] = row
        await engine.close()
    return table


def made_up_words(count: int) -> tuple[str, ...]:
    """Tokens of six letters that no check takes for a repetition."""
    random = np.random.default_rng(1)
    return tuple(
        "Ġ" + "".join(chr(ord("a") + letter) for letter in random.integers(0, 26, 6)) for _ in range(count)
    )


async def timed(call: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(call, *arguments)
    return 1000 * (time.perf_counter() - began)


def spread(row: dict[str, float], name: str, values: list[float]) -> None:
    row[name] = statistics.median(values)
    row[f"{name} p95"] = float(np.percentile(values, 95))
    row[f"{name} worst"] = max(values)


async def load(model: Path) -> WhisperEngine:
    models = ModelStore(ModelsOptions(fetch=False))
    return await WhisperEngine.load(SttOptions(model=str(model)), models=models, reason="measured")


# ---- what is printed


def show(title: str, table: Table) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        print(f"  {name}")
        for figure, value in row.items():
            print(f"    {figure:32}{value:>10.3f}" if "wer" in figure else f"    {figure:32}{value:>10.0f}")


def bars(heard: Table, cost: Table) -> list[tuple[str, float, float]]:
    """What, value, limit: none may be above."""
    found: list[tuple[str, float, float]] = []
    for name, row in heard.items():
        if "wer faster-whisper" in row:
            found.append(
                (f"{name}: WER above the full window's", row["wer ours"] - row["wer faster-whisper"], 0.02)
            )
        elif "texts ours" in row:
            found.append((f"{name}: texts where nobody speaks", row["texts ours"], 0))
    for name, row in cost.items():
        if "faster_whisper_ms" in row:
            share = row["guess_ms"] / row["faster_whisper_ms"]
            found.append((f"{name}: share of the full window's time", share, 0.4))
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples, three times each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peers", choices=("none", "all"), default="all", help="faster-whisper as it comes")
    audio = os.environ.get("VOICE_AGENT_TEST_AUDIO", "../shared/audio")
    models = os.environ.get("VOICE_AGENT_TEST_MODELS", "../shared/models")
    parser.add_argument("--audio", type=Path, default=audio)
    parser.add_argument("--model", type=Path, default=Path(models) / "whisper-mini-en")
    options = parser.parse_args()
    peers = options.peers == "all"
    heard = await judge_words(options.model, samples(options.audio, quick=options.quick), peers=peers)
    show("What is heard", heard)
    cost = await judge_time(options.audio, times=3 if options.quick else 10, peers=peers)
    show("What it costs (base.en)", cost)
    judged = bars(heard, cost)
    print()
    for what, value, limit in judged:
        print(f"bar: {what} {value:.3f} <= {limit:g} {'ok' if value <= limit else 'short'}")
    if options.json:
        options.json.write_text(json.dumps({"heard": heard, "cost": cost}, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
