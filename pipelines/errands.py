"""Tool calls under way. They may have side effects, so each is begun with care and none is half done."""

from __future__ import annotations

import asyncio

from pipelines.dialogue import Dialogue
from pipelines.gate import opened
from pipelines.llm.base import ToolCall, ToolSpec
from pipelines.tools import ToolBox


class Errands:
    """The tool calls of one conversation; tasks run in `tasks`.

    A call begins only while the gate of its reply is open: on speculation, or while somebody speaks on,
    nothing may have side effects. Once begun it runs to its end (`TOOL_TIMEOUT_S` at most) and its answer
    becomes part of the dialogue, whatever becomes of the reply: the model must not ask for the same again.
    Only the end of the conversation stops it.
    """

    def __init__(self, tools: ToolBox, tasks: asyncio.TaskGroup) -> None:
        self._tools = tools
        self._tasks = tasks
        self._under_way: dict[asyncio.Task[str | None], Dialogue] = {}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return self._tools.specs

    async def run(self, call: ToolCall, dialogue: Dialogue, gate: asyncio.Event) -> str:
        """The answer to `call`, once `gate` was open. Cancelling this leaves a call that has begun alone."""
        while True:
            await opened(gate)
            task = self._tasks.create_task(self._begin(call, dialogue, gate))
            self._under_way[task] = dialogue
            task.add_done_callback(self._under_way.pop)
            if (answer := await asyncio.shield(task)) is not None:
                return answer

    async def settled(self, dialogue: Dialogue) -> None:
        """Returns when no call is under way whose answer belongs to `dialogue`."""
        while waiting := [task for task, belongs in self._under_way.items() if belongs is dialogue]:
            await asyncio.wait(waiting)

    def close(self) -> None:
        """The conversation is over: nobody is left to be told."""
        for task in self._under_way:
            task.cancel()

    async def _begin(self, call: ToolCall, dialogue: Dialogue, gate: asyncio.Event) -> str | None:
        """None: the gate has closed before this began."""
        if not gate.is_set():
            return None
        answered = dialogue.tool_began(call)
        answer = await self._tools.call(call)
        answered(answer)
        return answer
