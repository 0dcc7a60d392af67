"""What callers hear of an agent besides the answer itself, in whole conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from chat_server import ChatServer
from voice_parts import PERSONA, Echo, Understands, call, said

from pipelines.engines import Engines
from pipelines.llm.base import Delta, Message, TextDelta, ToolCall, ToolSpec
from pipelines.llm.openai import INTERRUPTION, OpenAIEngine
from pipelines.options import LlmOptions, TurnOptions
from pipelines.reports import Caption, Report, State
from pipelines.stt.base import Transcript
from pipelines.tools import TOOLS

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Slow(Echo):
    """Writes its answer when it may."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.may = asyncio.Event()

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append(messages)
        await self.may.wait()
        yield TextDelta(self.text)


async def test_a_filler_can_be_interrupted_and_was_never_said(engines: Engines) -> None:
    persona = PERSONA.model_copy(update={"filler_after_ms": 100})
    llm = Slow("It is four.")
    async with call(engines, persona, llm=llm) as one:
        one.conversation.typed("ann", "What is two plus two?")
        await one.until(lambda: State.SPEAKING in one.states)
        assert one.finals("agent") == []
        one.conversation.typed("ann", "Quick!")
        await one.until(lambda: one.states[-1] is State.THINKING)
        llm.may.set()
        assert (await one.answered()).text == "It is four."
        assert [m.content for m in llm.asked[-1][1:]] == ["What is two plus two? Quick!"]


async def test_what_a_persona_says_word_for_word_is_ready_before_it_is_needed(engines: Engines) -> None:
    persona = PERSONA.model_copy(update={"greeting": "Good day to you! How are things?"})
    voice = await engines.voice(None, None)
    async with call(engines, persona):
        while "How are things?" not in voice:  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_an_answer_behind_a_filler_that_is_spoken_over_is_as_quiet_as_that(engines: Engines) -> None:
    """While it is not decided what speaks over the filler, nothing sounds."""
    persona = PERSONA.model_copy(update={"filler_after_ms": 100, "fillers": ("One two three four five.",)})
    voice = await engines.voice(None, None)
    turns, llm = TurnOptions(sustained_ms=5000), Slow("It is four.")
    async with call(engines, persona, llm=llm, stt=Deaf(""), turns=turns) as one:
        paused: list[bool] = []

        def watch(report: Report) -> None:
            if isinstance(report, Caption) and report.text == llm.text:
                paused.append(one.playout.paused)

        one.watchers.append(watch)
        # Left over from whatever was before.
        one.playout.paused = True
        one.conversation.typed("ann", "What is two plus two?")
        await one.until(lambda: State.SPEAKING in one.states)
        assert not one.playout.paused, "the filler is heard"
        one.line.say(await said(voice, LONG))
        while not one.playout.paused:
            await asyncio.sleep(0.01)
        llm.may.set()
        await one.until(lambda: bool(paused))
        assert paused == [True]


class Deaf(Understands):
    """A recogniser that never answers."""

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        await asyncio.Event().wait()
        return Transcript("")


LONG = "and one is one. And two is two. And three is three. And four is four. And five is five."


async def test_the_model_is_told_what_was_heard_and_that_it_was_interrupted(engines: Engines) -> None:
    with ChatServer() as server:
        llm = OpenAIEngine(LlmOptions(base_url=server.url, model="echo"), reason="under test")
        async with call(engines, llm=llm) as one:
            one.conversation.typed("ann", LONG)
            # Captions are two seconds ahead of the sound.
            await one.until(lambda: any(isinstance(r, Caption) and "four" in r.text for r in one.reports))
            one.conversation.typed("ann", "Stop, please.")
            cut = await one.answered()
            assert cut.interrupted
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
        question, answer, interruption = server.requests[1]["messages"][1:]
        assert question == {"role": "user", "content": LONG}
        assert f"You said {LONG}".startswith(cut.text)
        assert answer == {"role": "assistant", "content": f"{cut.text}…"}
        assert interruption == {"role": "user", "content": f"{INTERRUPTION} Stop, please."}
        await llm.close()


async def test_whoever_speaks_when_all_is_said_does_not_interrupt(engines: Engines) -> None:
    llm = Echo("Yes.")
    async with call(engines, llm=llm) as one:
        one.conversation.typed("ann", "Really?")
        await one.answered()
        one.conversation.typed("ann", "Sure?")
        await one.answered(2)
        assert not any(m.interrupts for m in llm.asked[1])


class Orders(Echo):
    """Orders a pizza when it is asked first, and then only talks."""

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append(messages)
        if len(self.asked) == 1:
            yield ToolCall("1", "order", "{}")
        yield TextDelta(self.text)


async def test_what_was_done_for_an_answer_that_was_cut_short_is_known_to_the_next(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may = asyncio.Event(), asyncio.Event()

    async def order() -> str:
        """Order a pizza."""
        begun.set()
        await may.wait()
        return "It is on its way."

    monkeypatch.setitem(TOOLS, "order", order)
    llm = Orders("It comes.")
    async with call(engines, PERSONA.model_copy(update={"tools": ("order",)}), llm=llm) as one:
        one.conversation.typed("ann", "A pizza, please.")
        await begun.wait()
        one.conversation.typed("ann", "Stop!")
        may.set()
        assert (await one.answered()).text == "It comes."
        told = [(m.role, m.content) for m in llm.asked[1][1:]]
        assert told == [
            ("user", "A pizza, please."),
            ("assistant", ""),
            ("tool", "It is on its way."),
            ("user", "Stop!"),
        ]
