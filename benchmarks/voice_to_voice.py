"""How long a caller waits for an answer: from the last sound of a question to the first of the reply.

    python benchmarks/voice_to_voice.py [--quick] [--json FILE] [--peers none|all|pipecat|fastrtc] [--turns N]

A caller on plain aiortc asks the same questions of every system over WebRTC on loopback, by turns, so that
whatever else the machine does befalls them alike. Behind each system are the same engines: first ones that
cost nothing, with a language model of 100 ms to the first token and 20 ms for each further one; then Whisper
base.en and Piper medium, with random weights, whose cost is that of the real ones. A full run writes its
section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import gc
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.recording import RATE_HZ  # noqa: E402
from benchmarks.common.caller import Caller  # noqa: E402
from benchmarks.common.document import markdown, write_section  # noqa: E402
from benchmarks.common.figures import Spread, bar, finish, machine  # noqa: E402
from benchmarks.common.replies import reply  # noqa: E402
from benchmarks.common.said import Note, Said  # noqa: E402
from benchmarks.common.setup import Setup  # noqa: E402
from benchmarks.common.sound import FRAME_SAMPLES, Recording, load_recording  # noqa: E402
from benchmarks.common.systems import PEERS, System, chat_server, ready, running  # noqa: E402
from benchmarks.common.voice_ends import has_pause, heard_until  # noqa: E402
from benchmarks.common.weights import random_piper, random_whisper  # noqa: E402

TURNS = 50
QUICK_TURNS = 3
#: Questions longer than this say nothing more and take time.
MAX_RECORDING_S = 1.7
#: Nobody says the ten words of the random Whisper in less, and ours takes such a text for none.
MIN_TEN_WORDS_S = 0.6
#: How long an answer is waited for.
ANSWER_TIMEOUT_S = {"free": 5.0, "real": 12.0}
#: Silence after which a reply is over, and how long one may last.
QUIET_S = 0.4
#: Silence in which a question may begin.
BEFORE_S = 0.1
REPLY_TIMEOUT_S = 20.0
WAIT_LIMIT = {"free": 0.45, "real": 0.5}
UNEXPLAINED_LIMIT_MS = 30.0
TITLES = {"free": "free engines", "real": "real compute"}


@dataclass(frozen=True)
class Turn:
    """One question and what came back. Times in milliseconds."""

    engines: str
    system: str
    recording: str
    #: The caller's last sound to the answer's first; None: no answer came.
    wait_ms: float | None
    #: Something sounded before the caller had finished: what is measured then is not an answer.
    cut_in: bool = False
    #: What our agent says of the turn: how long it took, and for what.
    total_ms: float | None = None
    steps_ms: dict[str, float] = field(default_factory=dict)
    #: How much later (or earlier) than the recording's last sound the agent hears the speech end.
    heard_later_ms: float = 0.0

    @property
    def unexplained_ms(self) -> float | None:
        """What the caller waited and the agent does not know of: the ways there and back."""
        if self.wait_ms is None or self.total_ms is None:
            return None
        return self.wait_ms - self.heard_later_ms - self.total_ms


@dataclass(frozen=True)
class Question:
    recording: Recording
    #: Where the agent hears its speech end, in samples.
    heard_until: int
    has_pause: bool

    @property
    def fits_ten_words(self) -> bool:
        """Whether the random Whisper can be asked it, which says its whole sentence at the first pause."""
        return not self.has_pause and self.recording.speech_s >= MIN_TEN_WORDS_S


def main() -> None:
    arguments = parse()
    # A pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 140)
    systems = ready(arguments.peers, console)
    engines = ["free"] if arguments.quick else arguments.engines
    setups = {name: make_setup(name, console) for name in engines}
    questions = load_questions(arguments.audio)
    count = QUICK_TURNS if arguments.quick else arguments.turns
    turns: list[Turn] = []
    for name in engines:
        fit = [q for q in questions if name == "free" or q.fits_ten_words]
        turns += asyncio.run(play(name, setups[name], systems, fit, count=count, console=console))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(turn) for turn in turns], indent=1) + "\n")
    rows, shares = list(table(turns, systems)), list(stages(turns))
    show(rows, shares, console)
    if count >= TURNS and arguments.peers == "all" and len(engines) == len(TITLES):
        write_section("voice_to_voice", document(rows, shares, systems, len(questions), count))
        console.print("written: docs/benchmarks.md")
    finish(bars(turns))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few turns with engines that cost nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single turn there")
    parser.add_argument("--peers", choices=("none", "all", *(peer.name for peer in PEERS)), default="all")
    parser.add_argument("--turns", type=int, default=TURNS, metavar="N", help="of each system")
    parser.add_argument(
        "--engines", nargs="+", choices=tuple(TITLES), default=list(TITLES), help="free, real or both"
    )
    parser.add_argument(
        "--audio",
        type=Path,
        default=Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", ROOT.parent / "shared" / "audio")),
        help="a folder with callers.json; without one, the questions in samples/ are asked",
    )
    return parser.parse_args()


# ---- making ready -----------------------------------------------------------------------------------


def make_setup(engines: str, console: Console) -> Setup:
    """The engines, without what is known only when the language model runs."""
    if engines == "free":
        return Setup("", "")
    with console.status("making random weights, which takes minutes the first time"):
        return Setup("", "", whisper=str(random_whisper()), piper=str(random_piper()))


def load_questions(audio: Path) -> list[Question]:
    known = audio / "callers.json"
    if known.is_file():
        callers = [(audio / c["file"], c["text"]) for c in json.loads(known.read_text())["callers"]]
    else:
        samples = ROOT / "samples"
        callers = [
            (
                path,
                f"{path.stem.replace('-', ' ').capitalize()}{'?' if path.stem.startswith('what') else '.'}",
            )
            for path in sorted(samples.glob("*.wav"))
            if path.stem.startswith(("what-", "tell-", "my-name-"))
        ]
    recordings = [load_recording(path, text) for path, text in sorted(callers)]
    return [
        Question(recording, heard_until(recording), has_pause(recording))
        for recording in recordings
        if len(recording.samples) <= MAX_RECORDING_S * RATE_HZ
    ]


# ---- playing ----------------------------------------------------------------------------------------


async def play(
    engines: str,
    setup: Setup,
    systems: Sequence[System],
    questions: Sequence[Question],
    *,
    count: int,
    console: Console,
) -> list[Turn]:
    """`count` questions to each system, the systems by turns."""
    turns: list[Turn] = []
    playing = asyncio.current_task()
    assert playing is not None
    # Who ends this program ends those that it started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note_file = folder / "note.json"
        llm_url = await stack.enter_async_context(chat_server(note_file, folder / "llm.log"))
        setup = Setup(llm_url, str(note_file), setup.whisper, setup.piper)
        callers: dict[str, Caller] = {}
        for system in systems:
            url = await stack.enter_async_context(running(system, setup, folder / f"{system.name}.log"))
            callers[system.name] = await stack.enter_async_context(Caller(system.signalling(url)))
        # A collection in the middle of a turn would be measured.
        gc.collect()
        gc.freeze()
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console, auto_refresh=False))
        task = progress.add_task(TITLES[engines], total=count * len(systems))
        asker = Asker(engines, Note(note_file))
        for system in systems:
            # The first question of a call finds cold caches, and with some a model that is still loading.
            await asker.ask(system.name, callers[system.name], questions[0], number=count)
        for number in range(count):
            # Who comes first changes, so that nobody always follows the same one.
            for place in range(len(systems)):
                system = systems[(number + place) % len(systems)]
                question = questions[number % len(questions)]
                turn = await asker.ask(system.name, callers[system.name], question, number=number)
                turns.append(turn)
                waited = "no answer" if turn.wait_ms is None else f"{turn.wait_ms:.0f} ms"
                progress.update(
                    task, advance=1, description=f"{TITLES[engines]}, {system.title}: {waited}", refresh=True
                )
    return turns


class Asker:
    """Asks one question at a time and measures."""

    def __init__(self, engines: str, note: Note) -> None:
        self._engines = engines
        self._note = note

    async def ask(self, system: str, caller: Caller, question: Question, *, number: int) -> Turn:
        recording = question.recording
        # An answer that comes when nobody waits for it any more is not one to the next question.
        await caller.quiet(BEFORE_S, REPLY_TIMEOUT_S)
        caller.ears.forget()
        caller.messages.clear()
        # The first frame leaves within 20 ms of now.
        starts_s = time.monotonic() + FRAME_SAMPLES / RATE_HZ
        # The puff at the end of "stop" comes after what is taken for silence already: nobody needs it to know
        # the word.
        known = min(recording.end, question.heard_until)
        begin_s, end_s = (starts_s + sample / RATE_HZ for sample in (recording.begin, known))
        self._note.write(Said(recording.text, begin_s, end_s, reply(number)))
        began_s, ended_s = await caller.mouth.say_recording(recording)
        first_s = await caller.first_sound_s(began_s, recording.speech_s + ANSWER_TIMEOUT_S[self._engines])
        if first_s is None:
            return Turn(self._engines, system, recording.name, None)
        await caller.quiet(QUIET_S, REPLY_TIMEOUT_S)
        latency = next((m for _, m in caller.messages if m.get("type") == "agent.latency"), None)
        return Turn(
            self._engines,
            system,
            recording.name,
            (first_s - ended_s) * 1000,
            cut_in=first_s <= ended_s,
            total_ms=latency["total_ms"] if latency else None,
            steps_ms=latency["steps_ms"] if latency else {},
            heard_later_ms=1000 * (question.heard_until - recording.end) / RATE_HZ,
        )


# ---- telling ----------------------------------------------------------------------------------------

HEADER = ("engines", "system", "answers", "median", "p95", "worst", "cut in", "no answer")
SHARES_HEADER = ("engines", "stage", "median", "p95", "mean")


def answers(turns: Iterable[Turn], engines: str, system: str) -> list[float]:
    """Waits of the turns in which the caller was let finish and was answered."""
    return [
        turn.wait_ms
        for turn in turns
        if (turn.engines, turn.system) == (engines, system) and turn.wait_ms is not None and not turn.cut_in
    ]


def table(turns: Sequence[Turn], systems: Sequence[System]) -> Iterable[tuple[str, ...]]:
    for engines in dict.fromkeys(turn.engines for turn in turns):
        for system in systems:
            same = [turn for turn in turns if (turn.engines, turn.system) == (engines, system.name)]
            spread = Spread.of(answers(turns, engines, system.name))
            shown = (
                [f"{v:.0f} ms" for v in (spread.median, spread.p95, spread.worst)] if spread else ["–"] * 3
            )
            cut_in, silent = sum(turn.cut_in for turn in same), sum(turn.wait_ms is None for turn in same)
            title = f"{system.title} {system.version}".strip()
            yield TITLES[engines], title, f"{spread.count if spread else 0}", *shown, f"{cut_in}", f"{silent}"


def stages(turns: Sequence[Turn]) -> Iterable[tuple[str, ...]]:
    """Where our agent's time goes; the means add up to the mean wait."""
    for engines in dict.fromkeys(turn.engines for turn in turns):
        told = [t for t in turns if t.engines == engines and t.unexplained_ms is not None and not t.cut_in]
        if not told:
            continue
        parts: dict[str, list[float]] = {"speech heard longer": [turn.heard_later_ms for turn in told]}
        for step in dict.fromkeys(step for turn in told for step in turn.steps_ms):
            parts[step.removesuffix("_ms")] = [turn.steps_ms.get(step, 0.0) for turn in told]
        parts["unexplained"] = [turn.unexplained_ms or 0.0 for turn in told]
        for name, values in parts.items():
            spread = Spread.of(values)
            assert spread is not None
            shown = (f"{v:.0f} ms" for v in (spread.median, spread.p95, statistics.fmean(values)))
            yield TITLES[engines], name, *shown


def show(rows: Sequence[tuple[str, ...]], shares: Sequence[tuple[str, ...]], console: Console) -> None:
    for header, lines in ((HEADER, rows), (SHARES_HEADER, shares)):
        shown = Table(*header)
        for line in lines:
            shown.add_row(*line)
        console.print(shown)


def document(
    rows: Sequence[tuple[str, ...]],
    shares: Sequence[tuple[str, ...]],
    systems: Sequence[System],
    questions: int,
    count: int,
) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    names = ", ".join(f"{system.title} {system.version}".strip() for system in systems)
    return f"""## Voice to voice

`python benchmarks/voice_to_voice.py`, {today}: {machine()}, Python {platform.python_version()}.
{names}; {count} questions each with either kind of engines, {questions} recordings, by turns in one run.

From the last sound of the question leaving the caller to the first sound of the answer arriving there:

{markdown(HEADER, rows)}

Where our agent's time goes, by its own timeline; the means add up to what the caller waited:

{markdown(SHARES_HEADER, shares)}

- **The caller** is one program on plain aiortc for all systems. A recording's last sound is its last stretch
  of 10 ms within 25 dB of its loud parts, laid at the end of a 20 ms packet; the clock starts when that
  packet has left. Each packet of the answer is decoded as it arrives, with no buffer against jitter, and the
  clock stops at the first 2.5 ms louder than -50 dBFS.
- **Systems** run in processes and environments of their own, all connected all the time, one asked at a time.
  Ours has its default settings. Pipecat has `SmallWebRTCTransport` and its defaults: Silero in the user
  aggregator (0.2 s), Smart Turn v3 on the CPU, sentences to the voice, a recogniser that declares a latency
  of 0. FastRTC has `ReplyOnPause` with its defaults and sends sentences to the voice.
- **Free engines**: the recogniser knows the words that the caller had said by the time it is asked, the voice
  is a buzz that is there at once. The language model is a server that streams 100 ms after the request and
  20 ms a token; its replies are the same for all.
- **Real compute**: Whisper `base.en`, int8, and a Piper `medium` voice, in their true shapes with random
  weights, in each system through the library's own service where it has one. The random Whisper always says
  the same ten tokens, surely, because the embeddings of their positions are set so: nobody decodes more.
  Questions with pauses in them, at which it would know the rest already, are left out, and those under
  {MIN_TEN_WORDS_S} s, which nobody says ten words in. All decode greedily (our default; the others' is five
  beams, which would cost them more).
- **speech heard longer**: how much later than the recording's last sound voice activity detection hears it
  end. **unexplained**: the two ways over the network, encoding, decoding, and what nobody accounts for.
"""


def bars(turns: Sequence[Turn]) -> Iterable[str]:
    for engines in dict.fromkeys(turn.engines for turn in turns):
        what = TITLES[engines]
        ours = Spread.of(answers(turns, engines, "ours"))
        theirs = Spread.of(answers(turns, engines, "pipecat"))
        if theirs is not None:
            ratio = ours.median / theirs.median if ours else None
            yield bar(f"{what}: median, of Pipecat's", ratio, "<=", WAIT_LIMIT[engines])
            if engines == "free":
                p95 = ours.p95 if ours else None
                yield bar(f"{what}: p95 against Pipecat's median, ms", p95, "<", theirs.median)
        unexplained = [t.unexplained_ms for t in turns if t.engines == engines and not t.cut_in]
        told = Spread.of(value for value in unexplained if value is not None)
        # Explaining more than there was is no better than explaining less.
        median = abs(told.median) if told else None
        yield bar(f"{what}: unexplained, ms, median", median, "<", UNEXPLAINED_LIMIT_MS)


if __name__ == "__main__":
    main()
