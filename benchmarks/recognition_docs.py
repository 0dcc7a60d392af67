"""What a run of `benchmarks/recognition.py` comes to: bars, and the section of docs/benchmarks.md."""

from __future__ import annotations

import datetime

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.document import markdown
from benchmarks.common.figures import machine

#: Silence before a guess is asked for, and from there to when the text is.
PAUSE_MS, END_MS = 128, 192
#: The same recognition on Whisper's whole window; faster-whisper on the very samples that ours decodes; and
#: faster-whisper as it comes on the recording alone, cut by hand to the words.
FULL_WINDOW = "ours, full window"
SAME_SAMPLES = "faster-whisper, same samples"
ALONE = "faster-whisper, alone"
SIDES = ("ours", "ours, live", FULL_WINDOW, SAME_SAMPLES, ALONE)
#: Three of three hundred sentences: as many as change with where the 32 ms windows fall.
MISHEARD_LIMIT = 0.01
SHARE_LIMIT = 0.4

Table = dict[str, dict[str, float]]
#: Wrong words in each recording of speech, at each place; by who heard it.
Errors = dict[str, list[list[int]]]


def show(title: str, table: Table) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        print(f"  {name}")
        for figure, value in row.items():
            print(f"    {figure:40}{value:>10.3f}" if "wer" in figure else f"    {figure:40}{value:>10.1f}")


def bars(heard: Table, errors: Errors, cost: Table) -> list[tuple[str, float, float]]:
    """What, value, limit: none may be above."""
    found: list[tuple[str, float, float]] = []
    words = sum(row.get("words", 0) for row in heard.values())
    for peer in (peer for peer in (FULL_WINDOW, SAME_SAMPLES, ALONE) if peer in errors):
        for side in ("ours", "ours, live"):
            more = (np.array(errors[side]) - np.array(errors[peer])).mean(axis=1)
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
            # The guess is often there before anybody asks: what counts is how long after the speech it is.
            share = row["after_last_sound_ms"] / (PAUSE_MS + row["faster_whisper_ms"])
            found.append((f"{name}: share of faster-whisper's time at the same pause", share, SHARE_LIMIT))
    return found


def beyond_chance(more: NDArray[np.float64]) -> float:
    """The least that the sum of `more` may be, with 97.5 % confidence (bootstrap over the recordings)."""
    random = np.random.default_rng(1)
    return float(np.percentile(random.choice(more, (4000, len(more))).sum(axis=1), 2.5))


def document(heard: Table, cost: Table, judged: list[str]) -> str:
    """The section of docs/benchmarks.md."""
    said = [
        (name, f"{row['n']:.0f}", f"{row['words']:.0f}", *(of_words(row, side) for side in SIDES))
        for name, row in heard.items()
        if "words" in row
    ]
    unsaid = [
        (name, f"{row['n']:.0f}", *(f"{row[f'texts {side}']:.1f}" for side in SIDES))
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
            "Words that are wrong, their share, and the recordings in which any is, of the small model made "
            "for the tests, which knows what these recordings say and little else; the mean of three places "
            "at which each recording begins, because that alone changes a tenth of what is wrong. Live: fed "
            "as a call brings it, with the least silence behind the words that a recognition ever has. Full "
            "window: the same audio padded to 30 s. Same samples: faster-whisper as it comes (30 s, with "
            "timestamps) on what ours decodes. Alone: the same on the recording without the silence that a "
            "call has around it, in one place.",
            markdown(("recordings", "n", "words", *SIDES), said),
            "Recordings without words in which some were heard (the same samples are none where voice "
            "activity detection finds no speech):",
            markdown(("recordings", "n", *SIDES), unsaid),
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
    return f"{row[f'wrong {side}']:.1f} = {row[f'wer {side}']:.3f}, {row[f'misheard {side}']:.1f}"
