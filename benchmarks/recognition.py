"""What Whisper hears, and how soon: in its full window, and as it is used here.

    python benchmarks/recognition.py [--quick] [--json FILE] [--peers none|all] [--audio DIR] [--model DIR]

Words are judged with the model in DIR, which must know what the recordings in DIR say; noise must give no
text. Every recording is heard at several places in the stream (`PLACES_S`). Milliseconds are those of
`base.en`: its true shape with random weights (`benchmarks.common.weights`), which write 12 words for a
sentence and 30 for more. faster-whisper gets the audio when all of it is there and pads it to 30 s. Ours gets
it as it is spoken, in real time, and is asked twice as turn-taking does: for a guess when `PAUSE_MS` of
silence are there, and for the text `END_MS` after that. Greedy decoding, one thread for each of two workers,
on both sides. A full run writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from rapidfuzz.distance import Levenshtein  # noqa: E402

from benchmarks.common.document import write_section  # noqa: E402
from benchmarks.common.figures import bar, finish  # noqa: E402
from benchmarks.common.weights import random_whisper  # noqa: E402
from benchmarks.recognition_docs import (  # noqa: E402
    ALONE,
    END_MS,
    FULL_WINDOW,
    PAUSE_MS,
    SAME_SAMPLES,
    Errors,
    Table,
    bars,
    document,
    show,
)
from benchmarks.recognition_set import Sample, hush, read, samples  # noqa: E402
from pipelines.audio import SPEECH_RATE_HZ, Samples  # noqa: E402
from pipelines.jobs import JobDroppedError  # noqa: E402
from pipelines.models import ModelStore  # noqa: E402
from pipelines.options import ModelsOptions, SttOptions  # noqa: E402
from pipelines.stt import whisper_window  # noqa: E402
from pipelines.stt.speech_track import Span, SpeechTrack  # noqa: E402
from pipelines.stt.sphinx_phrases import words_of  # noqa: E402
from pipelines.stt.whisper import WhisperEngine  # noqa: E402
from pipelines.vad import WINDOW_SAMPLES  # noqa: E402

#: What a listener keeps from before the onset.
LEAD_S = 0.4
#: How much later than that each recording begins, only at the first with `--quick`: the same recogniser hears
#: the same recording differently with where it begins. Behind 0 to 600 ms of silence, in 18 steps, 105 to
#: 135 of 1086 words were wrong, and noise that is nothing at one place is a word at another.
PLACES_S = (0.0, 0.011, 0.021)


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


def decoded(engine: WhisperEngine, whole: Samples) -> Samples:
    """What ours decodes of `whole`; nothing when nobody speaks. Recordings here are too short to be cut."""
    recognition = engine.recognise(language="en")
    recognition.feed(whole)
    track = recognition._track
    speech = Span(track.start or 0, track.end)
    cut = recognition._padded(speech, track.pauses).copy() if track.has_speech else whole[:0]
    recognition.close()
    return cut


async def ours(engine: WhisperEngine, whole: Samples, *, live: bool) -> str:
    """Fed at once, or, `live`, in pieces as a call brings them.

    A recognition that began by itself is then over before the next piece comes: with the least silence behind
    the words that one ever has.
    """
    recognition = engine.recognise(language="en")
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


async def judge_words(
    model: Path, groups: dict[str, list[Sample]], *, places_s: Sequence[float], peers: bool
) -> tuple[Table, Errors]:
    engine = await load(model)
    table: Table = {}
    all_errors: Errors = defaultdict(list)
    for name, group in groups.items():
        takes = [await heard_at(engine, group, place_s, peers=peers) for place_s in places_s]
        if peers:
            alone = [await asyncio.to_thread(faster_whisper, engine, sample.audio) for sample in group]
            for take in takes:
                take[ALONE] = alone
        row: dict[str, float] = {"n": len(group)}
        if group[0].text:
            row["words"] = sum(len(words_of(sample.text)) for sample in group)
        for side in takes[0]:
            if group[0].text:
                errors = np.array([word_errors(group, take[side]) for take in takes])
                row[f"wrong {side}"] = float(errors.sum()) / len(takes)
                row[f"wer {side}"] = row[f"wrong {side}"] / row["words"]
                row[f"misheard {side}"] = int(np.count_nonzero(errors)) / len(takes)
                all_errors[side] += errors.T.tolist()
            else:
                row[f"texts {side}"] = sum(bool(text) for take in takes for text in take[side]) / len(takes)
        table[name] = row
    await engine.close()
    return table, all_errors


async def heard_at(
    engine: WhisperEngine, group: list[Sample], place_s: float, *, peers: bool
) -> dict[str, list[str]]:
    """The texts of all that hear the recordings in a quiet room."""
    whole = [np.concatenate([hush(LEAD_S + place_s), sample.audio, hush(0.4)]) for sample in group]
    heard = {"ours": [await ours(engine, audio, live=False) for audio in whole]}
    heard["ours, live"] = [await ours(engine, audio, live=True) for audio in whole]
    if peers:
        with whole_window():
            heard[FULL_WINDOW] = [await ours(engine, audio, live=False) for audio in whole]
        cut = [decoded(engine, audio) for audio in whole]
        heard[SAME_SAMPLES] = [
            await asyncio.to_thread(faster_whisper, engine, audio) if len(audio) else "" for audio in cut
        ]
    return heard


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
    places_s = PLACES_S[:1] if options.quick else PLACES_S
    groups = samples(options.audio, quick=options.quick)
    heard, errors = await judge_words(options.model, groups, places_s=places_s, peers=peers)
    show("What is heard", heard)
    cost = await judge_time(options.audio, times=3 if options.quick else 10, peers=peers)
    show("What it costs (base.en)", cost)
    judged = [bar(what, value, "<=", limit) for what, value, limit in bars(heard, errors, cost)]
    print()
    if peers and not options.quick:
        write_section("recognition", document(heard, cost, judged))
        print("written: docs/benchmarks.md")
    if options.json:
        options.json.write_text(json.dumps({"heard": heard, "cost": cost}, indent=1))
    finish(judged)


if __name__ == "__main__":
    asyncio.run(main())
