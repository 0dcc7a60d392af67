"""Tools a model may call. A tool is a typed async function; its schema is made from its signature."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from prometheus_client import Counter
from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from pipelines.llm.base import ToolCall, ToolSpec

_log = logging.getLogger(__name__)
_FAILURES = Counter("voice_agent_tool_failures_total", "Tool calls that failed", ["tool"])

Tool = Callable[..., Awaitable[str]]

#: The answer of a tool is cut here: it travels to the model with every later message of the call.
MAX_RESULT_CHARS = 8000


#: A tool that takes longer has failed: somebody is waiting on the line.
TOOL_TIMEOUT_S = 30.0


class UnknownToolError(ValueError):
    """A persona names a tool that is not there; the message lists those that are."""


async def roll_dice(sides: int = 6) -> str:
    """Roll one die with the given number of sides and tell the result."""
    if not 2 <= sides <= 1000:
        return "A die has 2 to 1000 sides."
    return str(random.randint(1, sides))


async def current_time() -> str:
    """Tell the current local date and time."""
    return datetime.now().astimezone().strftime("%A, %d %B %Y, %H:%M %Z")


TOOLS: dict[str, Tool] = {tool.__name__: tool for tool in (roll_dice, current_time)}


class ToolBox:
    """The tools of one persona: their specs for the model, and their execution."""

    def __init__(self, names: Iterable[str], available: dict[str, Tool] | None = None) -> None:
        available = TOOLS if available is None else available
        names = tuple(names)
        if unknown := [name for name in names if name not in available]:
            raise UnknownToolError(f"no tool {unknown[0]!r}; there are: {', '.join(sorted(available))}")
        self._tools = {name: available[name] for name in names}
        self._models = {name: _arguments_model(tool) for name, tool in self._tools.items()}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(
            ToolSpec(name, inspect.getdoc(tool) or name, _schema(self._models[name]))
            for name, tool in self._tools.items()
        )

    async def call(self, call: ToolCall) -> str:
        """Run one call; what goes wrong is told to the model, in words it can correct itself by."""
        if call.name not in self._tools:
            return f"There is no tool {call.name!r}."
        try:
            arguments = self._models[call.name].validate_python(json.loads(call.arguments or "{}"))
        except ValidationError as error:
            return f"Bad arguments: {error}"
        except (ValueError, RecursionError):
            return "Bad arguments: they are not JSON."
        try:
            async with asyncio.timeout(TOOL_TIMEOUT_S):
                result = str(await self._tools[call.name](**arguments.model_dump()))
        except Exception as error:  # a tool is somebody else's code: its failure must not end the call
            # Its words may be those of people; its kind is enough to find it by.
            _log.error("the tool %s failed (%s)", call.name, type(error).__name__)
            _FAILURES.labels(call.name).inc()
            return "The tool failed."
        return result[:MAX_RESULT_CHARS]


def _arguments_model(tool: Tool) -> TypeAdapter[Any]:
    fields: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(tool, eval_str=True).parameters.items()
    }
    return TypeAdapter(create_model(tool.__name__, __config__=ConfigDict(extra="forbid"), **fields))


def _schema(model: TypeAdapter[Any]) -> dict[str, Any]:
    schema = model.json_schema()
    schema.pop("title", None)
    return schema
