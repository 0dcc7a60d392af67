"""How soon an agent is silent when a caller speaks over it, and what else makes it stop.

    python benchmarks/barge_in.py [--quick] [--json FILE] [--peers none|all|pipecat|fastrtc] [--audio DIR]

A caller on plain aiortc asks every system a question over WebRTC on loopback and does something while the
answer sounds: calls to stop, questions and longer speech, which are to end it; approval, coughs, noise and
the echo of the answer itself, which are not. The recogniser knows the words that are said; in an echo it
hears the answer's. The voice is a steady buzz, so that silence is silence, and Piper's where it echoes.

How soon a system is silent is measured by turns, while nothing else happens; what else ends a reply, with all
systems called at once, each by a caller of its own. A full run writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.recording import RATE_HZ  # noqa: E402
from benchmarks.barge_in_docs import (  # noqa: E402
    MISSING_S,
    TIMES_HEADER,
    VERDICTS_HEADER,
    Trial,
    bars,
    document,
    time_table,
    verdict_table,
)
from benchmarks.common.caller import Caller  # noqa: E402
from benchmarks.common.document import write_section  # noqa: E402
from benchmarks.common.echo_mouth import EchoMouth  # noqa: E402
from benchmarks.common.figures import finish  # noqa: E402
from benchmarks.common.loudness import (  # noqa: E402
    falls_ms,
    longest_gap_ms,
    packet_levels,
    sounding_s,
    usual_dbfs,
)
from benchmarks.common.said import Note, Said  # noqa: E402
from benchmarks.common.setup import Setup  # noqa: E402
from benchmarks.common.sound import SOUND_DBFS, Recording, load_recording  # noqa: E402
from benchmarks.common.stimuli import ECHOES, EchoPath, Stimulus, harmless, interruptions, sustained  # noqa: E402
from benchmarks.common.systems import PEERS, System, chat_server, ready, running  # noqa: E402
from pipelines.tts.piper import BUILTIN_FILE, builtin_folder  # noqa: E402

QUESTION = "what-time-is-it"
#: Five seconds, of a buzz as of a voice: who stops late stops before they are over, all the same.
BUZZED = "It is a quarter past three in Berlin, and here is what I know about the rest of the afternoon. " * 2
SPOKEN = "It is a quarter past three in Berlin, and the rest of the afternoon is free."
#: What is answered to an interruption: short, so that both cannot be mistaken for each other.
ANSWER = "Okay."
#: Into the reply something happens after so much of it.
INTO_REPLY_S = 1.0
ANSWER_TIMEOUT_S = 5.0
ASKED_AT_MOST = 3
#: A reply that is given back goes on sooner; silence that lasts longer is its end.
QUIET_S = 1.8
#: Silence after all of a reply was heard.
ENDED_S = 0.6
#: All of it, give or take so much.
WHOLE_S = 0.15
REPLY_TIMEOUT_S = 20.0
#: So much quieter than before counts as ducked.
DUCKED_DB = 20.0
#: So many interruptions are timed.
TIMED, QUICK_TIMED = 20, 2
QUICK = {"words": 1, "sustained speech": 1, "backchannel": 1, "cough": 1, "noise": 1}
#: Interruptions over each echo.
OVER_ECHO = 2


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
        meant = interruptions(arguments.audio)
        plain = [
            *meant,
            *sustained(arguments.audio),
            *harmless(arguments.audio, [voice, *([more] * more.is_file())]),
        ]
        echoing = echoes(meant, ECHOES[:1] if arguments.quick else ECHOES)
        # Calls to stop first, of which there are few.
        by_kind = sorted(meant, key=lambda stimulus: (stimulus.kind, stimulus.speech_s))
        timed = by_kind[: QUICK_TIMED if arguments.quick else TIMED]
        if arguments.quick:
            plain = [*timed, *quick([stimulus for stimulus in plain if stimulus not in timed])]
        trials = asyncio.run(play(Scene(question, BUZZED, None), systems, plain, timed, console))
        trials += asyncio.run(play(Scene(question, SPOKEN, str(voice)), systems, echoing, [], console))
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
    finish(bars(trials))


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


def echoes(meant: Sequence[Stimulus], paths: Sequence[EchoPath]) -> list[Stimulus]:
    """For each path the echo alone, and people who interrupt it all the same."""
    said = itertools.cycle([stimulus.recording for stimulus in meant])
    found: list[Stimulus] = []
    for path in paths:
        found.append(Stimulus("echo", None, interrupts=False, echo=path))
        found += [Stimulus("over echo", next(said), interrupts=True, echo=path) for _ in range(OVER_ECHO)]
    return found


def quick(stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    return [s for kind, count in QUICK.items() for s in [t for t in stimuli if t.kind == kind][:count]]


# ---- playing ----------------------------------------------------------------------------------------


async def play(
    scene: Scene,
    systems: Sequence[System],
    stimuli: Sequence[Stimulus],
    timed: Sequence[Stimulus],
    console: Console,
) -> list[Trial]:
    """What is in `timed` over a reply of every system by turns, everything else over those of all at once."""
    trials: list[Trial] = []
    by_turns = [stimulus for stimulus in stimuli if stimulus in timed]
    at_once = [stimulus for stimulus in stimuli if stimulus not in timed]
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(interrupter(system, scene)) for system in systems]
        gc.collect()
        gc.freeze()
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console, auto_refresh=False))
        task = progress.add_task("interrupting", total=len(stimuli) * len(systems))

        def done(*more: Trial) -> None:
            trials.extend(more)
            description = f"{more[-1].kind} {more[-1].stimulus}"
            progress.update(task, advance=len(more), description=description, refresh=True)

        async with calls(callers, None):
            await asyncio.gather(*(caller.measure_reply() for caller in callers))
            for number, stimulus in enumerate(by_turns):
                for caller in callers[number % len(callers) :] + callers[: number % len(callers)]:
                    done(replace(await caller.interrupt(stimulus), alone=True))
        # Whoever has no headphones has none for the whole call.
        for path, same in itertools.groupby(at_once, key=lambda stimulus: stimulus.echo):
            async with calls(callers, path):
                for stimulus in same:
                    done(*await asyncio.gather(*(caller.interrupt(stimulus) for caller in callers)))
    return trials


@asynccontextmanager
async def interrupter(system: System, scene: Scene) -> AsyncIterator[Interrupter]:
    """A caller of `system`, which runs with a language model of its own."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note_file = folder / "note.json"
        llm_url = await stack.enter_async_context(chat_server(note_file, folder / "llm.log"))
        setup = Setup(llm_url, str(note_file), piper=scene.piper)
        url = await stack.enter_async_context(running(system, setup, folder / "system.log"))
        yield Interrupter(system, url, Note(note_file), scene)


@asynccontextmanager
async def calls(callers: Sequence[Interrupter], path: EchoPath | None) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for caller in callers:
            await stack.enter_async_context(caller.call(path))
        yield


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
        await self._reply_over(first_s)
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

    async def _reply_over(self, first_s: float) -> None:
        """Until nothing was heard for `QUIET_S`, or all of the reply and nothing more."""
        began_s, whole_at_s, ears = time.monotonic(), 0.0, self._caller.ears

        def is_over() -> bool:
            nonlocal whole_at_s
            last_s = max(began_s, ears.last_sound_s() or began_s)
            quiet_s = time.monotonic() - last_s
            if ENDED_S <= quiet_s < QUIET_S and whole_at_s != last_s:
                if sounding_s(ears.heard, first_s) < self._reply_s - WHOLE_S:
                    return False
                whole_at_s = last_s
            return quiet_s >= (ENDED_S if whole_at_s == last_s else QUIET_S)

        await self._caller.until(is_over, REPLY_TIMEOUT_S)

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


if __name__ == "__main__":
    main()
