from __future__ import annotations

from dataclasses import replace

from pipelines.dialogue import Dialogue
from pipelines.llm.base import Message, ToolCall


def dialogue(max_messages: int = 50) -> Dialogue:
    return Dialogue("Be kind.", max_messages=max_messages)


def contents(d: Dialogue) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in d.messages()[1:]]


def test_the_instructions_come_first() -> None:
    assert dialogue().messages() == [Message("system", "Be kind.")]


def test_sentences_of_one_caller_in_a_row_are_one_message() -> None:
    d = dialogue()
    d.caller_said("ann", "What time is it")
    assert [m.content for m in d.messages([("ann", "in Berlin?")])] == [
        "Be kind.",
        "What time is it in Berlin?",
    ]
    assert contents(d) == [("user", "What time is it")], "what is not accepted leaves no trace"


def test_two_callers_are_told_apart_by_name() -> None:
    d = dialogue()
    d.caller_said("ann", "Hi")
    assert d.messages()[1].name is None
    d.caller_said("bob 2!", "Hello")
    assert [m.name for m in d.messages()] == [None, "ann", "bob_2_"]


def test_callers_are_called_what_the_room_calls_them() -> None:
    names = {"c-1": "Ada Lovelace", "c-2": "Анна", "c-3": "Ada Lovelace", "c-4": "x" * 100, "c-5": "x" * 100}
    d = Dialogue("Be kind.", max_messages=50, names=names)
    for peer in names:
        d.caller_said(peer, "Hi")
    del names["c-1"]
    assert [m.name for m in d.messages([("c-6", "Hi"), ("c-2", "Hi")])] == [
        None,
        "Ada_Lovelace",
        "c-2",
        "Ada_Lovelace_2",
        "x" * 64,
        "x" * 60 + "_2",
        "c-6",
        "c-2",
    ]


def test_an_interrupted_reply_keeps_what_was_heard_and_shows_the_cut() -> None:
    d = dialogue()
    d.agent_said("It is four", interrupted=True)
    d.agent_said("", interrupted=True)
    assert contents(d) == [("assistant", "It is four…")]


def test_whatever_cut_an_answer_off_says_so() -> None:
    d = dialogue()
    d.caller_said("ann", "What time is it?")
    d.agent_said("It is four", interrupted=True)
    d.caller_said("ann", "In Tokyo,")
    d.caller_said("ann", "I mean.")
    d.agent_said("Eleven.", interrupted=False)
    interrupting = Message("user", "In Tokyo, I mean.", interrupts=True)
    assert d.messages([("ann", "Thanks.")])[3:] == [
        interrupting,
        Message("assistant", "Eleven."),
        Message("user", "Thanks."),
    ]
    assert d.messages([("bob", "Hi.")])[3] == replace(interrupting, name="ann")


def test_the_oldest_go_first_and_never_half_of_a_tool_call() -> None:
    d = dialogue(max_messages=3)
    d.caller_said("ann", "roll")
    d.tool_began(ToolCall("1", "roll_dice", "{}"))("4")
    d.agent_said("A four", interrupted=False)
    assert [m.role for m in d.messages()] == ["system", "assistant", "tool", "assistant"]
    d.caller_said("ann", "again")
    assert [m.role for m in d.messages()] == ["system", "assistant", "user"]


def test_more_tool_answers_than_fit_leave_nothing_half() -> None:
    d = dialogue(max_messages=3)
    for i in range(5):
        d.tool_began(ToolCall(str(i), "roll_dice", "{}"))(str(i))
    assert [m.role for m in d.messages()] == ["system", "assistant", "tool"]
    assert d.messages()[-1].content == "4"


def test_a_tool_is_told_of_once_it_has_answered_and_where_it_began() -> None:
    d = dialogue()
    d.caller_said("ann", "roll")
    answered = d.tool_began(ToolCall("1", "roll_dice", "{}"))
    told = d.told([("ann", "and quickly")])
    d.caller_said("ann", "and quickly")
    assert [m.role for m in told()] == ["system", "user"]
    answered("4")
    assert [m.role for m in told()] == ["system", "user", "assistant", "tool", "user"]
    assert told() == d.messages()
