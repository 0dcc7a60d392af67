"""What the model makes of the dialogue: its answer, tools included, and an apology where it fails."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial

from pipelines.base import EngineError, guarded_stream
from pipelines.dialogue import Dialogue
from pipelines.errands import Errands
from pipelines.gate import opened
from pipelines.llm.base import Delta, LanguageModel, Message, TextDelta, ToolCall
from pipelines.speech import ENGINE_FAILURES, TextSource

_log = logging.getLogger(__name__)

#: Rounds of tool calls in one reply; a model that still wants more is not going to answer.
MAX_TOOL_ROUNDS = 4

_WORD = re.compile(r"\w")


class Thoughts:
    """Asks the model for the answers of one conversation.

    `sorry` is said where there is none, and `on_problem` is called with plain words for the people in the
    room: both only once the gate of the answer is open, since a speculation that fails is nobody's concern.
    """

    def __init__(
        self, llm: LanguageModel, errands: Errands, *, sorry: str, on_problem: Callable[[str], None]
    ) -> None:
        self._llm = llm
        self._errands = errands
        self._sorry = sorry
        self._on_problem = on_problem

    def answer(
        self, dialogue: Dialogue, unaccepted: Iterable[tuple[str, str]], *, gate: asyncio.Event
    ) -> TextSource:
        """The answer to `dialogue` as it is now, and what was said besides; `gate`: it may have effects."""
        return self._text(dialogue, dialogue.told(unaccepted), gate)

    async def _text(
        self, dialogue: Dialogue, told: Callable[[], list[Message]], gate: asyncio.Event
    ) -> TextSource:
        # A model that does not know what was done for the last answer would have it done again.
        await self._errands.settled(dialogue)
        history = told()
        anything_said = False
        try:
            for _ in range(MAX_TOOL_ROUNDS):
                calls: list[ToolCall] = []
                said = ""
                async with aclosing(self._deltas(history, gate)) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, TextDelta):
                            said += delta.text
                            yield delta.text
                        else:
                            calls.append(delta)
                anything_said = anything_said or bool(_WORD.search(said))
                if not calls:
                    break
                yield "\n"
                for call in calls:
                    answer = await self._errands.run(call, dialogue, gate)
                    history += [
                        Message("assistant", said, tool_calls=(call,)),
                        Message("tool", answer, tool_call_id=call.id),
                    ]
                    said = ""
            if not anything_said:
                # Somebody asked and is waiting: an empty answer is as good as none.
                _log.warning("the language model said nothing")
                ENGINE_FAILURES.labels("llm").inc()
                yield self._sorry
        except EngineError as error:
            self._failed(error)
            await opened(gate)
            self._on_problem("The language model is not answering at the moment.")
            yield f"\n{self._sorry}"

    async def _deltas(self, history: Sequence[Message], gate: asyncio.Event) -> AsyncGenerator[Delta, None]:
        """What the model streams; if that is nothing on speculation, it is asked again when it counts."""
        begun = False
        try:
            async with aclosing(self._asked(history)) as deltas:
                async for delta in deltas:
                    begun = True
                    yield delta
            if begun or gate.is_set():
                return
        except EngineError as error:
            if begun or gate.is_set():
                raise
            self._failed(error)
        await opened(gate)
        async with aclosing(self._asked(history)) as deltas:
            async for delta in deltas:
                yield delta

    def _asked(self, history: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        stream = partial(self._llm.stream, history, tools=self._errands.specs)
        return guarded_stream("the language model", stream)

    def _failed(self, error: EngineError) -> None:
        _log.warning("the language model failed: %s", error)
        ENGINE_FAILURES.labels("llm").inc()
