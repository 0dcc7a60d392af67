"""A conversation with real engines, a caller in it, and engines of one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
from aiortc import MediaStreamTrack

from agent.realtime import AudioSource
from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float
from pipelines.base import EngineInfo
from pipelines.engines import Engines
from pipelines.llm.base import Delta, Message, TextDelta, ToolSpec
from pipelines.options import TurnOptions, VadOptions
from pipelines.persona import Persona
from pipelines.reports import Caption, Report, State, StateChanged
from pipelines.stt.base import Transcript
from pipelines.tts.base import TextToSpeech
from pipelines.voice import Conversation

PERSONA = Persona(
    name="test",
    instructions="Be brief.",
    greeting="Hello!",
    sorry_no_answer="No idea.",
    sorry_language="English only.",
    phrases=("what is twelve times three", "tell me a story", "please stop talking now", "good morning"),
)


async def said(voice: TextToSpeech, text: str) -> Samples:
    """`text` as a caller's speech at 16 kHz, which is the built-in voice's own rate."""
    pieces = [to_float(pcm.samples) async for pcm in voice.synthesize(text)]
    assert pieces
    return np.concatenate(pieces) * 0.5


class Line:
    """A caller's microphone: plays what is put on it in real time, silence otherwise, until it hangs up."""

    def __init__(self) -> None:
        self._speech: Samples = np.zeros(0, np.float32)
        self._hung_up = False

    def say(self, speech: Samples) -> None:
        self._speech = np.concatenate([self._speech, speech])

    def hang_up(self) -> None:
        self._hung_up = True

    async def audio(self) -> AsyncIterator[Samples]:
        block = SPEECH_RATE_HZ // 50
        next_s = asyncio.get_running_loop().time()
        while not self._hung_up:
            piece, self._speech = self._speech[:block], self._speech[block:]
            yield np.pad(piece, (0, block - len(piece)))
            next_s += 0.02
            await asyncio.sleep(max(0.0, next_s - asyncio.get_running_loop().time()))


class Call:
    """A conversation with one caller, and everything it reported."""

    hearing: asyncio.Task[None]
    #: Called with each report as it is made.
    watchers: list[Callable[[Report], None]]

    def __init__(
        self, conversation: Conversation, playout: AudioSource, reports: list[Report], news: asyncio.Event
    ) -> None:
        self.conversation = conversation
        self.playout = playout
        self.reports = reports
        self.line = Line()
        self._news = news

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def finals(self, speaker: str) -> list[Caption]:
        return [
            r for r in self.reports if isinstance(r, Caption) and r.speaker == speaker and r.final and r.text
        ]

    async def answered(self, count: int = 1) -> Caption:
        await self.until(lambda: len(self.finals("agent")) >= count)
        return self.finals("agent")[-1]

    @property
    def states(self) -> list[State]:
        return [r.state for r in self.reports if isinstance(r, StateChanged)]


@asynccontextmanager
async def call(engines: Engines, persona: Persona = PERSONA, **parts: object) -> AsyncIterator[Call]:
    reports: list[Report] = []
    news = asyncio.Event()
    watchers: list[Callable[[Report], None]] = []

    def report(item: Report) -> None:
        reports.append(item)
        news.set()
        for watch in watchers:
            watch(item)

    voice = await engines.voice(None, None)
    chosen = {"stt": engines.stt, "llm": engines.llm, "voice": voice, "turns": TurnOptions()} | parts
    async with (
        AudioSource() as playout,
        asyncio.TaskGroup() as tasks,
        Conversation(
            **chosen,  # type: ignore[arg-type]
            playout=playout,
            persona=persona,
            vad=VadOptions(),
            report=report,
        ) as conversation,
    ):
        one = Call(conversation, playout, reports, news)
        one.watchers = watchers
        loudspeaker = tasks.create_task(play(playout.new_track()))
        one.hearing = tasks.create_task(conversation.hear("ann", one.line.audio()))
        yield one
        one.line.hang_up()
        await one.hearing
        loudspeaker.cancel()


async def play(track: MediaStreamTrack) -> None:
    """A loudspeaker: without one nothing counts as heard."""
    while True:
        await track.recv()


class Understands:
    """A recogniser to whom whatever is said is `text`, and that counts how often it was asked."""

    def __init__(self, text: str, languages: tuple[str, ...] = (), heard: str | None = None) -> None:
        self.text = text
        self.languages, self.heard = languages, heard
        self.asked = 0

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("stt", "understands", "understands", "test", self.languages)

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> Understands:
        return self

    def feed(self, samples: Samples) -> None:
        pass

    async def partial(self) -> str:
        return self.text

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        self.asked += 1
        return Transcript(self.text, language=self.heard)

    def close(self) -> None:
        pass


class Echo:
    """A language model that always says the same, and remembers what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[Sequence[Message]] = []

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("llm", "echo", "echo", "test")

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append(messages)
        for word in self.text.split(" "):
            yield TextDelta(word + " ")

    async def close(self) -> None:
        pass
