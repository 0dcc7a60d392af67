"""How much of what was said is understood after losses: words, judged by one recogniser for all systems.

The same sentences in the same packets, of which the same are lost, come to every system at the same time. The
encoder knows the loss to be expected from the first packet on; a browser's learns it from reports within
seconds. The recogniser is the embedded one with the sentences as its phrases, as an agent has it that expects
them. It needs recordings: ``VOICE_AGENT_TEST_AUDIO`` is a folder with a ``callers.json``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

from agent.recording import RATE_HZ, read_audio
from benchmarks.common.figures import bar
from benchmarks.common.sound import FRAME_SAMPLES, room_noise
from benchmarks.media.agent import hub
from benchmarks.media.caller import callers
from benchmarks.media.calls import Calls, calls_with
from benchmarks.media.ear import load
from benchmarks.media.part import TITLES, Found, Plan, Table
from benchmarks.media.sides import SystemName
from benchmarks.media.speech import packets
from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.stt.sphinx_decoder import SphinxDecoder
from pipelines.stt.sphinx_phrases import words_of

AUDIO = Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", "../shared/audio"))
LOSSES = (0.01, 0.05, 0.1)
#: Runs with other losses, where packets tell of the one before and where not.
SEEDS, SEEDS_WITHOUT_FEC = 3, 1
QUICK_LOSSES = (0.05,)
#: Between sentences: longer than any system delays, so that what is heard is known to belong to one.
GAP_S, TAIL_S = 1.2, 1.0
#: Before the first one.
LEAD_S = 1.0


@dataclass(frozen=True)
class Sentence:
    text: str
    #: Packets, from the first to behind the last.
    begin: int
    end: int


@dataclass(frozen=True)
class Condition:
    """What becomes of the packets of one call."""

    loss: float
    has_fec: bool
    seed: int


@dataclass(frozen=True)
class Result:
    condition: Condition
    system: SystemName
    words: int
    errors: int
    heard: Sequence[str]


class Way:
    """Loses the same packets in every run, and notes when which was sent."""

    def __init__(self, condition: Condition, count: int) -> None:
        chance = random.Random(condition.seed)
        self._lost = frozenset(number for number in range(count) if chance.random() < condition.loss)
        self.at_s: dict[int, float] = {}

    def __call__(self, number: int, data: bytes, send: Callable[[bytes], None]) -> None:
        self.at_s[number] = time.monotonic()
        if number not in self._lost:
            send(data)


# ---- what is said


def sentences() -> list[tuple[str, Path]]:
    listed = json.loads((AUDIO / "callers.json").read_text())["callers"]
    return [(caller["text"], AUDIO / caller["file"]) for caller in listed]


def script(said: Sequence[tuple[str, Path]]) -> tuple[list[Sentence], np.ndarray]:
    """Where each sentence is, and all of it as mono at 48 kHz, in a quiet room."""
    noise = np.random.default_rng(1)
    parts = [room_noise(int(LEAD_S * RATE_HZ), noise)]
    where: list[Sentence] = []
    for text, file in said:
        samples = read_audio(file)
        begin = sum(map(len, parts)) // FRAME_SAMPLES
        gap = int(GAP_S * RATE_HZ) - len(samples) % FRAME_SAMPLES
        parts += [samples, room_noise(gap, noise)]
        where.append(Sentence(text, begin, begin + -(-len(samples) // FRAME_SAMPLES)))
    return where, np.concatenate(parts)


def conditions(*, quick: bool) -> list[Condition]:
    found = [Condition(0.0, True, 0)]
    for loss in QUICK_LOSSES if quick else LOSSES:
        for has_fec, seeds in ((True, SEEDS), (False, SEEDS_WITHOUT_FEC)):
            found += [Condition(loss, has_fec, seed) for seed in range(1 if quick else seeds)]
    return found


# ---- measuring


async def measure(plan: Plan) -> Found:
    """Words understood; see the module."""
    said = sentences()[:: 7 if plan.quick else 1]
    where, samples = script(said)
    ways = conditions(quick=plan.quick)
    encoded = {
        condition: packets(samples, fec=condition.has_fec, expected_loss=condition.loss) for condition in ways
    }
    phrases = tuple(dict.fromkeys(text for text, _ in sentences()))
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as judges:
        lasts_s = len(samples) / RATE_HZ
        with plan.console.status(f"{len(ways)} calls of {lasts_s:.0f} s with each agent's side"):
            cut = await heard_by(plan.systems, encoded, where, Path(folder))
        for system in plan.systems:
            with plan.console.status(f"{TITLES[system]}: what was understood"):
                for condition in ways:
                    texts = list(judges.map(understood, cut[system][condition], [phrases] * len(where)))
                    results.append(judged(condition, system, where, texts))
    return Found(
        "Words after losses",
        [INTRODUCTION, table(results)],
        list(bars(results)),
        [asdict(result) for result in results],
    )


async def heard_by(
    systems: Sequence[SystemName],
    encoded: dict[Condition, tuple[bytes, ...]],
    where: Sequence[Sentence],
    folder: Path,
) -> dict[SystemName, dict[Condition, list[Samples]]]:
    """What came out of each sentence, for all systems and in all conditions at the same time."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(hub())
        ticking = await stack.enter_async_context(callers())
        sides = [
            await stack.enter_async_context(calls_with(system, running, ticking, attention="keep"))
            for system in systems
        ]

        async def one_system(calls: Calls) -> dict[Condition, list[Samples]]:
            each = [one_call(calls, condition, said, where, folder) for condition, said in encoded.items()]
            return dict(zip(encoded, await asyncio.gather(*each), strict=True))

        return dict(zip(systems, await asyncio.gather(*map(one_system, sides)), strict=True))


async def one_call(
    calls: Calls, condition: Condition, said: Sequence[bytes], where: Sequence[Sentence], folder: Path
) -> list[Samples]:
    way = Way(condition, len(said))
    caller = await calls.add("none", said, way)
    await caller.has_said(len(said))
    kept = folder / f"{calls.agent.setup.system}-{caller.number}.npz"
    await calls.end(caller, save=kept)
    blocks = load(kept)
    cut: list[Samples] = []
    for sentence in where:
        begin_s, end_s = way.at_s[sentence.begin], way.at_s[sentence.end] + TAIL_S
        parts = [samples for at_s, samples in blocks if begin_s <= at_s < end_s]
        cut.append(np.concatenate(parts) if parts else np.zeros(SPEECH_RATE_HZ, np.float32))
    return cut


@cache
def recogniser() -> SphinxDecoder:
    return SphinxDecoder()


def understood(audio: Samples, phrases: tuple[str, ...]) -> str:
    return recogniser().hear(audio, phrases).text


def judged(
    condition: Condition, system: SystemName, where: Sequence[Sentence], texts: Sequence[str]
) -> Result:
    said = [words_of(sentence.text) for sentence in where]
    errors = sum(Levenshtein.distance(one, words_of(other)) for one, other in zip(said, texts, strict=True))
    return Result(condition, system, sum(map(len, said)), errors, texts)


# ---- telling

INTRODUCTION = f"""Sentences of the callers, understood by the embedded recogniser after what became of them
on the way: word error rate. The recogniser's grammar is made of these very sentences, with general English
beside it for what fits none of them: it forgives more than one that expects nothing in particular. The same
packets are lost for all; at each loss {SEEDS} runs with packets that tell of the one before (in-band FEC, as
a browser's do), and {SEEDS_WITHOUT_FEC} without. The senders know the loss to be expected from the first
packet on; a browser learns it from the receiver's reports in the first seconds."""

Rates = dict[tuple[float, bool, SystemName], tuple[int, int]]


def rates(results: Iterable[Result]) -> Rates:
    """Errors and words, of all runs."""
    found: Rates = {}
    for each in results:
        key = (each.condition.loss, each.condition.has_fec, each.system)
        errors, words = found.get(key, (0, 0))
        found[key] = errors + each.errors, words + each.words
    return found


def extra(found: Rates, loss: float, has_fec: bool, system: SystemName) -> float | None:
    """By how much the word error rate is above that of a clean path."""
    errors, words = found.get((loss, has_fec, system), (0, 0))
    clean_errors, clean_words = found.get((0.0, True, system), (0, 0))
    return errors / words - clean_errors / clean_words if words and clean_words else None


def table(results: Sequence[Result]) -> Table:
    found = rates(results)
    headings = ("loss", "in-band FEC", "receiver", "words", "word error rate", "more than without loss")
    rows = []
    for (loss, has_fec, system), (errors, words) in found.items():
        more = extra(found, loss, has_fec, system)
        rows.append(
            (
                f"{100 * loss:.0f} %",
                "yes" if has_fec else "no",
                TITLES[system],
                str(words),
                f"{100 * errors / words:.1f} %",
                "-" if not loss or more is None else f"{100 * more:+.1f} points",
            )
        )
    return Table(headings, sorted(rows, key=lambda row: (int(row[0][:-2]), row[1] == "no")))


def bars(results: Sequence[Result]) -> Iterable[str]:
    found = rates(results)
    ours, plain = extra(found, 0.05, True, "ours"), extra(found, 0.05, True, "aiortc")
    if plain is not None:
        limit = plain / 3
        yield bar(
            "more word errors at 5 % loss, points", None if ours is None else 100 * ours, "<=", 100 * limit
        )
