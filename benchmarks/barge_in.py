"""How soon an agent is silent when a caller speaks over it, and what else makes it stop.

    python benchmarks/barge_in.py [--quick] [--json FILE] [--peers none|all|pipecat|fastrtc] [--audio DIR]

A caller on plain aiortc asks every system a question over WebRTC on loopback, by turns, and does something
while the answer sounds: calls to stop and questions, which are to end it; approval, coughs, noise and the
echo of the answer itself, which are not. The recogniser knows the words that are said; in an echo it hears
the answer's. The voice is a steady buzz, so that silence is silence, and Piper's where it echoes.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import gc
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.recording import RATE_HZ  # noqa: E402
from benchmarks.common.caller import Caller  # noqa: E402
from benchmarks.common.document import markdown, write_section  # noqa: E402
from benchmarks.common.echo_mouth import EchoMouth  # noqa: E402
from benchmarks.common.figures import Spread, bar, machine  # noqa: E402
from benchmarks.common.loudness import (  # noqa: E402
    STAYS_S,
    falls_ms,
    longest_gap_ms,
    packet_levels,
    sounding_s,
    usual_dbfs,
)
from benchmarks.common.said import Note, Said  # noqa: E402
from benchmarks.common.setup import Setup  # noqa: E402
from benchmarks.common.sound import SOUND_DBFS, Recording, load_recording  # noqa: E402
from benchmarks.common.stimuli import ECHOES, EchoPath, Stimulus, harmless, interruptions  # noqa: E402
from benchmarks.common.systems import PEERS, System, chat_server, ready, running  # noqa: E402
from pipelines.tts.piper import BUILTIN_FILE, builtin_folder  # noqa: E402

QUESTION = "what-time-is-it"
#: Half a dozen seconds, of a buzz as of a voice.
BUZZED = "It is a quarter past three in Berlin, and here is what I know about the rest of the afternoon. " * 2
SPOKEN = "It is a quarter past three in Berlin, and here is what I know about the rest of the afternoon."
#: What is answered to an interruption: short, so that both cannot be mistaken for each other.
ANSWER = "Okay."
#: Into the reply something happens after so much of it.
INTO_REPLY_S = 1.3
ANSWER_TIMEOUT_S = 5.0
ASKED_AT_MOST = 3
#: A reply that is given back goes on sooner; silence that lasts longer is its end.
QUIET_S = 2.2
REPLY_TIMEOUT_S = 20.0
#: A reply that is shorter than the whole one by so much was interrupted.
MISSING_S = 0.7
#: So much quieter than before counts as ducked.
DUCKED_DB = 20.0
SILENCE_LIMIT, SHARE_LIMIT = 0.4, 0.02
QUICK = {"interruption": 3, "backchannel": 1, "cough": 1}
#: Interruptions over each echo.
OVER_ECHO = 2


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


@dataclass(frozen=True)
class Scene:
    """What is asked and answered. `piper` None: in a buzz."""

    question: Recording
    reply: str
    piper: str | None


def main() -> None:
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 140)
    systems = ready(arguments.peers, console)
    question = load_recording(arguments.audio / "callers" / f"{QUESTION}.wav", "What time is it?")
    with builtin_folder() as folder:
        voice = folder / BUILTIN_FILE
        more = arguments.audio.parent / "models" / "piper-rms-30mb.onnx"
        plain = [
            *interruptions(arguments.audio),
            *harmless(arguments.audio, [voice, *([more] * more.is_file())]),
        ]
        echoing = echoes(plain, ECHOES[:1] if arguments.quick else ECHOES)
        if arguments.quick:
            plain = quick(plain)
        trials = asyncio.run(play(Scene(question, BUZZED, None), systems, plain, console))
        trials += asyncio.run(play(Scene(question, SPOKEN, str(voice)), systems, echoing, console))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
    times, verdicts = list(time_table(trials, systems)), list(verdict_table(trials, systems))
    for header, rows in ((TIMES_HEADER, times), (VERDICTS_HEADER, verdicts)):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    if not arguments.quick and len(systems) > 1:
        write_section("barge_in", document(times, verdicts, systems))
        console.print("written: docs/benchmarks.md")
    for line in bars(trials):
        console.print(line, highlight=False)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single trial there")
    parser.add_argument("--peers", choices=("none", "all", *(peer.name for peer in PEERS)), default="all")
    parser.add_argument(
        "--audio",
        type=Path,
        default=Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", ROOT.parent / "shared" / "audio")),
        help="a folder with callers.json, callers/ and noise/",
    )
    return parser.parse_args()


def echoes(plain: Sequence[Stimulus], paths: Sequence[EchoPath]) -> list[Stimulus]:
    """For each path the echo alone, and people who interrupt it all the same."""
    said = itertools.cycle([s.recording for s in plain if s.interrupts])
    found: list[Stimulus] = []
    for path in paths:
        found.append(Stimulus("echo", None, interrupts=False, echo=path))
        found += [Stimulus("over echo", next(said), interrupts=True, echo=path) for _ in range(OVER_ECHO)]
    return found


def quick(stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    return [s for kind, count in QUICK.items() for s in [t for t in stimuli if t.kind == kind][:count]]


# ---- playing ----------------------------------------------------------------------------------------


async def play(
    scene: Scene, systems: Sequence[System], stimuli: Sequence[Stimulus], console: Console
) -> list[Trial]:
    """Every stimulus over a reply of every system, the systems by turns."""
    trials: list[Trial] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note_file = folder / "note.json"
        llm_url = await stack.enter_async_context(chat_server(note_file, folder / "llm.log"))
        setup = Setup(llm_url, str(note_file), piper=scene.piper)
        callers: list[Interrupter] = []
        for system in systems:
            url = await stack.enter_async_context(running(system, setup, folder / f"{system.name}.log"))
            callers.append(Interrupter(system, url, Note(note_file), scene))
        gc.collect()
        gc.freeze()
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console, auto_refresh=False))
        task = progress.add_task("interrupting", total=len(stimuli) * len(systems))
        for caller in callers:
            async with caller.call(None):
                await caller.measure_reply()
        # Whoever has no headphones has none for the whole call.
        for path, same in itertools.groupby(stimuli, key=lambda stimulus: stimulus.echo):
            async with AsyncExitStack() as calls:
                for caller in callers:
                    await calls.enter_async_context(caller.call(path))
                for number, stimulus in enumerate(same):
                    for caller in callers[number % len(callers) :] + callers[: number % len(callers)]:
                        trials.append(await caller.interrupt(stimulus))
                        done = f"{caller.system.title}, {stimulus.kind} {stimulus.name}"
                        progress.update(task, advance=1, description=done, refresh=True)
    return trials


class Interrupter:
    """A caller of one system, inside a `call`."""

    def __init__(self, system: System, url: str, note: Note, scene: Scene) -> None:
        self.system = system
        self._url = url
        self._note = note
        self._question = scene.question
        self._reply = scene.reply
        self._reply_s = 0.0

    @asynccontextmanager
    async def call(self, path: EchoPath | None) -> AsyncIterator[None]:
        """With this echo; None: with headphones."""
        caller = Caller(self.system.signalling(self._url))
        caller.mouth = self._mouth = EchoMouth(caller.ears, path)
        async with caller:
            self._caller = caller
            yield

    async def measure_reply(self) -> None:
        """How long the reply sounds when nothing happens; twice, because the first call finds cold caches."""
        for _ in range(2):
            first_s = await self._ask()
            await self._caller.quiet(QUIET_S, REPLY_TIMEOUT_S)
            self._reply_s = sounding_s(self._caller.ears.heard, first_s) if first_s else 0.0

    async def interrupt(self, stimulus: Stimulus) -> Trial:
        trial = Trial(self.system.name, stimulus.kind, stimulus.name, stimulus.interrupts, None)
        first_s = await self._ask()
        if first_s is None:
            return trial
        if stimulus.recording is None:
            # A recogniser understands an echo as well as it does anything.
            self._note.write(Said(self._reply, first_s, first_s + self._reply_s, ANSWER))
            began_s = first_s
        else:
            await asyncio.sleep(max(0.0, first_s + INTO_REPLY_S - time.monotonic()))
            began_s = await self._say(stimulus.recording)
        await self._caller.quiet(QUIET_S, REPLY_TIMEOUT_S)
        levels = packet_levels(self._caller.ears.heard, first_s)
        return Trial(
            **asdict(trial)
            | {
                "interrupted": sounding_s(self._caller.ears.heard, first_s) < self._reply_s - MISSING_S,
                "ducked_ms": falls_ms(levels, began_s, usual_dbfs(levels, began_s) - DUCKED_DB),
                "silent_ms": falls_ms(levels, began_s, SOUND_DBFS),
                "held_ms": longest_gap_ms(levels, began_s),
            }
        )

    async def _ask(self) -> float | None:
        """When the first sound of the reply was heard; who gets no answer asks again."""
        for _ in range(ASKED_AT_MOST):
            if first_s := await self._ask_once():
                return first_s
        return None

    async def _ask_once(self) -> float | None:
        self._caller.ears.forget()
        starts_s = time.monotonic()
        self._note.write(Said(self._question.text, starts_s, starts_s + self._question.speech_s, self._reply))
        _, ended_s = await self._mouth.say_recording(self._question)
        return await self._caller.first_sound_s(ended_s, ANSWER_TIMEOUT_S)

    async def _say(self, recording: Recording) -> float:
        starts_s = time.monotonic()
        begin_s, end_s = (starts_s + sample / RATE_HZ for sample in (recording.begin, recording.end))
        self._note.write(Said(recording.text, begin_s, end_s, ANSWER))
        began_s, _ = await self._mouth.say_recording(recording)
        # When the packet left in which it began, and where in it.
        return began_s


# ---- telling ----------------------------------------------------------------------------------------

TIMES_HEADER = ("system", "interruptions", "to -20 dB", "p95", "worst", "to silence", "p95", "worst")
VERDICTS_HEADER = ("system", "what happened", "trials", "reply ended", "wrongly", "held for, median")


def of(trials: Iterable[Trial], system: str, *kinds: str) -> list[Trial]:
    return [t for t in trials if t.system == system and t.kind in kinds and t.interrupted is not None]


def times(trials: Iterable[Trial], system: str, name: str) -> Spread | None:
    """Of those interruptions that were noticed."""
    found = [getattr(t, name) for t in of(trials, system, "interruption") if t.interrupted]
    return Spread.of(value for value in found if value is not None)


def time_table(trials: Sequence[Trial], systems: Sequence[System]) -> Iterable[tuple[str, ...]]:
    for system in systems:
        count = len(of(trials, system.name, "interruption"))
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
{names}, by turns in one run.

From the interruption's first sound leaving the caller to the reply 20 dB quieter there, and to silence
(under {SOUND_DBFS:.0f} dBFS), each for at least {1000 * STAYS_S:.0f} ms:

{markdown(TIMES_HEADER, times)}

What ended a reply:

{markdown(VERDICTS_HEADER, verdicts)}

- A reply counts as ended when at least {1000 * MISSING_S:.0f} ms of it are missing. **Held**: the longest
  silence in a reply that went on, in which nothing of it is lost; natural pauses included.
- Interruptions are calls to stop and questions (a synthetic caller). **Over echo**: the same, while the
  microphone hears the reply. Coughs are synthetic, backchannels spoken by Piper voices, noise is recorded.
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


if __name__ == "__main__":
    main()
