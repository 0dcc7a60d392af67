"""What callers hear of an agent besides the answer itself, in whole conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from test_voice import PERSONA, Echo, call

from pipelines.engines import Engines
from pipelines.llm.base import Delta, Message, TextDelta, ToolSpec
from pipelines.reports import State

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
