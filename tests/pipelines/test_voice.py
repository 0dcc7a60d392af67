"""Conversations with real engines: real speech goes in, in real time, and real speech comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx_writer import write_mean_model
from voice_parts import PERSONA, Echo, Line, Understands, call, said

from pipelines.audio import SPEECH_RATE_HZ
from pipelines.endpoint.model import EndOfTurnModel
from pipelines.engines import Engines
from pipelines.llm.base import Delta, Message, TextDelta, ToolSpec
from pipelines.reports import Caption, Latency, Report, State, StateChanged

# One loop for all of them: the engines are loaded once.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_spoken_question_is_heard_thought_about_and_answered_aloud(engines: Engines) -> None:
    async with call(engines) as one:
        one.line.say(await said(await engines.voice(None, None), "What is twelve times three?"))
        answer = await one.answered()
        assert [c.text.lower().rstrip("?.") for c in one.finals("caller")] == ["what is twelve times three"]
        assert "36" in answer.text
        assert not answer.interrupted
        assert one.states == [State.LISTENING, State.THINKING, State.SPEAKING, State.LISTENING]
        (latency,) = [r for r in one.reports if isinstance(r, Latency)]
        assert latency.total_ms == pytest.approx(sum(latency.steps_ms.values()))
        assert latency.turn == 1
        partials = [
            r for r in one.reports if isinstance(r, Caption) and not r.final and r.speaker == "caller"
        ]
        assert partials, "captions are live"


async def test_speech_over_the_reply_stops_it_and_only_what_was_heard_was_said(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    llm = Echo("one two three four five six seven eight nine ten. " * 10)
    async with call(engines, llm=llm) as one:
        one.conversation.typed("ann", "count")
        await one.until(lambda: State.SPEAKING in one.states)
        await asyncio.sleep(1.0)
        one.line.say(await said(voice, "Please stop talking now."))
        cut = await one.answered()
        assert cut.interrupted
        assert 0 < len(cut.text) < len(llm.text) / 2
        await one.until(lambda: len(llm.asked) == 2 and len(one.finals("caller")) == 1)
        assert llm.asked[1][-2].content == f"{cut.text}…"
        assert one.finals("caller")[-1].text.lower().startswith("please stop")


@pytest.mark.parametrize("text", ["mm-hm", ""])
async def test_approval_and_noise_over_the_reply_cost_nothing_of_it(engines: Engines, text: str) -> None:
    voice = await engines.voice(None, None)
    sound = (await said(voice, "Good morning."))[: SPEECH_RATE_HZ // 2]
    stt, llm = Understands(text), Echo("one two three four five six seven.")
    async with call(engines, llm=llm, stt=stt) as one:
        one.conversation.typed("ann", "count")
        await one.until(lambda: State.SPEAKING in one.states)
        one.line.say(sound)
        answer = await one.answered()
        assert stt.asked, "it was noticed"
        assert not answer.interrupted
        assert answer.text == llm.text
        await one.conversation.quiet()
        assert len(llm.asked) == 1, "nobody answers it"


async def test_an_end_of_turn_model_is_asked_about_the_sound(
    engines: Engines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = await EndOfTurnModel.load(write_mean_model(tmp_path / "m.onnx", (1, 16_000)))
    voice = await engines.voice(None, None)
    llm = Echo("Fine.")
    async with call(engines, llm=llm, stt=Understands("Tell me about it."), end_of_turn=model) as one:
        with caplog.at_level(logging.INFO, "pipelines.record"):
            one.line.say(await said(voice, "Good morning."))
            await one.answered()
    (decision,) = [line for line in caplog.messages if line.startswith("turn 1 is over")]
    assert "model" in decision
    assert "morning" not in decision
    await model.close()


@pytest.mark.parametrize(("languages", "heard"), [(("en",), None), (("de", "en"), "en")])
async def test_the_words_end_a_turn_though_the_persona_names_no_language(
    engines: Engines, caplog: pytest.LogCaptureFixture, languages: tuple[str, ...], heard: str | None
) -> None:
    assert PERSONA.language is None, "as the built-in ones"
    voice = await engines.voice(None, None)
    stt = Understands("what time is it", languages, heard)
    async with call(engines, llm=Echo("Late."), stt=stt) as one:
        with caplog.at_level(logging.INFO, "pipelines.record"):
            one.line.say(await said(voice, "Good morning."))
            await one.answered()
    (decision,) = [line for line in caplog.messages if line.startswith("turn 1 is over")]
    assert "whole question" in decision


async def test_typed_text_is_answered_and_silence_is_not(engines: Engines) -> None:
    async with call(engines, llm=Echo("Fine.")) as one:
        one.line.say(np.random.default_rng(1).normal(0, 0.001, SPEECH_RATE_HZ).astype(np.float32))
        one.conversation.typed("ann", "  ")
        one.conversation.typed("ann", "What is your name?")
        await one.answered()
        await asyncio.sleep(0.5)
        assert len(one.finals("agent")) == 1
        assert one.finals("caller") == [], "the room saw what was typed already"


async def test_what_is_typed_in_a_noise_has_not_waited_since_the_noise(engines: Engines) -> None:
    nobody = Understands("")
    async with call(engines, stt=nobody, llm=Echo("Seven.")) as one:
        voice = await engines.voice()
        # With a short silence in it, which might have been the end of a sentence.
        one.line.say(np.tile(await said(voice, "la la la la la la la la la la"), 3))
        while not nobody.asked:
            await asyncio.sleep(0.02)
        one.conversation.typed("ann", "What time is it?")
        await one.answered()
        assert [r for r in one.reports if isinstance(r, Latency)] == []
        # Nor is a caption taken back that nobody saw.
        assert [r for r in one.reports if isinstance(r, Caption) and r.speaker == "caller"] == []


async def test_the_greeting(engines: Engines) -> None:
    async with call(engines) as one:
        one.conversation.greet()
        assert (await one.answered()).text == PERSONA.greeting


async def test_a_new_track_in_the_middle_of_a_sentence_loses_nothing_after_it(engines: Engines) -> None:
    speech = await said(await engines.voice(None, None), "What is twelve times three?")
    cut = len(speech) // 3
    async with call(engines, llm=Echo("Fine.")) as one, asyncio.TaskGroup() as tasks:
        one.line.say(speech[:cut])
        await asyncio.sleep(cut / SPEECH_RATE_HZ)
        again = Line()
        again.say(speech[cut:])
        hearing = tasks.create_task(one.conversation.hear("ann", again.audio()))
        await one.until(lambda: len(one.finals("caller")) == 1)
        assert "three" in one.finals("caller")[0].text.lower()
        again.hang_up()
        await hearing


async def test_a_forgotten_dialogue_is_gone(engines: Engines) -> None:
    llm = Echo("Fine.")
    async with call(engines, llm=llm) as one:
        one.conversation.typed("ann", "My secret")
        await one.answered()
        one.conversation.forget()
        one.conversation.typed("bob", "Hello")
        await one.answered(2)
        assert [m.content for m in llm.asked[1][1:]] == ["Hello"]


async def test_a_reply_that_sounds_when_its_dialogue_is_forgotten_is_forgotten_with_it(
    engines: Engines,
) -> None:
    llm = Echo("Your account holds nine hundred euros. " * 20)
    async with call(engines, llm=llm) as one:
        one.conversation.typed("ann", "What is on my account?")
        await one.until(lambda: State.SPEAKING in one.states)
        while one.playout.played_ms < 500:
            await asyncio.sleep(0.01)
        one.conversation.forget()
        assert one.finals("agent")[0].interrupted
        assert one.conversation.state is State.LISTENING
        one.conversation.typed("zoe", "Hello")
        await one.until(lambda: len(llm.asked) == 2)
        assert llm.asked[1][1:] == [Message("user", "Hello")], "nothing is told, and nothing was interrupted"


async def test_who_is_in_the_room_without_a_microphone_is_answered_to_the_end(engines: Engines) -> None:
    async with call(engines, llm=Echo("one two three four five six seven.")) as one:
        one.conversation.joined("ann")
        one.conversation.joined("bob")
        one.conversation.typed("bob", "count")
        await one.until(lambda: State.SPEAKING in one.states)
        one.line.hang_up()
        await one.hearing
        one.conversation.left("ann")
        assert not one.conversation.alone
        assert not (await one.answered()).interrupted
        one.conversation.typed("bob", "once more")
        await one.until(lambda: one.states[-1] is State.SPEAKING)
        one.conversation.left("bob")
        assert one.states[-1] is State.LISTENING
        assert one.conversation.alone


async def test_a_reply_that_is_stopped_is_silent_at_once(engines: Engines) -> None:
    llm = Once("one two three four five six seven eight nine ten. " * 10)
    async with call(engines, llm=llm) as one:
        one.conversation.typed("ann", "count")
        while one.playout.played_ms < 300:
            await asyncio.sleep(0.01)
        one.conversation.typed("ann", "Stop!")
        assert one.playout.queued_ms == 0
        played_ms = one.playout.played_ms
        await asyncio.sleep(0.1)
        assert one.playout.played_ms == played_ms


async def test_a_reply_that_is_stopped_in_its_first_moment_never_sounds(engines: Engines) -> None:
    async with call(engines, llm=Once("one two three.")) as one:

        def stop(report: Report) -> None:
            if report == StateChanged(State.SPEAKING):
                one.conversation.typed("ann", "Stop!")

        one.watchers.append(stop)
        one.conversation.typed("ann", "count")
        await one.until(lambda: State.SPEAKING in one.states)
        await asyncio.sleep(0.1)
        assert (one.playout.queued_ms, one.playout.played_ms) == (0, 0)


class Once(Echo):
    """Answers what it is asked first, and then thinks for ever."""

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append(messages)
        if len(self.asked) > 1:
            await asyncio.Event().wait()
        yield TextDelta(self.text)


async def test_two_callers_are_each_heard(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    async with call(engines) as one, asyncio.TaskGroup() as tasks:
        bob = Line()
        hearing = tasks.create_task(one.conversation.hear("bob", bob.audio()))
        one.line.say(await said(voice, "Good morning."))
        bob.say(await said(voice, "What is twelve times three?"))
        await one.answered()
        assert {c.peer for c in one.finals("caller")} == {"ann", "bob"}
        bob.hang_up()
        await hearing


async def test_when_the_caller_hangs_up_the_reply_stops(engines: Engines) -> None:
    async with call(engines, llm=Echo("a long story. " * 100)) as one:
        one.conversation.typed("ann", "go on")
        await one.until(lambda: State.SPEAKING in one.states)
        one.line.hang_up()
        await one.until(lambda: any(isinstance(r, Caption) and r.interrupted for r in one.reports))
        await one.conversation.quiet()
