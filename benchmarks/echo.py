"""Whose voice is it? Our own coming back out of a room, somebody over it, somebody with headphones.

    python benchmarks/echo.py [--quick] [--json FILE] [--peers none] [--audio DIR]

Replies are spoken by Piper, sent through Opus into simulated rooms, and what the microphone has of them comes
back through Opus (`benchmarks.common.rooms`). Counted is what voice activity detection makes of it behind the
`EchoGate`. No room, no network, no clock: the same every time. There are no peers.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from piper import PiperVoice  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.recording import RATE_HZ, read_audio  # noqa: E402
from benchmarks.common.document import markdown, write_section  # noqa: E402
from benchmarks.common.figures import Spread, bar, finish  # noqa: E402
from benchmarks.common.rooms import LEAD_S, at_rate, echo_of, loudness, mixed, spoken, through_opus  # noqa: E402
from benchmarks.common.stimuli import EchoPath  # noqa: E402
from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float  # noqa: E402
from pipelines.interruption import ECHO, ECHO_IN_SPEECH, EchoGate, PlayedLevels  # noqa: E402
from pipelines.options import TurnOptions, VadOptions  # noqa: E402
from pipelines.tts.piper import BUILTIN_FILE, builtin_folder  # noqa: E402
from pipelines.vad import WINDOW_MS, WINDOW_SAMPLES, SileroVad, SpeechDetector  # noqa: E402

REPLIES = (
    "The weather in Berlin is going to be sunny tomorrow, with a light wind from the west. It stays so.",
    "Once upon a time there was a small robot that wanted to learn how to sing. It practised every day.",
    "Hello! I am your voice assistant. What can I do for you? You may interrupt me whenever you like.",
    "Luna, good day! Would you like to book a table? We are open from noon, every day but Monday.",
    "It is a quarter past three in Berlin, and here is what I know about the rest of the afternoon.",
    "I found seven tables for tomorrow. Shall I book one for David, or would you rather come on Friday?",
)
ROOMS, QUICK_ROOMS = 36, 6
#: With headphones, over each reply, every recording begins so long after it: into the first words of a call,
#: when nothing is known of the caller's microphone, and later.
EARLY_S, LATER_S = (0.1, 0.8), (1.0, 5.0)
#: Louder than the echo by so much, over which it is said.
OVER_DB = (-6.0, 0.0, 6.0)
#: How loud people are, and the rooms they are in.
SAID_AMPLITUDE, NOISE_DBFS, QUIET_DBFS = 0.05, (-70.0, -52.0), -65.0
#: Somebody is heard late from here on.
LATE_MS = 100.0
#: A reply that was paused goes on after so much silence.
GIVEN_BACK_MS = 600.0
#: Headphones come off after so much of a reply, and then so much is played.
OFF_S, AFTER_S = 2.0, 16.0
TICK_SAMPLES, TICK_MS = 320, 20.0
#: People over an echo speak no longer than this; recordings are followed by so much.
MAX_OVER_SAMPLES, AFTER_SAMPLES = 3 * SPEECH_RATE_HZ, SPEECH_RATE_HZ // 2
EARLY, LATER, OFF = "headphones, first words", "headphones", "headphones off"
LEFT_LIMIT, MISSED_LIMIT, SHARE_LIMIT, FOUND_LIMIT_S = 0.2, 0.05, 0.05, 2.0


@dataclass(frozen=True)
class Outcome:
    """What became of one scene. Of headphones that come off, `would_be` counts onsets until that is known."""

    kind: str
    name: str
    seconds: float
    #: Onsets without the gate, and with it.
    would_be: int = 0
    onsets: int = 0
    #: Whether somebody who spoke was heard, and how much later than without echo and gate.
    heard: bool | None = None
    late_ms: float | None = None
    #: Whether the gate took the microphone for one that hears us, and after how much of our speech it did.
    found: bool = False
    found_s: float | None = None


@dataclass(frozen=True)
class Sound:
    """16 kHz mono with the speech probability of each of its windows."""

    samples: Samples
    probabilities: Sequence[float]

    @classmethod
    def of(cls, samples: Samples) -> Sound:
        vad = SileroVad()
        starts = range(0, len(samples) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES)
        return cls(samples, [vad.probability(samples[at : at + WINDOW_SAMPLES]) for at in starts])

    def after(self, windows: int, noise_dbfs: float, random: np.random.Generator) -> Sound:
        """With so many windows of a quiet room before it."""
        quiet = random.normal(0, 10 ** (noise_dbfs / 20), windows * WINDOW_SAMPLES).astype(np.float32)
        return Sound(np.concatenate([quiet, self.samples]), [0.0] * windows + [*self.probabilities])

    @property
    def onset_ms(self) -> float | None:
        """When it is noticed where nothing is played."""
        return next(iter(listen(np.zeros(0, np.float32), self).onsets), None)


class Microphone:
    """What the agent makes of a caller's sound, window by window."""

    def __init__(self) -> None:
        self.played = PlayedLevels()
        self.gate = EchoGate(self.played)
        self._detector, self._bare = SpeechDetector(VadOptions()), SpeechDetector(VadOptions())
        #: When onsets were told, with the gate, in milliseconds; how many there would have been without it.
        self.onsets: list[float] = []
        self.would_be = 0
        self.found_ms: float | None = None

    def hear(self, window: Samples, probability: float, end_ms: float) -> float:
        """Returns how long something has sounded that may become speech, or is."""
        edge = self._bare.feed(probability, window, end_ms)
        self.would_be += bool(edge and edge.speech)
        if self.gate.is_echo(window, end_ms) >= (ECHO_IN_SPEECH if self._detector.speaking else ECHO):
            probability = 0.0
        edge = self._detector.feed(probability, window, end_ms)
        if edge and edge.speech:
            self.onsets.append(end_ms)
        if self.found_ms is None and self.gate.delay_ms is not None:
            self.found_ms = end_ms
        return WINDOW_MS if self._detector.speaking else self._detector.murmur_ms


def listen(played: Samples, sound: Sound) -> Microphone:
    """Both begin at 0 ms; a reply that ends is followed by silence."""
    one, fed = Microphone(), 0
    for number, probability in enumerate(sound.probabilities):
        end = (number + 1) * WINDOW_SAMPLES
        while fed + TICK_SAMPLES <= end:
            tick = played[fed : fed + TICK_SAMPLES]
            silence = np.zeros(TICK_SAMPLES - len(tick), np.float32)
            one.played.feed(np.concatenate([tick, silence]), 1000 * fed / SPEECH_RATE_HZ)
            fed += TICK_SAMPLES
        one.hear(sound.samples[end - WINDOW_SAMPLES : end], probability, 1000 * end / SPEECH_RATE_HZ)
    return one


# ---- scenes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    replies: Sequence[Samples]
    people: dict[str, Samples]
    rooms: Sequence[EchoPath]

    @staticmethod
    def of(audio: Path, *, quick: bool) -> Set:
        with builtin_folder() as folder:
            files = [folder / BUILTIN_FILE, audio.parent / "models" / "piper-rms-30mb.onnx"]
            voices = [PiperVoice.load(file) for file in files if file.is_file()]
        random = np.random.default_rng(3)
        people = [read(path) for path in sorted([*audio.glob("callers/*.wav"), *audio.glob("speech/*.wav")])]
        return Set(
            [spoken(text, voice) for voice in voices for text in REPLIES],
            dict(people[:: 7 if quick else 1]),
            [
                EchoPath(
                    random.uniform(20, 600), 10 ** random.uniform(-1.3, -0.15), random.uniform(0.15, 0.5)
                )
                for _ in range(QUICK_ROOMS if quick else ROOMS)
            ],
        )


def read(path: Path) -> tuple[str, Samples]:
    said = at_rate(to_float(read_audio(path)), RATE_HZ)
    return path.stem, (said * SAID_AMPLITUDE / loudness(said)).astype(np.float32)


def in_rooms(given: Set) -> Iterator[Outcome]:
    """The echo alone, and somebody over it."""
    said = itertools.cycle(
        (name, voice) for name, voice in given.people.items() if len(voice) < MAX_OVER_SAMPLES
    )
    noticed_ms = {name: Sound.of(in_quiet(voice)).onset_ms for name, voice in given.people.items()}
    for number, (room, reply) in enumerate(zip(given.rooms, itertools.cycle(given.replies), strict=False)):
        random = np.random.default_rng(number)
        echo, noise_dbfs = echo_of(through_opus(reply), room), random.uniform(*NOISE_DBFS)
        alone = mixed(len(reply), (echo, 0.0), noise_dbfs=noise_dbfs, random=random)
        yield outcome("echo", f"{room}", listen(reply, Sound.of(alone)), len(alone))
        for over_db in OVER_DB:
            name, voice = next(said)
            at_s = LEAD_S + random.uniform(1.5, 3.0)
            louder = loudness(echo) / SAID_AMPLITUDE * 10 ** (over_db / 20)
            both = mixed(
                len(reply), (echo, 0.0), (voice * louder, at_s), noise_dbfs=noise_dbfs, random=random
            )
            heard = listen(reply, Sound.of(both))
            told = outcome(f"over echo, {over_db:+.0f} dB", name, heard, len(both))
            yield judged(told, heard, noticed_ms[name], 1000 * at_s, len(voice))


def with_headphones(given: Set) -> Iterator[Outcome]:
    """Somebody speaks over a reply that their microphone does not hear."""
    random = np.random.default_rng(5)
    for name, voice in given.people.items():
        sound = Sound.of(in_quiet(voice))
        noticed_ms = sound.onset_ms
        for reply in given.replies:
            for kind, between in ((EARLY, EARLY_S), (LATER, LATER_S)):
                windows = int((LEAD_S + random.uniform(*between)) * SPEECH_RATE_HZ / WINDOW_SAMPLES)
                heard = listen(reply, sound.after(windows, QUIET_DBFS, random))
                told = outcome(kind, name, heard, len(voice))
                yield judged(told, heard, noticed_ms, windows * WINDOW_MS, len(voice))


def in_quiet(voice: Samples) -> Samples:
    """As a call brings it to us."""
    random = np.random.default_rng(len(voice))
    return mixed(len(voice) + AFTER_SAMPLES, (voice, 0.0), noise_dbfs=QUIET_DBFS, random=random)


def outcome(kind: str, name: str, heard: Microphone, samples: int) -> Outcome:
    seconds, found = samples / SPEECH_RATE_HZ, heard.found_ms is not None
    return Outcome(kind, name, seconds, heard.would_be, len(heard.onsets), found=found)


def judged(told: Outcome, heard: Microphone, noticed_ms: float | None, at_ms: float, samples: int) -> Outcome:
    """`noticed_ms`: after its beginning, where nothing is played; who is not heard then does not count."""
    if noticed_ms is None:
        return told
    # An onset before they spoke is not theirs; one after they fell silent is of no use to them.
    last_ms = at_ms + 1000 * samples / SPEECH_RATE_HZ + LATE_MS
    when = next((ms for ms in heard.onsets if at_ms < ms <= last_ms), None)
    late_ms = None if when is None else when - at_ms - noticed_ms
    return replace(told, heard=when is not None, late_ms=late_ms)


def headphones_off(given: Set) -> Iterator[Outcome]:
    """They come off in the middle of a reply, which pauses for every sound that may be speech."""
    for number, (room, reply) in enumerate(zip(given.rooms, itertools.cycle(given.replies), strict=False)):
        random = np.random.default_rng(100 + number)
        endless = np.tile(reply[int(LEAD_S * SPEECH_RATE_HZ) :], 6)
        echo = echo_of(through_opus(endless), EchoPath(0.0, room.gain, room.reverberation_s))
        yield taken_off(endless, echo, room, random)


def taken_off(reply: Samples, echo: Samples, room: EchoPath, random: np.random.Generator) -> Outcome:
    one, vad = Microphone(), SileroVad()
    behind = round(room.delay_ms * SPEECH_RATE_HZ / 1000 / TICK_SAMPLES)
    noise = 10 ** (random.uniform(*NOISE_DBFS) / 20)
    #: For each tick where in the reply it was, None while that was paused.
    places: list[int | None] = []
    place = before = 0
    paused_ms = off_s = 0.0
    found_s: float | None = None
    rest: Samples = np.zeros(0, np.float32)
    while place < int((OFF_S + AFTER_S) * SPEECH_RATE_HZ):
        tick = reply[place : place + TICK_SAMPLES] * (paused_ms <= 0)
        places.append(place if paused_ms <= 0 else None)
        one.played.feed(tick, TICK_MS * (len(places) - 1))
        if paused_ms <= 0:
            place += TICK_SAMPLES
            off_s = max(0.0, place / SPEECH_RATE_HZ - OFF_S)
        came = places[-1 - behind] if len(places) > behind else None
        quiet = random.normal(0, noise, TICK_SAMPLES)
        if came is not None and came >= OFF_S * SPEECH_RATE_HZ:
            quiet += echo[came : came + TICK_SAMPLES]
        rest = np.concatenate([rest, quiet]).astype(np.float32)
        paused_ms = max(0.0, paused_ms - TICK_MS)
        if len(rest) < WINDOW_SAMPLES:
            continue
        window, rest = rest[:WINDOW_SAMPLES], rest[WINDOW_SAMPLES:]
        end_ms = TICK_MS * len(places) - 1000 * len(rest) / SPEECH_RATE_HZ
        if one.hear(window, vad.probability(window), end_ms) >= TurnOptions().yield_ms - WINDOW_MS * (
            paused_ms > 0
        ):
            paused_ms = GIVEN_BACK_MS
        if one.found_ms is not None and found_s is None:
            found_s, before = off_s, len(one.onsets)
    after = len(one.onsets) - before
    return Outcome(OFF, f"{room}", off_s, before, after, found=found_s is not None, found_s=found_s)


# ---- telling ----------------------------------------------------------------------------------------

HEADER = (
    "what is heard",
    "scenes",
    "onsets without the gate",
    "with it",
    "heard",
    "later, median",
    "p95",
    "found",
)


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        same = [outcome for outcome in outcomes if outcome.kind == kind]
        spoke = [outcome for outcome in same if outcome.heard is not None]
        late = Spread.of(outcome.late_ms for outcome in spoke if outcome.late_ms is not None)
        yield (
            kind,
            f"{len(same)}",
            f"{sum(outcome.would_be for outcome in same)}" if not spoke else "–",
            f"{sum(outcome.onsets for outcome in same)}" if not spoke else "–",
            f"{sum(outcome.heard is True for outcome in spoke)} of {len(spoke)}" if spoke else "–",
            *((f"{value:.0f} ms" for value in (late.median, late.p95)) if late else ("–", "–")),
            f"{sum(outcome.found for outcome in same)}",
        )


def off_line(outcomes: Sequence[Outcome]) -> str:
    found = Spread.of(o.found_s for o in outcomes if o.kind == OFF and o.found_s is not None)
    return f"{found.median:.1f} s in the median, {found.p95:.1f} s in 95 of 100" if found else "never"


def document(outcomes: Sequence[Outcome]) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    seconds = sum(outcome.seconds for outcome in outcomes if outcome.kind == "echo")
    return f"""## Echo

`python benchmarks/echo.py`, {today}. Simulated: the same on every machine.

{markdown(HEADER, rows(outcomes))}

- **Echo**: {seconds:.0f} s of replies ({len(REPLIES)} texts, Piper voices) out of as many rooms as there are
  scenes: 20-600 ms later, 0.05-0.7 of what was played, 0.15-0.5 s of reverberation, a small loudspeaker,
  Opus on both ways. **Over echo**: recordings of people, so much louder. **Later**: than in silence.
- **Headphones**: every recording over every reply. In the first words of a call sound is withheld for up to
  320 ms, until it is known whether the microphone hears us; **found** is how often it was taken to.
- **Headphones off**: in the middle of a reply, which then pauses for every sound that may be speech.
  The echo is known after {off_line(outcomes)} of our own speech; "without the gate" are
  the onsets until then, "with it" those after.
"""


def bars(outcomes: Sequence[Outcome]) -> Iterator[str]:
    alone = [o for o in outcomes if o.kind == "echo"]
    left = sum(o.onsets for o in alone) / max(1, sum(o.would_be for o in alone))
    yield bar("onsets of an echo that are left, share", left, "<", LEFT_LIMIT)
    loud = [o for o in outcomes if o.kind.endswith("+6 dB") and o.heard is not None]
    missed = sum(not o.heard for o in loud) / max(1, len(loud))
    yield bar("people 6 dB above an echo not heard, share", missed, "<", MISSED_LIMIT)
    yield bar("taken for an echo with headphones", sum(o.found for o in outcomes if o.kind == LATER), "<=", 0)
    first = [o for o in outcomes if o.kind == EARLY]
    yield bar(
        "the same into the first words, share",
        sum(o.found for o in first) / max(1, len(first)),
        "<",
        SHARE_LIMIT,
    )
    found = Spread.of(o.found_s for o in outcomes if o.kind == OFF and o.found_s is not None)
    never = sum(not o.found for o in outcomes if o.kind == OFF)
    yield bar("echoes never found after headphones came off", never, "<=", 0)
    yield bar("our speech until they are, s, median", found.median if found else None, "<=", FOUND_LIMIT_S)


def main() -> None:
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 140)
    given = Set.of(arguments.audio, quick=arguments.quick)
    outcomes = [*in_rooms(given), *headphones_off(given), *with_headphones(given)]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    table = Table(*HEADER)
    for row in rows(outcomes):
        table.add_row(*row)
    console.print(table)
    console.print(f"after headphones came off an echo is known after {off_line(outcomes)} of our speech")
    if not arguments.quick:
        write_section("echo", document(outcomes))
        console.print("written: docs/benchmarks.md")
    finish(bars(outcomes))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a sixth of the rooms, a seventh of the people")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single scene there")
    parser.add_argument("--peers", choices=("none", "all"), default="none", help="there are none")
    parser.add_argument(
        "--audio",
        type=Path,
        default=Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", ROOT.parent / "shared" / "audio")),
        help="a folder with callers/ and speech/",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
