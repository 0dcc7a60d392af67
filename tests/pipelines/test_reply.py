"""Replies through the real playout: what is made when, what is heard, and what happens when a voice fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import REGISTRY

from agent.realtime import AudioSource
from pipelines import speech
from pipelines.audio import Pcm
from pipelines.base import EngineInfo
from pipelines.filler import Fillers
from pipelines.models import ModelStore
from pipelines.options import TtsOptions
from pipelines.reply import Reply, fixed_text
from pipelines.speech import MAX_HELD_MS, TextSource
from pipelines.tts.base import TextToSpeech
from pipelines.tts.piper import PiperEngine


class Tones:
    """A voice of 60 ms a letter, so that it is known how long everything is."""

    MS_A_LETTER = 60

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wanted: asyncio.Event | None = None
        self.made = asyncio.Event()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("tts", "tones", "tones", "test", ("en",))

    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        self.asked.append(text)
        self.wanted = wanted
        samples = np.full(len(text) * self.MS_A_LETTER * 16, 1000, np.int16)
        yield Pcm(samples, 16_000)
        self.made.set()

    async def close(self) -> None:
        pass


class Hanging(Tones):
    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        self.asked.append(text)
        await asyncio.Event().wait()
        yield Pcm(np.zeros(1, np.int16), 16_000)


@dataclass
class Seen:
    """What a reply told."""

    events: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def replying(
    text: TextSource, voice: TextToSpeech, **options: object
) -> AsyncIterator[tuple[Reply, Seen, AudioSource]]:
    """A reply on its way, with somebody listening; stopped when the block ends."""
    seen = Seen()

    def saw(what: str) -> None:
        seen.events.append(what)
        seen.changed.set()

    def on_text(_: str, text: str) -> None:
        seen.texts.append(text)
        seen.changed.set()

    async with AudioSource() as playout:
        track = playout.new_track()
        chosen: dict[str, object] = {
            "gate": asyncio.Event(),
            "on_audible": lambda _: saw("audible"),
            "on_text": on_text,
            "on_first_clause": lambda: saw("clause"),
            "on_first_audio": lambda: saw("audio"),
            "on_problem": seen.problems.append,
        }
        reply = Reply("r", text, voice, playout, **(chosen | options))  # type: ignore[arg-type]

        async def listen() -> None:
            while True:
                await track.recv()

        async def run() -> None:
            await reply.run()
            saw("done")

        tasks = [asyncio.create_task(listen()), asyncio.create_task(run())]
        yield reply, seen, playout
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_first_word_is_spoken_while_the_rest_is_being_written() -> None:
    more = asyncio.Event()

    async def writing() -> TextSource:
        yield "Sure"
        yield ","
        await more.wait()
        yield " here you are."

    voice = Tones()
    async with replying(writing(), voice) as (reply, seen, _):
        reply.gate.set()
        await seen.until(lambda: "audible" in seen.events)
        assert voice.asked == ["Sure,"]
        more.set()
        await seen.until(lambda: "done" in seen.events)
        assert voice.asked == ["Sure,", "here you are."]
        assert seen.texts == ["Sure,", "Sure, here you are."]
        assert seen.events == ["clause", "audio", "audible", "done"]
        assert reply.heard() == "Sure, here you are."


async def test_before_the_gate_opens_a_bounded_part_is_made_and_nothing_sounds() -> None:
    voice = Tones()
    text = "This is one of many sentences. " * 20
    async with replying(fixed_text(text), voice) as (reply, seen, playout):
        # A sentence is 1.8 s: with two of them there is enough for a reply that may never sound.
        while len(voice.asked) * 1800 < MAX_HELD_MS:
            voice.made.clear()
            await voice.made.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(voice.asked) == 2
        assert voice.wanted is reply.gate, "until then others go first"
        assert playout.queued_ms == 0
        assert seen.events == ["clause", "audio"]
        reply.gate.set()
        await seen.until(lambda: "audible" in seen.events)
        while len(voice.asked) == 2:
            voice.made.clear()
            await voice.made.wait()


async def test_a_gate_that_closes_again_in_the_same_moment_was_never_open() -> None:
    async with replying(fixed_text("All right."), Tones()) as (reply, seen, playout):
        await seen.until(lambda: "audio" in seen.events)
        for _ in range(20):
            await asyncio.sleep(0)
        reply.gate.set()
        reply.gate.clear()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (seen.events, playout.queued_ms) == (["clause", "audio"], 0)
        reply.gate.set()
        await seen.until(lambda: "done" in seen.events)


async def test_text_that_runs_out_of_time_is_said_as_it_stands() -> None:
    async def writing() -> TextSource:
        yield "All right. "
        yield "There are many things that I could say about it, "
        await asyncio.Event().wait()

    voice = Tones()
    async with replying(writing(), voice) as (reply, seen, _):
        reply.gate.set()
        await seen.until(lambda: len(seen.texts) == 2)
        assert voice.asked[1] == "There are many things that I could say about it,"


async def test_a_voice_that_hangs_is_given_up_and_the_reply_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speech, "TTS_TIMEOUT_S", 0.05)
    before = REGISTRY.get_sample_value("voice_agent_tts_timeouts_total") or 0
    voice = Hanging()
    async with replying(fixed_text("One. Two. Three."), voice) as (reply, seen, _):
        reply.gate.set()
        await seen.until(lambda: "done" in seen.events)
        assert seen.texts[-1] == reply.text == "One. Two. Three."
        assert voice.asked == ["One."], "the rest would wait as long"
        assert len(seen.problems) == 1
    assert REGISTRY.get_sample_value("voice_agent_tts_timeouts_total") == before + 1


async def after(event: asyncio.Event, text: str) -> TextSource:
    await event.wait()
    yield text


async def test_a_filler_is_said_while_an_answer_takes_long_and_is_no_part_of_it() -> None:
    go_on, voice, filled = asyncio.Event(), Tones(), asyncio.Event()
    async with replying(
        after(go_on, "It is four."),
        voice,
        fillers=Fillers(["Let me see."], after_ms=1),
        on_filler=lambda _: filled.set(),
    ) as (reply, seen, playout):
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert voice.asked == [], "never on a speculation"
        reply.gate.set()
        await filled.wait()
        assert reply.audible
        assert seen.events == []
        while playout.played_ms < 300:
            await asyncio.sleep(0.01)
        assert (reply.heard(), reply.text) == ("", "")
        go_on.set()
        await seen.until(lambda: "done" in seen.events)
        assert voice.asked == ["Let me see.", "It is four."]
        assert seen.texts == ["It is four."]
        assert reply.heard() == "It is four."
        assert seen.events == ["clause", "audio", "audible", "done"]


async def test_no_filler_before_an_answer_that_is_ready() -> None:
    voice = Tones()
    async with replying(fixed_text("It is four."), voice, fillers=Fillers(["Hm."], after_ms=1)) as (
        reply,
        seen,
        _,
    ):
        await seen.until(lambda: "audio" in seen.events)
        reply.gate.set()
        await seen.until(lambda: "done" in seen.events)
        assert voice.asked == ["It is four."]


@pytest.mark.parametrize("filler", [False, True])
async def test_a_reply_that_is_stopped_as_its_first_sound_is_told_makes_none(filler: bool) -> None:
    told, gate = asyncio.Event(), asyncio.Event()

    def stop(_: str) -> None:
        gate.clear()
        told.set()

    ready = "" if filler else "It is four."
    async with replying(
        after(asyncio.Event() if filler else gate, ready),
        Tones(),
        gate=gate,
        on_audible=stop,
        on_filler=stop,
        fillers=Fillers(["Hm."], after_ms=1) if filler else None,
    ) as (_, seen, playout):
        gate.set()
        await told.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert playout.queued_ms == 0
        assert seen.texts == []


class Odd(Tones):
    """A voice with an error that is none of an engine."""

    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        raise RuntimeError("words of people")
        yield Pcm(np.zeros(1, np.int16), 16_000)


async def test_whatever_a_voice_raises_the_reply_is_written(caplog: pytest.LogCaptureFixture) -> None:
    async with replying(fixed_text("One. Two."), Odd()) as (reply, seen, _):
        await seen.until(lambda: "clause" in seen.events)
        for _ in range(20):
            await asyncio.sleep(0)
        assert seen.problems == [], "nobody is told of a speculation"
        reply.gate.set()
        await seen.until(lambda: "done" in seen.events)
        assert seen.texts[-1] == "One. Two."
        assert len(seen.problems) == 1
    assert "RuntimeError" in caplog.text
    assert "words of people" not in caplog.text


def test_no_filler_twice_in_a_row() -> None:
    two = Fillers(["a", "b", "a"], after_ms=1)
    assert [two.take() for _ in range(4)] == ["a", "b", "a", "b"]
    one = Fillers(["a"], after_ms=1)
    assert [one.take() for _ in range(4)] == ["a", None, "a", None]
    assert Fillers([], after_ms=1).take() is None


async def test_words_are_heard_one_by_one_as_they_are_written(store: ModelStore) -> None:
    piper = await PiperEngine.load(TtsOptions(voice="builtin"), models=store, reason="under test")
    async with replying(fixed_text("It costs $5, I think."), piper) as (reply, seen, _):
        reply.gate.set()
        heard: list[str] = []
        while "done" not in seen.events:
            if reply.heard() not in heard:
                heard.append(reply.heard())
            await asyncio.sleep(0.01)
        assert reply.cut is False
    # A machine held up may play two words between two looks.
    steps = ["", "It", "It costs", "It costs $5,", "It costs $5, I", "It costs $5, I think."]
    assert heard == [step for step in steps if step in heard]
    assert len(heard) > 3
    await piper.close()
