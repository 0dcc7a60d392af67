"""What Whisper hears, and how soon: in its full window, and as it is used here.

    python -m benchmarks.recognition [--quick] [--json FILE] [--peers none|all] [--audio DIR] [--model DIR]

Words are judged with the model in DIR, which must know what the recordings in DIR say; noise must give no
text. Milliseconds are those of `base.en`: its true shape with random weights (`benchmarks.common.weights`),
which write 12 words for a sentence and 30 for more. faster-whisper gets the audio when all of it is there and
pads it to 30 s. Ours gets it as it is spoken, in real time, and is asked twice as turn-taking does: for a
guess when `PAUSE_MS` of silence are there, and for the text `END_MS` after that. Greedy decoding, one thread
for each of two workers, on both sides. A full run writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from benchmarks.common.document import markdown, write_section
from benchmarks.common.figures import bar, machine
from benchmarks.common.weights import random_whisper
from benchmarks.recognition_set import Sample, hush, read, samples
from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.jobs import JobDroppedError
from pipelines.models import ModelStore
from pipelines.options import ModelsOptions, SttOptions
from pipelines.stt import whisper_window
from pipelines.stt.speech_track import SpeechTrack
from pipelines.stt.sphinx_phrases import words_of
from pipelines.stt.whisper import WhisperEngine
from pipelines.vad import WINDOW_SAMPLES

PAUSE_MS, END_MS = 128, 192
#: What a listener keeps from before the onset.
LEAD_S = 0.4
#: The same recognition on Whisper's whole window, and faster-whisper as it comes, which gets the recording
#: alone: it has no silence to find the words in.
FULL_WINDOW, PEER = "ours, full window", "faster-whisper"
#: Three of three hundred sentences: as many as change with where the 32 ms windows fall.
MISHEARD_LIMIT = 0.01
SHARE_LIMIT = 0.4

Table = dict[str, dict[str, float]]
#: Wrong words in each recording of speech, by who heard it.
Errors = dict[str, list[int]]


# ---- the two sides


def faster_whisper(engine: WhisperEngine, audio: Samples) -> str:
    segments, _ = engine._model.transcribe(
        audio, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text.strip() for segment in segments)


@contextmanager
def whole_window() -> Iterator[None]:
    """What is recognised meanwhile is padded to 30 s."""
    shortest_s = whisper_window.MIN_WINDOW_S
    whisper_window.MIN_WINDOW_S = whisper_window.FULL_WINDOW_S
    try:
        yield
    finally:
        whisper_window.MIN_WINDOW_S = shortest_s


async def ours(engine: WhisperEngine, audio: Samples, *, live: bool) -> str:
    """Fed at once, or, `live`, in pieces as a call brings them.

    A recognition that began by itself is then over before the next piece comes: with the least silence behind
    the words that one ever has.
    """
    recognition = engine.recognise(language="en")
    whole = np.concatenate([hush(LEAD_S), audio, hush(0.4)])
    for start in range(0, len(whole), WINDOW_SAMPLES if live else len(whole)):
        recognition.feed(whole[start : start + (WINDOW_SAMPLES if live else len(whole))])
        for flight in list(recognition._flights):
            with suppress(JobDroppedError):
                await flight.job.wait()
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


async def judge_words(model: Path, groups: dict[str, list[Sample]], *, peers: bool) -> tuple[Table, Errors]:
    engine = await load(model)
    table: Table = {}
    all_errors: Errors = defaultdict(list)
    for name, group in groups.items():
        heard = {"ours": [await ours(engine, sample.audio, live=False) for sample in group]}
        heard["ours, live"] = [await ours(engine, sample.audio, live=True) for sample in group]
        if peers:
            with whole_window():
                heard[FULL_WINDOW] = [await ours(engine, sample.audio, live=False) for sample in group]
            heard[PEER] = [await asyncio.to_thread(faster_whisper, engine, sample.audio) for sample in group]
        row: dict[str, float] = {"n": len(group)}
        if group[0].text:
            row["words"] = sum(len(words_of(sample.text)) for sample in group)
        for side, texts in heard.items():
            if group[0].text:
                errors = word_errors(group, texts)
                row[f"wrong {side}"] = sum(errors)
                row[f"wer {side}"] = sum(errors) / row["words"]
                row[f"misheard {side}"] = sum(map(bool, errors))
                all_errors[side] += errors
            else:
                row[f"texts {side}"] = sum(bool(text) for text in texts)
        table[name] = row
    await engine.close()
    return table, all_errors


def word_errors(group: list[Sample], texts: list[str]) -> list[int]:
    pairs = ((words_of(sample.text), words_of(text)) for sample, text in zip(group, texts, strict=True))
    return [Levenshtein.distance(said, heard) for said, heard in pairs]


async def judge_time(audio: Path, *, times: int, peers: bool) -> Table:
    sentence, speech = (
        up_to_last_sound(read(audio / name)) for name in ("callers/my-name-is-david.wav", "speech/jfk.wav")
    )
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
                full.append(await timed(faster_whisper, engine, said))
        row: dict[str, float] = {"n": times}
        for field in ("guess_ms", "final_ms", "after_last_sound_ms"):
            spread(row, field, [getattr(one, field) for one in live])
        if full:
            spread(row, "faster_whisper_ms", full)
        table[name] = row
        await engine.close()
    return table


def up_to_last_sound(audio: Samples) -> Samples:
    """Without the silence at its end, in which the recognition would be over before it counts."""
    track = SpeechTrack()
    track.feed(audio)
    return audio[: track.end]


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


# ---- what is told


def show(title: str, table: Table) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        print(f"  {name}")
        for figure, value in row.items():
            print(f"    {figure:40}{value:>10.3f}" if "wer" in figure else f"    {figure:40}{value:>10.0f}")


def bars(heard: Table, errors: Errors, cost: Table) -> list[tuple[str, float, float]]:
    """What, value, limit: none may be above."""
    found: list[tuple[str, float, float]] = []
    words = sum(row.get("words", 0) for row in heard.values())
    for peer in (peer for peer in (FULL_WINDOW, PEER) if peer in errors):
        for side in ("ours", "ours, live"):
            more = np.array(errors[side]) - np.array(errors[peer])
            least = beyond_chance(more) / words
            found.append((f"{side}: WER above that of {peer}, {more.sum() / words:+.3f}, at least", least, 0))
            # Once a sentence is misheard the model makes up the rest, and how many words of it is luck.
            misheard = np.mean(np.sign(errors[side])) - np.mean(np.sign(errors[peer]))
            found.append((f"{side}: share misheard above that of {peer}", float(misheard), MISHEARD_LIMIT))
    for name, row in heard.items():
        for figure in ("texts ours", "texts ours, live"):
            if figure in row:
                found.append((f"{name}: {figure}", row[figure], 0))
    for name, row in cost.items():
        if "faster_whisper_ms" in row:
            share = row["guess_ms"] / row["faster_whisper_ms"]
            found.append((f"{name}: share of the full window's time", share, SHARE_LIMIT))
    return found


def beyond_chance(more: NDArray[np.int64]) -> float:
    """The least that the sum of `more` may be, with 97.5 % confidence (bootstrap over the recordings)."""
    random = np.random.default_rng(1)
    return float(np.percentile(random.choice(more, (4000, len(more))).sum(axis=1), 2.5))


def document(heard: Table, cost: Table, judged: list[str]) -> str:
    """The section of docs/benchmarks.md."""
    sides = ("ours", "ours, live", FULL_WINDOW, PEER)
    said = [
        (name, f"{row['n']:.0f}", f"{row['words']:.0f}", *(of_words(row, side) for side in sides))
        for name, row in heard.items()
        if "words" in row
    ]
    unsaid = [
        (name, f"{row['n']:.0f}", *(f"{row[f'texts {side}']:.0f}" for side in sides))
        for name, row in heard.items()
        if "words" not in row
    ]
    times = [
        (
            name,
            f"{row['n']:.0f}",
            *(
                f"{row[figure]:.0f} / {row[f'{figure} p95']:.0f} / {row[f'{figure} worst']:.0f}"
                for figure in ("guess_ms", "final_ms", "after_last_sound_ms", "faster_whisper_ms")
            ),
        )
        for name, row in cost.items()
    ]
    return "\n\n".join(
        (
            "## What Whisper hears, and how soon",
            f"`benchmarks/recognition.py`, {datetime.date.today()}, {machine()}.",
            "Words that are wrong, their share, and the sentences in which any is, of the small model made "
            "for the tests, which knows what these recordings say and little else. Live: fed as a call "
            "brings it, with the least silence behind the words that a recognition ever has. Full window: "
            "the same audio padded to 30 s. faster-whisper as it comes writes timestamps, which changes what "
            "it makes up, and gets each recording without the silence around it.",
            markdown(("recordings", "n", "words", *sides), said),
            "Recordings without words in which some were heard:",
            markdown(("recordings", "n", *sides), unsaid),
            "Milliseconds of `base.en` (random weights in its true shape), median / p95 / worst. A guess is "
            f"asked for after {PAUSE_MS} ms of silence, the text {END_MS} ms later.",
            markdown(
                ("speech", "n", "the guess", "the text", "last sound to guess", "faster-whisper, all of it"),
                times,
            ),
            "```\n" + "\n".join(judged) + "\n```",
        )
    )


def of_words(row: dict[str, float], side: str) -> str:
    return f"{row[f'wrong {side}']:.0f} = {row[f'wer {side}']:.3f}, {row[f'misheard {side}']:.0f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples, three times each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peers", choices=("none", "all"), default="all", help="faster-whisper")
    audio = os.environ.get("VOICE_AGENT_TEST_AUDIO", "../shared/audio")
    models = os.environ.get("VOICE_AGENT_TEST_MODELS", "../shared/models")
    parser.add_argument("--audio", type=Path, default=audio)
    parser.add_argument("--model", type=Path, default=Path(models) / "whisper-mini-en")
    options = parser.parse_args()
    peers = options.peers == "all"
    heard, errors = await judge_words(options.model, samples(options.audio, quick=options.quick), peers=peers)
    show("What is heard", heard)
    cost = await judge_time(options.audio, times=3 if options.quick else 10, peers=peers)
    show("What it costs (base.en)", cost)
    judged = [bar(what, value, "<=", limit) for what, value, limit in bars(heard, errors, cost)]
    print("", *judged, sep="\n")
    if peers and not options.quick:
        write_section("recognition", document(heard, cost, judged))
        print("written: docs/benchmarks.md")
    if options.json:
        options.json.write_text(json.dumps({"heard": heard, "cost": cost}, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
