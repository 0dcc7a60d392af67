from __future__ import annotations

import datetime as dt
import json

import pytest

from pipelines.llm.arithmetic import answer_arithmetic
from pipelines.llm.base import Message, TextDelta, ToolCall, ToolSpec
from pipelines.llm.scripted import UNDERSTOOD_PHRASES, WHAT_I_AM, WHAT_I_CAN, ScriptedEngine

NOON = dt.datetime(2026, 3, 9, 12, 5, tzinfo=dt.UTC)
DICE = ToolSpec("roll_dice", "Rolls a die.")


async def reply(*said: str | Message, tools: tuple[ToolSpec, ...] = ()) -> str | ToolCall:
    """The answer to a dialogue; texts are users' and assistant's in turn, the last one the user's."""
    brain = ScriptedEngine(clock=lambda: NOON)
    roles = ["user" if (len(said) - i) % 2 else "assistant" for i in range(len(said))]
    messages = [
        text if isinstance(text, Message) else Message(role, text)  # type: ignore[arg-type]
        for role, text in zip(roles, said, strict=True)
    ]
    deltas = [delta async for delta in brain.stream(messages, tools=tools)]
    if isinstance(deltas[0], ToolCall):
        (call,) = deltas
        return call  # type: ignore[return-value]
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("hello", "Hello! What can I do for you?"),
        ("Good morning.", "Hello! What can I do for you?"),
        ("What time is it?", "It is 12:05 p.m."),
        ("what is today's date", "Today is Monday, March 9, 2026."),
        ("What day is it?", "Today is Monday, March 9, 2026."),
        ("What is twelve times three?", "12 times 3 is 36."),
        ("two plus two", "2 plus 2 is 4."),
        ("Repeat after me: good evening everyone", "good evening everyone"),
        ("Say hello world.", "hello world."),
        ("My name is David.", "Nice to meet you, David."),
        ("What is my name?", "You have not told me your name yet."),
        ("Can you hear me?", "Yes, I can hear you."),
        ("Who are you?", WHAT_I_AM),
        ("What can you do?", WHAT_I_CAN),
        ("Thank you very much.", "You are welcome."),
        ("No, thank you.", "All right. Tell me if there is anything else."),
        ("Goodbye.", "Goodbye! It was nice talking to you."),
        ("Stop.", "All right."),
        ("Wait a moment.", "All right."),
        ("Never mind.", "No problem. What else can I do for you?"),
        ("roll the dice", "I have no dice in this conversation."),
        ("", "I did not hear anything."),
    ],
)
async def test_answers(said: str, answer: str) -> None:
    assert await reply(said) == answer


async def test_every_phrase_it_claims_to_understand_has_an_answer_of_its_own() -> None:
    for phrase in UNDERSTOOD_PHRASES:
        answer = await reply(phrase, tools=(DICE,))
        assert isinstance(answer, ToolCall) or not answer.startswith("I heard:"), phrase


async def test_quotes_what_it_does_not_understand_and_says_what_it_is() -> None:
    answer = await reply("The quarterly report shows a decline.")
    assert isinstance(answer, str)
    assert answer.startswith(
        "I heard: The quarterly report shows a decline. I am only the built-in demo brain"
    )
    assert "connect a real model" in answer


async def test_says_how_to_connect_a_real_model() -> None:
    assert "OpenAI compatible endpoint" in str(await reply("what are you"))


@pytest.mark.parametrize("again", ["Please repeat that.", "What did you say?", "say that again", "pardon"])
async def test_repeats_its_own_last_answer(again: str) -> None:
    assert await reply("hello", "The answer was forty two.", again) == "The answer was forty two."
    assert await reply("hello", "The answer was forty …", again) == "The answer was forty"
    assert await reply(again) == "I have not said anything yet."


async def test_remembers_the_name_of_each_caller() -> None:
    assert (
        await reply("my name is david", "Nice to meet you, David.", "what is my name")
        == "Your name is David."
    )
    anna, ben = Message("user", "my name is anna", name="a"), Message("user", "my name is ben", name="b")
    assert await reply(anna, ben, Message("user", "what is my name", name="a")) == "Your name is Anna."


@pytest.mark.parametrize(
    ("said", "sides"), [("roll the dice", 6), ("Roll a twenty sided die!", 20), ("please throw the dice", 6)]
)
async def test_calls_the_dice_tool(said: str, sides: int) -> None:
    call = await reply(said, tools=(DICE,))
    assert isinstance(call, ToolCall)
    assert (call.name, json.loads(call.arguments)) == ("roll_dice", {"sides": sides})


async def test_speaks_what_a_tool_answered() -> None:
    assert await reply("roll the dice", Message("tool", "4", tool_call_id="1")) == "It is a 4."
    assert await reply("x", Message("tool", "It is raining.", tool_call_id="1")) == "It is raining."


async def test_streams_word_by_word() -> None:
    deltas = [delta async for delta in ScriptedEngine().stream([Message("user", "hello")])]
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)][:2] == ["Hello! ", "What "]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("2 + 2", "2 plus 2 is 4."),
        ("how much is seven times eight", "7 times 8 is 56."),
        ("what is ten divided by four", "10 divided by 4 is 2.5."),
        ("what is ten divided by three", "10 divided by 3 is about 3.333."),
        ("what's nine minus twelve", "9 minus 12 is minus 3."),
        ("two plus three times four", "2 plus 3 times 4 is 14."),
        ("one hundred and six minus six", "106 minus 6 is 100."),
        ("two thousand three hundred plus forty five", "2300 plus 45 is 2345."),
        ("five and six", "5 plus 6 is 11."),
        ("twenty one plus 1.5", "21 plus 1.5 is 22.5."),
        ("six divided by zero", "Nobody can divide by zero."),
    ],
)
def test_arithmetic(said: str, answer: str) -> None:
    assert answer_arithmetic(said) == answer


@pytest.mark.parametrize(
    "said",
    [
        "",
        "two",
        "two plus",
        "plus two",
        "two two plus",
        "my order number is two three",
        "and and and",
        "x x x",
    ],
)
def test_what_is_no_sum(said: str) -> None:
    assert answer_arithmetic(said) is None


def test_huge_sums_end() -> None:
    assert answer_arithmetic("9 times " * 1000 + "9") is None
    assert answer_arithmetic(f"{'9' * 5000} plus 1") is not None
