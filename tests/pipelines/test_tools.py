from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from pipelines.llm.base import ToolCall
from pipelines.tools import MAX_RESULT_CHARS, ToolBox, UnknownToolError


async def add(a: int, b: int = 1) -> str:
    """Add two numbers."""
    return str(a + b)


async def shout() -> str:
    return "x" * 100_000


async def broken() -> str:
    raise RuntimeError("no")


async def count():  # type: ignore[no-untyped-def]
    return 7


TOOLS = {"add": add, "shout": shout, "broken": broken, "count": count}
BOX = ToolBox(TOOLS, TOOLS)


def test_the_schema_is_made_from_the_signature() -> None:
    spec = BOX.specs[0]
    assert (spec.name, spec.description) == ("add", "Add two numbers.")
    assert spec.parameters["required"] == ["a"]
    assert spec.parameters["properties"]["b"]["default"] == 1


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("add", '{"a": 2, "b": 3}', "5"),
        ("add", '{"a": 2}', "3"),
        ("add", "not json", "Bad arguments"),
        ("add", "[" * 60_000, "Bad arguments"),
        ("add", '{"a": ' + "1" * 5000 + "}", "Bad arguments"),
        ("count", "", "7"),
        ("add", '{"a": "x"}', "Bad arguments"),
        ("add", '{"a": 1, "c": 2}', "Bad arguments"),
        ("nothing", "{}", "There is no tool 'nothing'."),
        ("broken", "", "The tool failed."),
    ],
)
async def test_a_call_always_has_an_answer(name: str, arguments: str, answer: str) -> None:
    assert (await BOX.call(ToolCall("1", name, arguments))).startswith(answer)


async def test_a_failure_is_counted() -> None:
    labels = {"tool": "broken"}
    before = REGISTRY.get_sample_value("voice_agent_tool_failures_total", labels) or 0.0
    await BOX.call(ToolCall("1", "broken", "{}"))
    assert REGISTRY.get_sample_value("voice_agent_tool_failures_total", labels) == before + 1


async def test_a_long_answer_is_cut() -> None:
    assert len(await BOX.call(ToolCall("1", "shout", "{}"))) == MAX_RESULT_CHARS


def test_an_unknown_tool_names_the_known_ones() -> None:
    with pytest.raises(UnknownToolError, match=r"no tool 'rol_dice'; there are: .*roll_dice"):
        ToolBox(["rol_dice"])


async def test_the_tools_that_come_with_it() -> None:
    box = ToolBox(["roll_dice", "current_time"])
    assert await box.call(ToolCall("1", "roll_dice", '{"sides": 2}')) in {"1", "2"}
    assert "2 to 1000" in await box.call(ToolCall("1", "roll_dice", '{"sides": 1}'))
    assert await box.call(ToolCall("1", "current_time", "{}"))
