"""What callers are saying: the recognition of each open segment, its captions and its tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines import events as ev
from pipelines.base import EngineBusyError, EngineError
from pipelines.endpoint.model import WINDOW_S, EndOfTurnModel
from pipelines.listener import Listener
from pipelines.persona import Persona
from pipelines.reports import Caption, Problem, Report
from pipelines.speech import ENGINE_FAILURES
from pipelines.stt.base import Recognition, SpeechToText
from pipelines.stt.guarded import GuardedRecognition
from pipelines.timeline import Step

_log = logging.getLogger(__name__)

#: How often a caption of somebody who is still speaking may change: the room's rate limit is shared.
PARTIAL_EVERY_S = 0.25
#: A recognition that takes longer has failed: somebody is waiting on the line.
STT_TIMEOUT_S = 30.0
#: What the end-of-turn model wants to hear.
MODEL_MEMORY_MS = 1000.0 * WINDOW_S


@dataclass(slots=True)
class _Heard:
    """One open segment."""

    peer: str
    listener: Listener
    from_ms: float
    recognition: Recognition
    captions: asyncio.Task[None]
    judgement: asyncio.Task[None] | None = None
    revision: int = -1
    #: At work on `revision`: one, or two once it has become urgent.
    transcriptions: set[asyncio.Task[None]] = field(default_factory=set)
    #: The caption shown last.
    shown: str = ""

    def cancel_transcriptions(self) -> None:
        for task in self.transcriptions:
            task.cancel()
        self.transcriptions.clear()

    def cancel(self) -> None:
        self.captions.cancel()
        self.cancel_transcriptions()
        if self.judgement:
            self.judgement.cancel()


class Hearing:
    """The open segments of one conversation.

    `handle` takes the recogniser's answers, `report` the captions, `mark` the steps of the timeline; tasks
    run in `tasks`.
    """

    def __init__(
        self,
        stt: SpeechToText,
        end_of_turn: EndOfTurnModel | None,
        persona: Persona,
        tasks: asyncio.TaskGroup,
        *,
        handle: Callable[[ev.Event], None],
        report: Callable[[Report], None],
        mark: Callable[[Step], None],
    ) -> None:
        self._stt = stt
        self._end_of_turn = end_of_turn
        self._persona = persona
        self._tasks = tasks
        self._handle = handle
        self._report = report
        self._mark = mark
        self._open: dict[str, _Heard] = {}

    @property
    def understands(self) -> bool:
        """Whether the recogniser speaks the callers' language."""
        return self._stt.info.supports(self._persona.language)

    def open(self, command: ev.Listen, listener: Listener) -> None:
        """Recognise what `listener` hears, from `command.from_ms` on."""
        recognition = GuardedRecognition(
            self._stt, language=self._persona.language, phrases=self._persona.phrases
        )
        listener.listen(recognition, command.from_ms, preroll=not command.continues)
        captions = self._tasks.create_task(self._caption(command.segment, recognition))
        self._open[command.segment] = _Heard(command.peer, listener, command.from_ms, recognition, captions)

    def close(self, segment: str, text: str) -> None:
        """`segment` is over; `text` is what it was, empty: nothing."""
        # What was typed has no recognition, and needs no caption: the room saw it already.
        if heard := self._open.pop(segment, None):
            heard.listener.ignore(heard.recognition)
            heard.cancel()
            heard.recognition.close()
            # Nothing that was nothing all along has to be taken back.
            if text or heard.shown:
                self._report(Caption("caller", heard.peer, segment, text, final=True))

    def close_all(self) -> None:
        for segment in list(self._open):
            self.close(segment, "")

    def move(self, peer: str, listener: Listener, now_ms: float) -> None:
        """`peer` is heard by another listener from now on: the sentence goes on."""
        for heard in self._open.values():
            if heard.peer == peer:
                heard.listener.ignore(heard.recognition)
                listener.listen(heard.recognition, now_ms)
                heard.listener = listener

    def transcribe(self, command: ev.Transcribe) -> None:
        """Recognise a segment so far; the answer goes to `handle`."""
        heard = self._open[command.segment]
        if heard.revision != command.revision:
            heard.cancel_transcriptions()
            heard.revision = command.revision
            self._mark(Step.ASKED)
            self._judge(command, heard)
        task = self._tasks.create_task(self._recognise(command, heard))
        heard.transcriptions.add(task)

    async def _recognise(self, command: ev.Transcribe, heard: _Heard) -> None:
        event: ev.Event = ev.NotTranscribed(command.segment, command.revision)
        if self.understands:
            try:
                async with asyncio.timeout(STT_TIMEOUT_S):
                    transcript = await heard.recognition.transcribe(
                        decisive=command.decisive, rough=command.rough
                    )
                event = ev.Transcribed(
                    command.segment, command.revision, transcript.text, transcript.language
                )
                self._show(command.segment, heard, transcript.text)
            except (EngineError, TimeoutError) as error:
                self._failed(error, decisive=command.decisive)
        this = asyncio.current_task()
        others = {task for task in heard.transcriptions if task is not this and not task.done()}
        heard.transcriptions = others
        if isinstance(event, ev.NotTranscribed) and others:
            # The same is asked for once more already.
            return
        heard.cancel_transcriptions()
        self._mark(Step.TRANSCRIBED)
        self._handle(event)

    def _failed(self, error: EngineError | TimeoutError, *, decisive: bool) -> None:
        if isinstance(error, EngineBusyError) and not decisive:
            # It gave way to what somebody waits for.
            _log.info("recognition ahead of time gave way: %s", error)
            return
        _log.warning("recognition failed: %s", error)
        ENGINE_FAILURES.labels("stt").inc()
        if decisive:
            # Ahead of time nobody has noticed, and it is tried once more.
            self._report(Problem("Speech recognition is not working at the moment."))

    def _judge(self, command: ev.Transcribe, heard: _Heard) -> None:
        """Ask the end-of-turn model about the pause, if it is one and there is a model."""
        if heard.judgement:
            heard.judgement.cancel()
        if self._end_of_turn and not heard.listener.speaking:
            heard.judgement = self._tasks.create_task(self._judged(self._end_of_turn, command, heard))

    async def _judged(self, model: EndOfTurnModel, command: ev.Transcribe, heard: _Heard) -> None:
        probability = await model.probability(heard.listener.since(heard.from_ms))
        if probability is not None:
            self._handle(ev.Judged(command.segment, command.revision, probability))

    async def _caption(self, segment: str, recognition: Recognition) -> None:
        """Live captions of a segment until it is closed; an engine that fails at them is simply not shown."""
        while self.understands:
            await asyncio.sleep(PARTIAL_EVERY_S)
            try:
                text = await recognition.partial()
            except EngineError as error:
                _log.info("no live captions: %s", error)
                return
            self._show(segment, self._open[segment], text)

    def _show(self, segment: str, heard: _Heard, text: str) -> None:
        if text and text != heard.shown:
            heard.shown = text
            self._report(Caption("caller", heard.peer, segment, text, final=False))
