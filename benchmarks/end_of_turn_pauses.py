"""What the agent knows at each pause of the labelled set, by the parts of a call, and what it would do."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from end_of_turn_set import Turn
from faster_whisper import WhisperModel

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.endpoint import EndpointOptions, Evidence, ProsodyTracker, silence_needed
from pipelines.endpoint.decision import PATIENCE, usual_pause_ms
from pipelines.options import VadOptions
from pipelines.stt import whisper_window
from pipelines.stt.sphinx_decoder import SphinxDecoder
from pipelines.vad import WINDOW_MS, WINDOW_SAMPLES, Edge, SileroVad, SpeechDetector

#: Recognition starts at the first short pause; its text is taken to be there at `WORDS_KNOWN_MS` of silence:
#: 120 ms and about as long for a base-sized Whisper on 10 s (media-facts: 118 ms and a few tokens).
RECOGNISED_MS = 120.0
WORDS_KNOWN_MS = 250.0
#: Nobody answers into pauses shorter than this: they do not count.
SHORTEST_PAUSE_MS = 200.0
HABIT_PAUSES = 8
LONGEST_SILENCE_MS = 2400.0


@dataclass(frozen=True, slots=True, eq=False)
class Pause:
    """A silence after speech: inside a turn (`length_ms` long), or at its end (`length_ms` None)."""

    category: str
    is_held_out: bool
    length_ms: float | None
    #: Everything known when the words are.
    evidence: Evidence
    #: What was really said up to here.
    truth: str
    #: The VAD's probabilities, window by window from the last sound on.
    probabilities: tuple[float, ...]
    #: Last sound as the VAD found it, after the true end of the speech; for ends only.
    vad_lag_ms: float = 0.0

    def known_at(self, silence_ms: float, *, with_truth: bool = False) -> Evidence:
        """The evidence after so much silence."""
        windows = self.probabilities[: max(1, int(silence_ms / WINDOW_MS))]
        text = (self.truth if with_truth else self.evidence.text) if silence_ms >= WORDS_KNOWN_MS else None
        return replace(self.evidence, text=text, speech_probability=float(np.mean(windows)))


Decide = Callable[[Evidence], float]


def answered_ms(pause: Pause, decide: Decide, *, with_truth: bool = False) -> float:
    """The silence after which the turn counts as over, if nobody goes on speaking before."""
    at_ms = 0.0
    for at_ms, evidence in _moments(pause, with_truth):
        needed_ms = decide(evidence)
        if needed_ms < at_ms + WINDOW_MS:
            return max(needed_ms, at_ms)
    return at_ms


@lru_cache(maxsize=10_000)
def _moments(pause: Pause, with_truth: bool) -> tuple[tuple[float, Evidence], ...]:
    times_ms = np.arange(WINDOW_MS, LONGEST_SILENCE_MS, WINDOW_MS).tolist()
    return tuple((at_ms, pause.known_at(at_ms, with_truth=with_truth)) for at_ms in times_ms)


def ours(patience: float = PATIENCE) -> Decide:
    options = EndpointOptions()

    def decide(evidence: Evidence) -> float:
        wanted_ms = _impatient_ms(evidence) + patience * usual_pause_ms(evidence.pauses_ms)
        return min(max(wanted_ms, options.end_of_turn_min_ms), options.end_of_turn_max_ms)

    return decide


@lru_cache(maxsize=200_000)
def _impatient_ms(evidence: Evidence) -> float:
    """What `silence_needed` would want with no patience and no limits: a whole curve needs it only once."""
    reasons = silence_needed(evidence, EndpointOptions()).reasons
    starts = ("start", "caller's pauses", "limits")
    return sum(ms for name, ms in reasons if name not in starts)


def plain(silence_ms: float) -> Decide:
    return lambda _: silence_ms


def heard(turns: list[Turn], models: Path) -> list[Pause]:
    """The pauses of all turns; a process for each core, and a caller's turns one after the other in one."""
    callers: dict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        callers[turn.caller].append(turn)
    pauses: list[Pause] = []
    workers = os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_grow_ears, initargs=(models,)) as pool:
        for number, found in enumerate(pool.map(_listen, callers.values()), 1):
            pauses += found
            if sys.stderr.isatty():
                print(f"\rheard {number} of {len(callers)} callers", end="", flush=True, file=sys.stderr)
    return pauses


_ears: list[Ears] = []


def _grow_ears(models: Path) -> None:
    _ears.append(Ears(models))


def _listen(turns: list[Turn]) -> list[Pause]:
    return [pause for turn in turns for pause in _ears[0].pauses(turn)]


class Ears:
    """VAD, prosody and recognisers, as a call has them."""

    def __init__(self, models: Path) -> None:
        self._sphinx = SphinxDecoder()
        folder = models / "whisper-mini-en"
        self._whisper = (
            WhisperModel(str(folder), device="cpu", compute_type="int8") if folder.is_dir() else None
        )
        self._habits: dict[str, list[float]] = defaultdict(list)

    def pauses(self, turn: Turn) -> Iterator[Pause]:
        """All pauses of `turn` that count, its end last."""
        if turn.recogniser == "whisper-mini" and self._whisper is None:
            return
        vad, detector, tracker = SileroVad(), SpeechDetector(VadOptions()), ProsodyTracker()
        edges: list[tuple[Edge, Evidence]] = []
        probabilities: list[float] = []
        for start in range(0, len(turn.audio) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES):
            window, end_ms = turn.audio[start : start + WINDOW_SAMPLES], (start + WINDOW_SAMPLES) / 16
            probabilities.append(vad.probability(window))
            tracker.feed(window, probabilities[-1])
            if edge := detector.feed(probabilities[-1], window, end_ms):
                prosody = None if edge.speech else tracker.at_offset()
                edges.append((edge, Evidence(None, turn.language, 0.0, prosody)))
        yield from self._judge(turn, edges, probabilities)

    def _judge(
        self, turn: Turn, edges: list[tuple[Edge, Evidence]], probabilities: list[float]
    ) -> Iterator[Pause]:
        habit = self._habits[turn.caller]
        speech_ms = 0.0
        for (onset, _), (offset, evidence), after in zip(
            edges[::2], edges[1::2], [*edges[2::2], None], strict=False
        ):
            speech_ms += offset.at_ms - onset.at_ms
            length_ms = after[0].at_ms - offset.at_ms if after else None
            if length_ms is not None and length_ms < SHORTEST_PAUSE_MS:
                continue
            heard_ms = (max(0.0, edges[0][0].at_ms - 320), offset.at_ms + RECOGNISED_MS)
            first = int(offset.at_ms / WINDOW_MS)
            yield Pause(
                turn.category,
                turn.is_held_out,
                length_ms,
                replace(
                    evidence,
                    text=self._text(turn, *heard_ms),
                    speech_ms=speech_ms,
                    pauses_ms=tuple(habit[-HABIT_PAUSES:]),
                    speech_probability=float(np.mean(probabilities[first : first + 6])),
                ),
                _said(turn, after[0].at_ms if after else math.inf),
                tuple(probabilities[first : first + 80]),
                offset.at_ms - turn.end_ms,
            )
            if length_ms is not None:
                habit.append(length_ms)

    def _text(self, turn: Turn, start_ms: float, end_ms: float) -> str | None:
        """What the recogniser makes of the turn so far; None in languages it does not know."""
        if turn.language != "en":
            return None
        speech: Samples = turn.audio[int(start_ms * 16) : int(end_ms * SPEECH_RATE_HZ / 1000)]
        if turn.recogniser == "whisper-mini" and self._whisper is not None:
            return whisper_window.hear(self._whisper, speech, "en", 1).text
        return self._sphinx.hear(speech, ()).text


def _said(turn: Turn, before_ms: float) -> str:
    """The words said before speech went on at `before_ms`, without the punctuation that nobody says."""
    said = next((words for at_ms, words in reversed(turn.said) if at_ms < before_ms), "")
    return " ".join(re.findall(r"[\w']+", said.lower()))
