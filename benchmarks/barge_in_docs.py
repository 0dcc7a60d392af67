"""What a run of `benchmarks/barge_in.py` comes to: tables, the section of docs/benchmarks.md, bars."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.common.document import markdown
from benchmarks.common.figures import Spread, bar, machine
from benchmarks.common.loudness import STAYS_S
from benchmarks.common.sound import SOUND_DBFS
from benchmarks.common.systems import System

#: A reply that is shorter than the whole one by so much was interrupted.
MISSING_S = 0.7
SILENCE_LIMIT, SHARE_LIMIT = 0.4, 0.02


@dataclass(frozen=True)
class Trial:
    """Something that happened over one reply. Times in milliseconds."""

    system: str
    kind: str
    stimulus: str
    interrupts: bool
    #: Whether the reply was ended; None: no reply came, or it was over before anything happened.
    interrupted: bool | None
    #: From its first sound to the reply 20 dB quieter, and silent, at the caller; None: it never was.
    ducked_ms: float | None = None
    silent_ms: float | None = None
    #: How long a reply that went on had been silent.
    held_ms: float = 0.0
    #: Whether no other system was called meanwhile.
    alone: bool = False


TIMES_HEADER = ("system", "interruptions", "to -20 dB", "p95", "worst", "to silence", "p95", "worst")
VERDICTS_HEADER = ("system", "what happened", "trials", "reply ended", "wrongly", "held for, median")


def of(trials: Iterable[Trial], system: str, *kinds: str) -> list[Trial]:
    return [t for t in trials if t.system == system and t.kind in kinds and t.interrupted is not None]


def timed_ones(trials: Iterable[Trial], system: str) -> list[Trial]:
    return [t for t in trials if t.system == system and t.alone and t.interrupted is not None]


def times(trials: Iterable[Trial], system: str, name: str) -> Spread | None:
    """Of those that were noticed."""
    found = [getattr(t, name) for t in timed_ones(trials, system) if t.interrupted]
    return Spread.of(value for value in found if value is not None)


def time_table(trials: Sequence[Trial], systems: Sequence[System]) -> Iterable[tuple[str, ...]]:
    for system in systems:
        count = len(timed_ones(trials, system.name))
        shown: list[str] = []
        for name in ("ducked_ms", "silent_ms"):
            spread = times(trials, system.name, name)
            shown += (
                [f"{v:.0f} ms" for v in (spread.median, spread.p95, spread.worst)] if spread else ["–"] * 3
            )
        yield f"{system.title} {system.version}".strip(), f"{count}", *shown


def verdict_table(trials: Sequence[Trial], systems: Sequence[System]) -> Iterable[tuple[str, ...]]:
    for system in systems:
        for kind in dict.fromkeys(trial.kind for trial in trials):
            same = of(trials, system.name, kind)
            ended = sum(t.interrupted is True for t in same)
            wrong = sum(t.interrupted is not t.interrupts for t in same)
            held = Spread.of(t.held_ms for t in same if not t.interrupted)
            shown = f"{held.median:.0f} ms" if held else "–"
            yield (
                f"{system.title} {system.version}".strip(),
                kind,
                f"{len(same)}",
                f"{ended}",
                f"{wrong}",
                shown,
            )


def document(
    times: Sequence[tuple[str, ...]], verdicts: Sequence[tuple[str, ...]], systems: Sequence[System]
) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    names = ", ".join(f"{system.title} {system.version}".strip() for system in systems)
    return f"""## Barge-in

`python benchmarks/barge_in.py`, {today}: {machine()}, Python {platform.python_version()}.
{names}, in one run.

By turns, while nothing else happens: from the interruption's first sound leaving the caller to the reply
20 dB quieter there, and to silence (under {SOUND_DBFS:.0f} dBFS), each for at least {1000 * STAYS_S:.0f} ms:

{markdown(TIMES_HEADER, times)}

What ended a reply, all systems called at once, each by a caller of its own:

{markdown(VERDICTS_HEADER, verdicts)}

- A reply counts as ended when at least {1000 * MISSING_S:.0f} ms of it are missing. **Held**: the longest
  silence in a reply that went on, in which nothing of it is lost; natural pauses included.
- A dash for the time to silence: there was none of 150 ms; FastRTC mostly speaks until its next reply begins.
- **Words** are questions and answers, they and **stop or wait** by a synthetic caller; **sustained speech**
  is people reading aloud; **over echo**, some of the former while the microphone hears the reply. Those that
  were timed count, too. Coughs are synthetic, backchannels spoken by Piper voices, noise is recorded.
- Echoes: 60-500 ms after what is played, 0.08-0.6 of its amplitude, through a small loudspeaker in a room of
  0.2-0.5 s of reverberation; the recogniser understands them as the words of the reply.
- Engines that cost nothing, as in voice to voice: the recogniser knows what has been said by the time it is
  asked, nothing in coughs and noise. The voice is a steady buzz, and Piper's for echoes.
"""


def bars(trials: Sequence[Trial]) -> Iterable[str]:
    ours, theirs = times(trials, "ours", "silent_ms"), times(trials, "pipecat", "silent_ms")
    if theirs:
        ratio = ours.median / theirs.median if ours else None
        yield bar("onset to silence, of Pipecat's", ratio, "<=", SILENCE_LIMIT)
    mine = [t for t in trials if t.system == "ours" and t.interrupted is not None]
    harmless_ones, meant = [t for t in mine if not t.interrupts], [t for t in mine if t.interrupts]
    false = [t for t in harmless_ones if t.interrupted]
    missed = [t for t in meant if not t.interrupted]
    yield bar("false interruptions against missed ones", len(false), "<=", len(missed))
    yield bar("false interruptions, share", len(false) / max(1, len(harmless_ones)), "<", SHARE_LIMIT)
    yield bar("missed interruptions, share", len(missed) / max(1, len(meant)), "<", SHARE_LIMIT)
