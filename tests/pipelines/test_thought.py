"""What is asked of the model and its tools, when, and what is made of it when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pipelines.base import EngineError, EngineInfo
from pipelines.dialogue import Dialogue
from pipelines.errands import Errands
from pipelines.llm.base import Delta, Message, TextDelta, ToolCall, ToolSpec
from pipelines.thought import Thoughts
from pipelines.tools import ToolBox

SORRY = "No idea."
PIZZA = ToolCall("1", "order", '{"what": "pizza"}')
WINE = ToolCall("2", "order", '{"what": "wine"}')


class Model:
    """Answers each request with the next of `answers`; an exception is raised where it stands."""

    def __init__(self, *answers: Sequence[Delta | Exception]) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[Message]] = []

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("llm", "model", "model", "test")

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append(tuple(messages))
        for delta in self.answers.pop(0):
            if isinstance(delta, Exception):
                raise delta
            yield delta

    async def close(self) -> None:
        pass


@dataclass
class Kitchen:
    """A tool with side effects: what was begun, and when it may be done."""

    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def order(self, what: str) -> str:
        """Order something."""
        self.begun.append(what)
        await self.may.wait()
        self.done.append(what)
        return f"{what} is on its way"


@dataclass
class Room:
    """The thoughts of one conversation, and the answer that is being written."""

    model: Model
    kitchen: Kitchen
    errands: Errands
    thoughts: Thoughts
    dialogue: Dialogue
    problems: list[str]
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    text: str = ""

    async def write(self) -> None:
        async for part in self.thoughts.answer(self.dialogue, (), gate=self.gate):
            self.text += part

    def said(self) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in self.dialogue.messages()[1:]]


@asynccontextmanager
async def thinking(*answers: Sequence[Delta | Exception]) -> AsyncIterator[tuple[Room, asyncio.Task[None]]]:
    model, kitchen, problems = Model(*answers), Kitchen(), list[str]()
    async with asyncio.TaskGroup() as tasks:
        errands = Errands(ToolBox(["order"], {"order": kitchen.order}), tasks)
        thoughts = Thoughts(model, errands, sorry=SORRY, on_problem=problems.append)
        room = Room(model, kitchen, errands, thoughts, Dialogue("Be kind.", max_messages=50), problems)
        room.dialogue.caller_said("ann", "Pizza and wine, please.")
        writing = asyncio.create_task(room.write())
        yield room, writing
        writing.cancel()
        errands.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def settle() -> None:
    """Whatever can go on without anything from outside has done so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_tool_never_runs_on_speculation() -> None:
    async with thinking([TextDelta("One moment."), PIZZA], [TextDelta("Done.")]) as (room, writing):
        await settle()
        assert room.text.strip() == "One moment."
        assert room.kitchen.begun == []
        # Somebody speaks on before anything could follow from the end of the turn.
        room.gate.set()
        room.gate.clear()
        await settle()
        assert room.kitchen.begun == []
        room.gate.set()
        room.kitchen.may.set()
        await writing
        assert room.kitchen.done == ["pizza"]
        assert room.text == "One moment.\nDone."


async def test_a_tool_does_not_begin_when_the_gate_closes_at_the_last_moment() -> None:
    async with thinking([]) as (room, _):
        room.gate.set()
        errand = asyncio.create_task(room.errands.run(PIZZA, room.dialogue, room.gate))
        await asyncio.sleep(0)
        room.gate.clear()
        await settle()
        assert room.kitchen.begun == []
        room.gate.set()
        room.kitchen.may.set()
        assert await errand == "pizza is on its way"


async def test_whoever_speaks_on_during_one_tool_holds_up_the_next() -> None:
    async with thinking([PIZZA, WINE], [TextDelta("Done.")]) as (room, writing):
        room.gate.set()
        await until(lambda: room.kitchen.begun == ["pizza"])
        room.gate.clear()
        room.kitchen.may.set()
        await settle()
        assert (room.kitchen.begun, room.kitchen.done) == (["pizza"], ["pizza"])
        assert room.said()[1:] == [("assistant", ""), ("tool", "pizza is on its way")], "one by one"
        room.gate.set()
        await writing
        assert room.kitchen.done == ["pizza", "wine"]
        assert [(m.role, m.tool_calls, m.tool_call_id) for m in room.model.asked[1][2:]] == [
            ("assistant", (PIZZA,), None),
            ("tool", (), "1"),
            ("assistant", (WINE,), None),
            ("tool", (), "2"),
        ]


async def test_a_tool_outlives_its_reply_and_the_next_request_waits_for_what_it_did() -> None:
    async with thinking([PIZZA, WINE], [TextDelta("It is ordered already.")]) as (room, writing):
        room.gate.set()
        await until(lambda: bool(room.kitchen.begun))
        writing.cancel()
        room.dialogue.caller_said("ann", "Stop!")
        again = asyncio.create_task(room.write())
        await settle()
        assert len(room.model.asked) == 1
        room.kitchen.may.set()
        await again
        assert room.kitchen.done == ["pizza"], "begun once, done once, and nothing after it"
        assert [(m.role, m.content) for m in room.model.asked[1][1:]] == [
            ("user", "Pizza and wine, please."),
            ("assistant", ""),
            ("tool", "pizza is on its way"),
            ("user", "Stop!"),
        ]


async def test_what_is_done_for_one_dialogue_holds_up_no_other() -> None:
    async with thinking([PIZZA], [TextDelta("Hello.")]) as (room, writing):
        room.gate.set()
        await until(lambda: bool(room.kitchen.begun))
        writing.cancel()
        room.dialogue = Dialogue("Be kind.", max_messages=50)
        await room.write()
        assert room.text.strip() == "Hello."
        assert len(room.model.asked[1]) == 1


@pytest.mark.parametrize("nothing", [[EngineError("busy")], []])
async def test_a_request_of_which_nothing_comes_on_speculation_is_made_again_when_it_counts(
    nothing: list[Delta | Exception],
) -> None:
    async with thinking(nothing, [TextDelta("All is well.")]) as (room, writing):
        await settle()
        assert (len(room.model.asked), room.text) == (1, "")
        room.gate.set()
        await writing
        assert room.text == "All is well."
        assert room.problems == []


@pytest.mark.parametrize("error", [EngineError("gone"), RuntimeError("words of people"), TimeoutError()])
async def test_a_request_that_fails_for_good_is_apologised_for_once_it_counts(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with thinking([error], [error]) as (room, writing):
        await settle()
        assert (room.text, room.problems) == ("", [])
        room.gate.set()
        await writing
        assert room.text.strip() == SORRY
        assert len(room.problems) == 1
        assert len(room.model.asked) == 2
    assert "words of people" not in caplog.text


async def test_a_request_that_fails_when_it_counts_or_half_way_is_not_made_again() -> None:
    async with thinking([TextDelta("It is "), EngineError("gone")]) as (room, writing):
        await settle()
        assert (room.text, room.problems) == ("It is ", [])
        room.gate.set()
        await writing
        assert room.text == f"It is \n{SORRY}"
    async with thinking([EngineError("gone")]) as (room, writing):
        room.gate.set()
        await writing
        assert room.text.strip() == SORRY
        assert (len(room.model.asked), len(room.problems)) == (1, 1)
