"""Conversations with engines that fail: what people are told, and that the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest
from prometheus_client import REGISTRY
from voice_parts import PERSONA, Call, Echo, Line, Understands, call, said

from pipelines.audio import Pcm, Samples
from pipelines.base import EngineBusyError, EngineError, EngineInfo
from pipelines.engines import Engines
from pipelines.llm.base import Delta, Message, TextDelta, ToolSpec
from pipelines.reports import Problem, State
from pipelines.stt.base import Transcript

pytestmark = pytest.mark.asyncio(loop_scope="session")


class BrokenLlm(Echo):
    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        raise EngineError("the endpoint is gone")
        yield TextDelta("")


async def test_a_broken_language_model_is_apologised_for(engines: Engines) -> None:
    async with call(engines, llm=BrokenLlm("")) as one:
        one.conversation.typed("ann", "hello")
        assert (await one.answered()).text == PERSONA.sorry_no_answer
        assert any(isinstance(r, Problem) for r in one.reports)
        one.conversation.typed("ann", "hello again")
        await one.answered(2)


async def test_an_empty_answer_is_apologised_for_and_odd_text_harms_nobody(engines: Engines) -> None:
    async with call(engines, llm=Echo("")) as one:
        one.conversation.typed("ann", "half a pair: \ud800")
        assert (await one.answered()).text == PERSONA.sorry_no_answer


class Whispers(Understands):
    """A recogniser that answers each request with the next of `answers`, whatever was said; an exception is
    raised. The last one stays."""

    def __init__(self, *answers: str | Exception) -> None:
        super().__init__("")
        self.answers = list(answers)

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Transcript(answer)


def problems(one: Call) -> list[str]:
    return [report.message for report in one.reports if isinstance(report, Problem)]


async def test_recognition_ahead_of_time_that_gives_way_is_nobodys_concern(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    stt = Whispers(EngineBusyError("full"), "Good morning.")
    before = REGISTRY.get_sample_value(*FAILURES) or 0
    async with call(engines, llm=Echo("Hello."), stt=stt) as one:
        one.line.say(await said(voice, "Good morning."))
        assert (await one.answered()).text == "Hello."
        assert stt.asked > 1
        assert problems(one) == []
    assert (REGISTRY.get_sample_value(*FAILURES) or 0) == before


FAILURES = ("voice_agent_engine_failures_total", {"kind": "stt"})


@pytest.mark.parametrize("error", [EngineError("gone"), RuntimeError("words of people")])
async def test_a_broken_recogniser_is_told_of_once_somebody_waits_for_it(
    engines: Engines, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    voice = await engines.voice(None, None)
    async with call(engines, stt=Whispers(error)) as one:
        one.line.say(await said(voice, "Good morning."))
        assert (await one.answered()).text == PERSONA.sorry_not_understood
        assert len(problems(one)) == 1
    assert "words of people" not in caplog.text


class Unfit(Understands):
    """A recogniser that fails where nobody has reason to expect it."""

    def __init__(self, where: str) -> None:
        super().__init__("")
        self.where = where

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError("words of people")

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> Understands:
        self._fail("recognise")
        return self

    def feed(self, samples: Samples) -> None:
        self._fail("feed")

    async def partial(self) -> str:
        self._fail("partial")
        return ""

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        return Transcript("Good morning.")

    def close(self) -> None:
        self._fail("close")


@pytest.mark.parametrize("where", ["recognise", "feed", "partial", "close"])
async def test_whatever_a_recogniser_does_the_call_goes_on(engines: Engines, where: str) -> None:
    voice = await engines.voice(None, None)
    async with call(engines, stt=Unfit(where), llm=Echo("Hello.")) as one:
        one.line.say(await said(voice, "Good morning."))
        heard = where in {"partial", "close"}
        assert (await one.answered()).text == ("Hello." if heard else PERSONA.sorry_not_understood)


class BrokenVoice:
    @property
    def info(self) -> EngineInfo:
        return EngineInfo("tts", "broken", "broken", "test")

    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        raise EngineError("out of order")
        yield Pcm(np.zeros(0, np.int16), 1)

    async def close(self) -> None:
        pass


async def test_a_broken_voice_leaves_the_captions(engines: Engines) -> None:
    async with call(engines, voice=BrokenVoice()) as one:
        one.conversation.typed("ann", "What is your name?")
        assert (await one.answered()).text
        assert len([r for r in one.reports if isinstance(r, Problem)]) == 1, "said once a reply"


async def test_a_language_the_recogniser_does_not_speak_is_said_so(engines: Engines) -> None:
    german = PERSONA.model_copy(update={"language": "de"})
    async with call(engines, german) as one:
        one.line.say(await said(await engines.voice(None, None), "Guten Morgen, wie geht es?"))
        assert (await one.answered()).text == PERSONA.sorry_language


async def test_a_language_nobody_understands_is_said_once_to_each_caller(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    speech = await said(voice, "Guten Morgen.")
    german = PERSONA.model_copy(update={"language": "de"})
    async with call(engines, german) as one, asyncio.TaskGroup() as tasks:
        bob = Line()
        hearing = tasks.create_task(one.conversation.hear("bob", bob.audio()))
        for _ in range(2):
            turns = one.states.count(State.THINKING)
            one.line.say(speech)
            await one.until(lambda: one.states.count(State.THINKING) > turns)  # noqa: B023
            await one.conversation.quiet()
        assert len(one.finals("agent")) == 1
        bob.say(speech)
        assert (await one.answered(2)).text == PERSONA.sorry_language
        bob.hang_up()
        await hearing


async def test_who_was_not_understood_beside_somebody_who_was_is_told_so(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    async with call(engines, stt=Whispers(EngineError("gone")), llm=Echo("Fine.")) as one:
        one.line.say(await said(voice, "Good morning."))
        while not one.conversation.turn:
            await asyncio.sleep(0.01)
        one.conversation.typed("bob", "How are you?")
        assert (await one.answered()).text == "Fine."
        assert (await one.answered(2)).text == PERSONA.sorry_not_understood
        await one.conversation.quiet()
        assert len(one.finals("agent")) == 2
