"""The conversation of one agent with everybody in its room: the shell round the floor (`pipelines.turns`).

It stamps what happens with one monotonic clock, hands it to the machine, and carries out what the machine
says. It knows callers by peer id and hears them as streams of samples; where those come from, and where the
sound goes, is not its business.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType

from prometheus_client import Histogram

from pipelines import events as ev
from pipelines.alarm import Alarm, now_ms
from pipelines.apologies import Apologies
from pipelines.audio import Samples
from pipelines.dialogue import Dialogue
from pipelines.endpoint.model import EndOfTurnModel
from pipelines.errands import Errands
from pipelines.filler import Fillers
from pipelines.floor import CLOSED, AgentHas, CallerHas, Contested, Open, Startled, Thinking
from pipelines.hearing import MODEL_MEMORY_MS, Hearing
from pipelines.interruption import PlayedLevels
from pipelines.listener import MAX_LAG_MS, Listener, SpeechEvent
from pipelines.llm.base import LanguageModel
from pipelines.options import TurnOptions, VadOptions
from pipelines.persona import Persona
from pipelines.playout import Playout
from pipelines.record import record
from pipelines.reply import Reply, fixed_text
from pipelines.reports import Caption, Latency, Problem, Report, State, StateChanged
from pipelines.speech import TextSource, rehearse
from pipelines.stt.base import SpeechToText
from pipelines.thought import Thoughts
from pipelines.timeline import Step, Timeline
from pipelines.tools import ToolBox
from pipelines.tts.base import TextToSpeech
from pipelines.tts.cache import PhraseCache
from pipelines.turns import Turns

_log = logging.getLogger(__name__)
_VOICE_TO_VOICE = Histogram(
    "voice_agent_voice_to_voice_seconds",
    "The caller's last sound to the agent's first, as the agent sees it",
    buckets=(0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
)

GREETING = "greeting"
_WORD = re.compile(r"\w")
#: A reply that ends so asks something, quotation marks and the like aside.
_QUESTION = re.compile(r"[?？][^\w?？]*$")


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A reply, and the dialogue it belongs to."""

    reply: Reply
    task: asyncio.Task[None]
    dialogue: Dialogue


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
        end_of_turn: EndOfTurnModel | None = None,
    ) -> None:
        self._voice, self._playout = voice, playout
        self._end_of_turn = end_of_turn
        self._persona, self._vad_options, self._options = persona, vad, turns
        self._report = report
        self._turns = Turns(turns, language=persona.language or stt.info.only_language)
        after_ms = persona.filler_after_ms
        self._fillers = Fillers(persona.fillers, after_ms=after_ms) if after_ms is not None else None
        self._rehearsal: asyncio.Task[None] | None = None
        #: Callers known to be in the room, whether they are heard or not, and what they are called.
        self._present: dict[str, str] = {}
        self._dialogue = self._new_dialogue()
        self._listeners: dict[str, Listener] = {}
        self._played = PlayedLevels()
        self._replies: dict[str, _UnderWay] = {}
        self._timeline = Timeline()
        self._state: State | None = None
        self._apologies = Apologies(persona, understands=stt.info.supports(persona.language))
        self._alarm = Alarm(self._turns, self._heard_ms, lambda: self._handle(ev.Tick()))
        self._quiet = asyncio.Event()
        self._closed = False
        self._tasks = asyncio.TaskGroup()
        self._errands = Errands(ToolBox(persona.tools), self._tasks)
        self._thoughts = Thoughts(llm, self._errands, sorry=persona.sorry_no_answer, on_problem=self._problem)
        self._hearing = Hearing(
            stt, end_of_turn, persona, self._tasks, handle=self._handle, report=report, mark=self._mark_step
        )

    async def __aenter__(self) -> Conversation:
        await self._tasks.__aenter__()
        self._playout.on_played = self._played.feed
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
        self._playout.on_played = None
        self._listeners.clear()
        self._hearing.close_all()
        for under_way in list(self._replies.values()):
            under_way.task.cancel()
            _log.debug("reply %s ended with the call", under_way.reply.id)
        self._errands.close()
        self._alarm.stop()
        if self._rehearsal:
            self._rehearsal.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    # ---- who is there

    def joined(self, peer: str, name: str = "") -> None:
        """`peer` is in the room and hears the agent, with or without a microphone; the model knows them by
        `name`, if they have one. Idempotent."""
        self._present[peer] = name

    def left(self, peer: str) -> None:
        """`peer` is out of the room: what they said last ends there. Idempotent."""
        self._present.pop(peer, None)
        self._listeners.pop(peer, None)
        self._handle(ev.CallerLeft(peer, alone=self.alone))
        self._apologies.left(peer)

    @property
    def alone(self) -> bool:
        """Whether there is nobody who could hear the agent."""
        return not self._present and not self._listeners

    async def hear(self, peer: str, audio: AsyncIterator[Samples]) -> None:
        """Listen to `peer` until `audio` (16 kHz mono blocks of any size) ends or the caller has left."""

        def on_event(event: SpeechEvent) -> None:
            # A track that was replaced has nothing more to say, not even that it fell silent.
            if self._listeners.get(peer) is listener:
                self._handle(event)

        listener = Listener(
            peer,
            self._vad_options,
            played=self._played,
            now_ms=now_ms,
            on_event=on_event,
            on_heard=self._alarm.heard,
            memory_ms=MODEL_MEMORY_MS if self._end_of_turn else 0.0,
        )
        if peer in self._listeners:
            self._hearing.move(peer, listener, now_ms())
        self._listeners[peer] = listener
        try:
            await listener.run(audio)
        finally:
            if self._listeners.get(peer) is listener:
                del self._listeners[peer]
                # Whoever is still in the room goes on listening to the agent.
                self._handle(ev.CallerLeft(peer, alone=self.alone, is_here=peer in self._present))

    def typed(self, peer: str, text: str) -> None:
        """`peer` wrote `text`; answered like speech."""
        # Half a surrogate pair, which JSON can carry, is no text that any engine could take.
        text = text.encode("utf-8", "replace").decode()
        if _WORD.search(text):
            if all(s.is_noise for s in self._turns.segments) or not isinstance(self._turns.floor, CallerHas):
                self._timeline = Timeline()
            self._handle(ev.Typed(peer, text))

    def forget(self) -> None:
        """Stop talking and start the dialogue anew: the people who said it are gone."""
        self._handle(ev.CallerLeft("", alone=True))
        self._dialogue = self._new_dialogue()

    def _new_dialogue(self) -> Dialogue:
        persona = self._persona
        return Dialogue(persona.instructions, max_messages=persona.max_messages, names=self._present)

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
            case AgentHas() | Startled() | Contested():
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
        commands = self._turns.handle(event, self._heard_ms())
        self._apologies.note(commands)
        for command in commands:
            self._carry_out(command)
        self._after()

    def _heard_ms(self) -> float:
        """The time up to which those who speak have been heard, which is the machine's time.

        How long a silence was is told by the audio, not by a clock that runs on while packets, or the event
        loop, are held up. A line from which nothing has come for `MAX_LAG_MS` is dead and waited for no more.
        """
        clock_ms = now_ms()
        # Whose turn it is decides it; the packets of those who only listen may be late, or none.
        speaking = {s.peer for s in self._turns.segments if s.stage not in CLOSED}
        heard = (lis.heard_ms for peer, lis in self._listeners.items() if not speaking or peer in speaking)
        return min((at_ms for at_ms in heard if clock_ms - at_ms < MAX_LAG_MS), default=clock_ms)

    def _after(self) -> None:
        """Publish what changed and set the alarm for the machine's next deadline."""
        if self._state is not self.state:
            self._state = self.state
            self._report(StateChanged(self.state))
        if isinstance(self._turns.floor, Open | CallerHas):
            self._quiet.set()
        else:
            self._quiet.clear()
        self._alarm.set()

    def _carry_out(self, command: ev.Command) -> None:
        match command:
            case ev.Listen(peer):
                self._hearing.open(command, self._listeners[peer])
            case ev.Transcribe():
                self._hearing.transcribe(command)
            case ev.Accept(peer, segment, text):
                self._hearing.close(segment, text)
                self._dialogue.caller_said(peer, text)
            case ev.Forget(_, segment):
                self._hearing.close(segment, "")
            case ev.Think(reply, turn, unaccepted):
                self._think(reply, turn, unaccepted)
            case ev.Say(reply, what):
                text = self._persona.greeting if what == GREETING else self._apologies.begin(reply)
                self._prepare(reply, fixed_text(text), asyncio.Event())
            case ev.Speak(reply):
                self._mark_step(Step.RELEASED)
                self._replies[reply].reply.gate.set()
            case ev.Hold(reply):
                self._replies[reply].reply.gate.clear()
            case ev.Duck():
                self._playout.gain_db = self._options.duck_db
            case ev.Pause():
                self._playout.paused = True
            case ev.Resume():
                self._full_level()
            case ev.Cancel(reply):
                self._cancel(reply)
            case ev.TurnEnded() | ev.OverlapEnded() | ev.Speculated():
                record(command)

    # ---- replies

    def _think(self, reply: str, turn: int, unaccepted: tuple[tuple[str, str], ...]) -> None:
        self._timeline.turn = turn
        self._mark_step(Step.THINKING)
        gate = asyncio.Event()
        text = self._thoughts.answer(self._dialogue, unaccepted, gate=gate)
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
            on_first_clause=lambda: timeline.mark(Step.FIRST_CLAUSE, now_ms()),
            on_first_audio=lambda: timeline.mark(Step.FIRST_AUDIO, now_ms()),
            on_problem=self._problem,
            language=self._persona.language,
            fillers=fillers,
            on_filler=self._sounds,
        )
        task = self._tasks.create_task(self._run_reply(reply, self._dialogue))
        self._replies[reply_id] = _UnderWay(reply, task, self._dialogue)

    async def _run_reply(self, reply: Reply, dialogue: Dialogue) -> None:
        await reply.run()
        del self._replies[reply.id]
        if reply.audible:
            # Nobody stopped it. Where sound reached nobody (a caller who only reads, or is connecting still),
            # the caption was the answer.
            dialogue.agent_said(reply.text, interrupted=False)
            self._report(Caption("agent", "", reply.id, reply.text, final=True))
        self._apologies.heard(reply.id)
        self._handle(ev.ReplyDone(reply.id, asks=bool(_QUESTION.search(reply.text))))
        if self._apologies.owed:
            # The answer was to others. Where one of them has the floor again, it waits for the next.
            self._handle(ev.Announce(ev.NOT_UNDERSTOOD))

    def _audible(self, reply: str) -> None:
        self._apologies.heard(reply)
        self._mark_step(Step.AUDIBLE)
        if (total_ms := self._timeline.total_ms) is not None:
            _VOICE_TO_VOICE.observe(total_ms / 1000)
            self._report(Latency(self._timeline.turn, total_ms, self._timeline.steps_ms()))
        self._timeline = Timeline()
        self._sounds(reply)

    def _sounds(self, reply: str) -> None:
        """The first sound of a reply, be it a filler, which can be interrupted like any speech."""
        if isinstance(self._turns.floor, Thinking):
            # An answer behind a filler that somebody speaks over is as quiet as that.
            self._full_level()
        self._handle(ev.ReplyAudible(reply))

    def _spoken(self, reply: str, text: str) -> None:
        self._report(Caption("agent", "", reply, text, final=False))

    def _cancel(self, reply_id: str) -> None:
        under_way = self._replies.pop(reply_id)
        reply = under_way.reply
        reply.gate.clear()
        if reply.audible:
            # Heard first: clearing may let the playout forget where it was.
            heard, cut = reply.heard(), reply.cut
            self._playout.clear()
            self._full_level()
            under_way.dialogue.agent_said(heard, interrupted=cut)
            self._report(Caption("agent", "", reply_id, heard, final=True, interrupted=cut))
        under_way.task.cancel()

    def _full_level(self) -> None:
        self._playout.gain_db = 0.0
        self._playout.paused = False

    def _mark_step(self, step: Step) -> None:
        self._timeline.mark(step, now_ms())

    def _problem(self, message: str) -> None:
        self._report(Problem(message))
