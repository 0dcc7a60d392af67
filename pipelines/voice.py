"""The conversation of one agent with everybody in its room: the shell round the floor (`pipelines.turns`).

It stamps what happens with one monotonic clock, hands it to the machine, and carries out what the machine
says. It knows callers by peer id and hears them as streams of samples; where those come from, and where the
sound goes, is not its business.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType

from prometheus_client import Histogram

from pipelines import events as ev
from pipelines.audio import Samples
from pipelines.base import EngineError
from pipelines.dialogue import Dialogue
from pipelines.filler import Fillers
from pipelines.floor import AgentHas, CallerHas, Contested, Open, Thinking
from pipelines.listener import MAX_LAG_MS, Listener
from pipelines.llm.base import LanguageModel
from pipelines.options import TurnOptions, VadOptions
from pipelines.persona import Persona
from pipelines.playout import Playout
from pipelines.reply import ENGINE_FAILURES, Reply, TextSource, fixed_text, thought_text
from pipelines.reports import Caption, Latency, Problem, Report, State, StateChanged
from pipelines.speech import rehearse
from pipelines.stt.base import Recognition, SpeechToText
from pipelines.timeline import Step, Timeline
from pipelines.tools import ToolBox
from pipelines.tts.base import TextToSpeech
from pipelines.tts.cache import PhraseCache
from pipelines.turns import Turns
from pipelines.vad import Edge

_log = logging.getLogger(__name__)
_VOICE_TO_VOICE = Histogram(
    "voice_agent_voice_to_voice_seconds",
    "The caller's last sound to the agent's first, as the agent sees it",
    buckets=(0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
)

#: How often a caption of somebody who is still speaking may change: the room's rate limit is shared.
PARTIAL_EVERY_S = 0.25
GREETING = "greeting"
#: A recognition that takes longer has failed: somebody is waiting on the line.
STT_TIMEOUT_S = 30.0
_WORD = re.compile(r"\w")
#: A deadline waits so long for the audio that makes it due before it passes without.
AUDIO_GRACE_MS = 150.0


@dataclass(slots=True)
class _Heard:
    """One open segment: its recognition, and the tasks at work on it."""

    peer: str
    recognition: Recognition
    captions: asyncio.Task[None]
    transcription: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        self.captions.cancel()
        if self.transcription:
            self.transcription.cancel()


class Conversation:
    """`async with Conversation(...)`: every task of it ends with the block.

    Everything runs on the loop that entered it; methods may be called from that loop only. `report` is called
    with each `Report` and must not block.
    """

    def __init__(
        self,
        *,
        stt: SpeechToText,
        llm: LanguageModel,
        voice: TextToSpeech,
        playout: Playout,
        persona: Persona,
        vad: VadOptions,
        turns: TurnOptions,
        report: Callable[[Report], None],
    ) -> None:
        self._stt, self._llm, self._voice, self._playout = stt, llm, voice, playout
        self._persona, self._vad_options, self._options = persona, vad, turns
        self._report = report
        self._turns = Turns(turns)
        self._tools = ToolBox(persona.tools)
        after_ms = persona.filler_after_ms
        self._fillers = Fillers(persona.fillers, after_ms=after_ms) if after_ms is not None else None
        self._rehearsal: asyncio.Task[None] | None = None
        self._dialogue = Dialogue(persona.instructions, max_messages=persona.max_messages)
        self._listeners: dict[str, Listener] = {}
        self._segments: dict[str, _Heard] = {}
        self._replies: dict[str, tuple[Reply, asyncio.Task[None]]] = {}
        self._timeline = Timeline()
        self._state: State | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()
        self._closed = False
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Conversation:
        await self._tasks.__aenter__()
        if isinstance(self._voice, PhraseCache):
            phrases = self._persona.set_phrases
            self._rehearsal = self._tasks.create_task(rehearse(self._voice, phrases, self._persona.language))
        self._after()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # From here on nothing that happens leads to anything new.
        self._closed = True
        self._listeners.clear()
        for segment in list(self._segments):
            self._close_segment(segment, "")
        for reply, task in list(self._replies.values()):
            task.cancel()
            _log.debug("reply %s ended with the call", reply.id)
        if self._timer:
            self._timer.cancel()
        if self._rehearsal:
            self._rehearsal.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    # ---- who is there

    async def hear(self, peer: str, audio: AsyncIterator[Samples]) -> None:
        """Listen to `peer` until `audio` (16 kHz mono blocks of any size) ends or the caller is removed."""

        def on_edge(edge: Edge) -> None:
            # A track that was replaced has nothing more to say, not even that it fell silent.
            if self._listeners.get(peer) is not listener:
                return
            self._handle(ev.Onset(peer, edge.at_ms) if edge.speech else ev.Offset(peer, edge.at_ms))

        listener = Listener(self._vad_options, now_ms=_now_ms, on_edge=on_edge, on_heard=self._tick)
        if replaced := self._listeners.get(peer):
            # A new track in the middle of a sentence: the sentence goes on.
            for heard in self._segments.values():
                if heard.peer == peer:
                    replaced.ignore(heard.recognition)
                    listener.listen(heard.recognition, _now_ms())
        self._listeners[peer] = listener
        try:
            await listener.run(audio)
        finally:
            if self._listeners.get(peer) is listener:
                self.remove_caller(peer)

    def remove_caller(self, peer: str) -> None:
        """`peer` is gone. Idempotent."""
        if self._listeners.pop(peer, None):
            self._handle(ev.CallerLeft(peer, alone=not self._listeners))

    def typed(self, peer: str, text: str) -> None:
        """`peer` wrote `text`; answered like speech."""
        # Half a surrogate pair, which JSON can carry, is no text that any engine could take.
        text = text.encode("utf-8", "replace").decode()
        if _WORD.search(text):
            if not isinstance(self._turns.floor, CallerHas):
                self._timeline = Timeline()
            self._handle(ev.Typed(peer, text))

    def forget(self) -> None:
        """Start the dialogue anew: the people who said it are gone."""
        self._dialogue = Dialogue(self._persona.instructions, max_messages=self._persona.max_messages)

    def greet(self) -> None:
        """Say the persona's greeting, unless it has none or somebody is speaking already."""
        if self._persona.greeting:
            self._timeline = Timeline()
            self._handle(ev.Announce(GREETING))

    async def quiet(self) -> None:
        """Returns when the agent has nothing left to say."""
        await self._quiet.wait()

    @property
    def state(self) -> State:
        match self._turns.floor:
            case Thinking():
                return State.THINKING
            case AgentHas() | Contested():
                return State.SPEAKING
            case _:
                return State.LISTENING

    @property
    def turn(self) -> int:
        """How many turns callers have had."""
        return self._turns.turn

    # ---- the machine

    def _handle(self, event: ev.Event) -> None:
        if self._closed:
            return
        if isinstance(event, ev.Offset):
            self._timeline.mark(Step.SPEECH_END, event.at_ms)
        for command in self._turns.handle(event, self._heard_ms()):
            self._carry_out(command)
        self._after()

    def _heard_ms(self) -> float:
        """The time up to which everybody has been heard, which is the machine's time.

        How long a silence was is told by the audio, not by a clock that runs on while packets, or the event
        loop, are held up. A line from which nothing has come for `MAX_LAG_MS` is dead and waited for no more.
        """
        now_ms = _now_ms()
        heard = (listener.heard_ms for listener in self._listeners.values())
        return min((at_ms for at_ms in heard if now_ms - at_ms < MAX_LAG_MS), default=now_ms)

    def _tick(self) -> None:
        """More has been heard; it may have made a deadline due."""
        if (deadline_ms := self._turns.deadline_ms) is not None and deadline_ms <= self._heard_ms():
            self._handle(ev.Tick())

    def _after(self) -> None:
        """Publish what changed and set the alarm for the machine's next deadline."""
        if self._state is not self.state:
            self._state = self.state
            self._report(StateChanged(self.state))
        if isinstance(self._turns.floor, Open | CallerHas):
            self._quiet.set()
        else:
            self._quiet.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (deadline_ms := self._turns.deadline_ms) is not None:
            self._wake_at(deadline_ms + AUDIO_GRACE_MS)

    def _wake_at(self, wake_ms: float) -> None:
        delay_s = max(0.0, wake_ms - _now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._overdue)

    def _overdue(self) -> None:
        """A deadline has passed and no audio has said so: the line is dead, or this process was held up."""
        self._tick()
        if self._turns.deadline_ms is not None and self._turns.deadline_ms > self._heard_ms():
            # If it was held up, the audio that came meanwhile is still to be heard.
            self._wake_at(max(self._turns.deadline_ms, _now_ms()) + AUDIO_GRACE_MS)

    def _carry_out(self, command: ev.Command) -> None:
        match command:
            case ev.Listen(peer, segment, from_ms, continues):
                self._open_segment(peer, segment, from_ms, continues=continues)
            case ev.Transcribe(_, segment, revision):
                self._transcribe(segment, revision)
            case ev.Accept(peer, segment, text):
                self._close_segment(segment, text)
                self._dialogue.caller_said(peer, text)
            case ev.Forget(_, segment):
                self._close_segment(segment, "")
            case ev.Think(reply, turn, unaccepted):
                self._think(reply, turn, unaccepted)
            case ev.Say(reply, what):
                self._prepare(reply, fixed_text(self._announcement(what)), asyncio.Event())
            case ev.Speak(reply):
                self._timeline.mark(Step.RELEASED, _now_ms())
                self._replies[reply][0].gate.set()
            case ev.Hold(reply):
                self._replies[reply][0].gate.clear()
            case ev.Duck():
                self._playout.gain_db = self._options.duck_db
            case ev.Resume():
                self._playout.gain_db = 0.0
            case ev.Cancel(reply):
                self._cancel(reply)

    # ---- recognition

    def _open_segment(self, peer: str, segment: str, from_ms: float, *, continues: bool) -> None:
        recognition = self._stt.recognise(language=self._persona.language, phrases=self._persona.phrases)
        self._listeners[peer].listen(recognition, from_ms, preroll=not continues)
        captions = self._tasks.create_task(self._caption(peer, segment, recognition))
        self._segments[segment] = _Heard(peer, recognition, captions)

    def _close_segment(self, segment: str, text: str) -> None:
        # What was typed has no recognition, and needs no caption: the room saw it already.
        if heard := self._segments.pop(segment, None):
            if listener := self._listeners.get(heard.peer):
                listener.ignore(heard.recognition)
            heard.cancel()
            heard.recognition.close()
            self._report(Caption("caller", heard.peer, segment, text, final=True))

    async def _caption(self, peer: str, segment: str, recognition: Recognition) -> None:
        """Live captions of a segment until it is closed; an engine that fails at them is simply not shown."""
        shown = ""
        while self._understands:
            await asyncio.sleep(PARTIAL_EVERY_S)
            try:
                text = await recognition.partial()
            except EngineError as error:
                _log.info("no live captions: %s", error)
                return
            if text and text != shown:
                shown = text
                self._report(Caption("caller", peer, segment, text, final=False))

    def _transcribe(self, segment: str, revision: int) -> None:
        heard = self._segments[segment]
        if heard.transcription:
            heard.transcription.cancel()
        self._timeline.mark(Step.ASKED, _now_ms())
        heard.transcription = self._tasks.create_task(self._recognise(segment, revision, heard.recognition))

    async def _recognise(self, segment: str, revision: int, recognition: Recognition) -> None:
        event: ev.Event
        if not self._understands:
            event = ev.NotTranscribed(segment, revision)
        else:
            try:
                async with asyncio.timeout(STT_TIMEOUT_S):
                    # Most pauses turn out to be the end of a turn: only live captions give way to them.
                    transcript = await recognition.transcribe(decisive=True)
                event = ev.Transcribed(segment, revision, transcript.text)
            except (EngineError, TimeoutError) as error:
                _log.warning("recognition failed: %s", error)
                ENGINE_FAILURES.labels("stt").inc()
                self._report(Problem("Speech recognition is not working at the moment."))
                event = ev.NotTranscribed(segment, revision)
        self._timeline.mark(Step.TRANSCRIBED, _now_ms())
        self._handle(event)

    @property
    def _understands(self) -> bool:
        return self._stt.info.supports(self._persona.language)

    # ---- replies

    def _announcement(self, what: str) -> str:
        if what == GREETING:
            return self._persona.greeting
        return self._persona.sorry_not_understood if self._understands else self._persona.sorry_language

    def _think(self, reply: str, turn: int, unaccepted: tuple[tuple[str, str], ...]) -> None:
        self._timeline.turn = turn
        gate = asyncio.Event()
        text = thought_text(
            self._llm,
            self._dialogue.messages(unaccepted),
            self._tools,
            gate=gate,
            on_tools=self._dialogue.tools_ran,
            sorry=self._persona.sorry_no_answer,
            on_problem=self._problem,
        )
        self._prepare(reply, text, gate, fillers=self._fillers)

    def _prepare(
        self, reply_id: str, text: TextSource, gate: asyncio.Event, *, fillers: Fillers | None = None
    ) -> None:
        timeline = self._timeline
        reply = Reply(
            reply_id,
            text,
            self._voice,
            self._playout,
            gate=gate,
            on_audible=self._audible,
            on_text=self._spoken,
            on_first_clause=lambda: timeline.mark(Step.FIRST_CLAUSE, _now_ms()),
            on_first_audio=lambda: timeline.mark(Step.FIRST_AUDIO, _now_ms()),
            on_problem=self._problem,
            language=self._persona.language,
            fillers=fillers,
            on_filler=self._filled,
        )
        self._replies[reply_id] = (reply, self._tasks.create_task(self._run_reply(reply)))

    async def _run_reply(self, reply: Reply) -> None:
        await reply.run()
        del self._replies[reply.id]
        if reply.audible:
            # Nobody stopped it. Where sound reached nobody (a caller who only reads, or is connecting still),
            # the caption was the answer.
            self._dialogue.agent_said(reply.text, interrupted=False)
            self._report(Caption("agent", "", reply.id, reply.text, final=True))
        self._handle(ev.ReplyDone(reply.id))

    def _audible(self, reply: str) -> None:
        self._playout.gain_db = 0.0
        self._timeline.mark(Step.AUDIBLE, _now_ms())
        if (total_ms := self._timeline.total_ms) is not None:
            _VOICE_TO_VOICE.observe(total_ms / 1000)
            self._report(Latency(self._timeline.turn, total_ms, self._timeline.steps_ms()))
        self._timeline = Timeline()
        self._handle(ev.ReplyAudible(reply))

    def _filled(self, reply: str) -> None:
        """A filler sounds: it can be interrupted like any speech, but answers nothing."""
        self._playout.gain_db = 0.0
        self._handle(ev.ReplyAudible(reply))

    def _spoken(self, reply: str, text: str) -> None:
        self._report(Caption("agent", "", reply, text, final=False))

    def _cancel(self, reply_id: str) -> None:
        reply, task = self._replies.pop(reply_id)
        if reply.audible:
            # Heard first: clearing may let the playout forget where it was.
            heard = reply.heard()
            self._playout.clear()
            self._playout.gain_db = 0.0
            self._dialogue.agent_said(heard, interrupted=True)
            self._report(Caption("agent", "", reply_id, heard, final=True, interrupted=True))
        task.cancel()

    def _problem(self, message: str) -> None:
        self._report(Problem(message))


def _now_ms() -> float:
    return time.monotonic() * 1000
