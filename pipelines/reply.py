"""One answer on its way to the loudspeaker: text from the model, clauses, audio, through the gate.

Everything is prepared ahead; the gate decides when it may sound. The stages hand over through a bounded
queue, so a model that runs ahead of the voice waits instead of piling up text nobody may ever hear.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias

from prometheus_client import Counter

from pipelines.base import EngineError
from pipelines.clauses import ClauseSplitter
from pipelines.dialogue import SpokenText
from pipelines.llm.base import LanguageModel, Message, TextDelta, ToolCall
from pipelines.playout import Playout
from pipelines.speakable import speakable
from pipelines.tools import ToolBox
from pipelines.tts.base import TextToSpeech

_log = logging.getLogger(__name__)
ENGINE_FAILURES = Counter("voice_agent_engine_failures_total", "Engine failures met in a call", ["kind"])

#: Clauses the model may be ahead of the voice.
MAX_CLAUSES_AHEAD = 4
#: Rounds of tool calls in one reply; a model that still wants more is not going to answer.
MAX_TOOL_ROUNDS = 4

_WORD = re.compile(r"\w")

TextSource: TypeAlias = AsyncGenerator[str, None]


class Reply:
    """Prepared by `run`, released by `gate`, stopped by cancelling `run`.

    `on_audible` is called right before the first sound is pushed, `on_text` with the text spoken so far,
    `on_first_clause` and `on_first_audio` when the first of each is there, `on_problem` with plain words for
    the people in the room.
    """

    def __init__(
        self,
        reply_id: str,
        text: TextSource,
        voice: TextToSpeech,
        playout: Playout,
        *,
        gate: asyncio.Event,
        on_audible: Callable[[str], None],
        on_text: Callable[[str, str], None],
        on_first_clause: Callable[[], None],
        on_first_audio: Callable[[], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self.id = reply_id
        self.gate = gate
        self.audible = False
        self._text = text
        self._voice = voice
        self._playout = playout
        self._on_audible = on_audible
        self._on_text = on_text
        self._on_first_clause = on_first_clause
        self._on_first_audio = on_first_audio
        self._on_problem = on_problem
        self._spoken = SpokenText()
        self._from_ms = 0.0
        self._broken = False
        self._written = False

    @property
    def text(self) -> str:
        """What was spoken so far, heard or still queued."""
        return self._spoken.text

    def heard(self) -> str:
        """The words that have been played."""
        return self._spoken.heard(self._playout.played_ms - self._from_ms) if self.audible else ""

    async def run(self) -> None:
        """Returns when the last sample was played, or when there was nothing to say."""
        clauses: asyncio.Queue[str | None] = asyncio.Queue(MAX_CLAUSES_AHEAD)
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._write(clauses))
            while (clause := await clauses.get()) is not None:
                await self._speak(clause)
        await self._open()
        await self._playout.flush()
        await self._playout.drained()

    async def _write(self, clauses: asyncio.Queue[str | None]) -> None:
        splitter = ClauseSplitter()
        async with aclosing(self._text) as texts:
            async for text in texts:
                for clause in splitter.feed(text):
                    await self._hand_over(clause, clauses)
        for clause in splitter.flush():
            await self._hand_over(clause, clauses)
        await clauses.put(None)

    async def _hand_over(self, clause: str, clauses: asyncio.Queue[str | None]) -> None:
        if not self._written:
            self._written = True
            self._on_first_clause()
        await clauses.put(clause)

    async def _speak(self, clause: str) -> None:
        duration_ms = 0.0
        try:
            async with aclosing(self._voice.synthesize(speakable(clause))) as audio:
                async for pcm in audio:
                    if not self.audible:
                        self._on_first_audio()
                    await self._open()
                    self._sound()
                    if not duration_ms:
                        self._spoken.add(clause, 0.0)
                        self._on_text(self.id, self.text)
                    duration_ms += pcm.duration_ms
                    self._spoken.extend(pcm.duration_ms)
                    await self._playout.push(pcm)
        except EngineError as error:
            _log.warning("the voice failed: %s", error)
            ENGINE_FAILURES.labels("tts").inc()
            if not self._broken:
                self._broken = True
                self._on_problem("The voice is broken at the moment; please read the captions.")
        if not duration_ms:
            # Nothing to hear (an emoji, a broken voice): the caption is all there is of it.
            await self._open()
            self._sound()
            self._spoken.add(clause, 0.0)
            self._on_text(self.id, self.text)

    def _sound(self) -> None:
        if not self.audible:
            self.audible = True
            self._from_ms = self._playout.played_ms + self._playout.queued_ms
            self._on_audible(self.id)

    async def _open(self) -> None:
        # The gate may close again between its opening and our turn on the loop.
        while not self.gate.is_set():
            await self.gate.wait()


async def fixed_text(text: str) -> TextSource:
    """An announcement."""
    yield text


async def thought_text(
    llm: LanguageModel,
    messages: Sequence[Message],
    tools: ToolBox,
    *,
    gate: asyncio.Event,
    on_tools: Callable[[list[Message]], None],
    sorry: str,
    on_problem: Callable[[str], None],
) -> TextSource:
    """The model's answer, tools included; an apology in its place when the model fails.

    Tools run only once `gate` is open: on speculation nothing may have side effects.
    """
    history = list(messages)
    anything_said = False
    try:
        for _ in range(MAX_TOOL_ROUNDS):
            calls: list[ToolCall] = []
            said = ""
            async with aclosing(llm.stream(history, tools=tools.specs)) as deltas:
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
            while not gate.is_set():
                await gate.wait()
            answers = [Message("tool", await tools.call(c), tool_call_id=c.id) for c in calls]
            # What was said before the call belongs to the reply, which the dialogue gets as it was heard.
            on_tools([Message("assistant", "", tool_calls=tuple(calls)), *answers])
            history += [Message("assistant", said, tool_calls=tuple(calls)), *answers]
        if not anything_said:
            # Somebody asked and is waiting: an empty answer is as good as none.
            _log.warning("the language model said nothing")
            ENGINE_FAILURES.labels("llm").inc()
            yield sorry
    except EngineError as error:
        _log.warning("the language model failed: %s", error)
        ENGINE_FAILURES.labels("llm").inc()
        on_problem("The language model is not answering at the moment.")
        yield f"\n{sorry}"
