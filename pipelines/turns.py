"""Who has the floor: a pure state machine. Events and time in, commands out.

No asyncio, no clock, no I/O: the shell (`pipelines.voice`) stamps every event with its own monotonic clock in
milliseconds and carries out the commands at once, so the same machine runs a ten-minute conversation under a
virtual clock in milliseconds.

The floor is always in exactly one of five states::

                    onset                      silence ≥ end_of_turn
    Open ─────────────────────▶ CallerHas ─────────────────────────▶ Thinking
      ▲                          ▲  ▲    ▲       onset: hold the reply   │  │
      │                          │  │    └───────────────────────────────┘  │ first sound
      │ reply played             │  │ speech ≥ barge_in: cancel             ▼
      ├──────────────────────────│──┴───────── Contested ◀──── onset ─── AgentHas
      │                          │  reply       │ silence: resume          ▲ │
      │                          └──played──────┘ └────────────────────────┘ │
      └──────────────────────────────────────────────────────────────────────┘

One caller's pause, from the last sound (t = 0)::

    speech │ pause_ms          │ transcript │ thinks, speaks into the gate │ end_of_turn_ms
    ───────┼───────────────────┼────────────┼──────────────────────────────┼──────────────▶ t
           0        Transcribe ┘     Think ─┘            (nothing sounds)  └ Speak: the gate opens

Everything before the gate is speculation. Speech that resumes closes the gate again; only a transcript whose
words differ throws the speculated reply away, so a cough costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from pipelines.events import (
    NOT_UNDERSTOOD,
    Accept,
    Announce,
    CallerLeft,
    Cancel,
    Command,
    Duck,
    Event,
    Forget,
    Hold,
    Listen,
    NotTranscribed,
    Offset,
    Onset,
    ReplyAudible,
    ReplyDone,
    Resume,
    Say,
    Speak,
    Think,
    Tick,
    Transcribe,
    Transcribed,
    Typed,
)
from pipelines.floor import (
    AgentHas,
    CallerHas,
    Contested,
    Draft,
    Floor,
    Open,
    Segment,
    Stage,
    Thinking,
    normalise,
)
from pipelines.options import TurnOptions

#: How often one caller's speech is cut in one turn.
MAX_CUTS = 4


class Turns:
    """The state machine of one room: one agent, any number of callers, one floor."""

    def __init__(self, options: TurnOptions) -> None:
        self._options = options
        self._ids = count(1)
        self._commands: list[Command] = []
        self.floor: Floor = Open()
        #: Counts the turns that callers opened.
        self.turn = 0

    def handle(self, event: Event, now_ms: float) -> list[Command]:
        """Take one event; returns what is to be done, in order, at once."""
        match event:
            case Onset():
                self._onset(event)
            case Offset():
                self._offset(event)
            case Transcribed(segment, revision, text):
                self._answered(segment, revision, Stage.KNOWN, text.strip())
            case NotTranscribed(segment, revision):
                self._answered(segment, revision, Stage.FAILED, "")
            case Typed(peer, text):
                self._typed(peer, text.strip(), now_ms)
            case Announce(what):
                self._announce(what)
            case ReplyAudible(reply):
                if isinstance(self.floor, Thinking) and self.floor.reply and self.floor.reply.id == reply:
                    self.floor = AgentHas(reply)
            case ReplyDone(reply):
                self._reply_done(reply)
            case CallerLeft(peer, alone):
                self._caller_left(peer, alone)
            case Tick():
                pass
        self._due(now_ms)
        commands, self._commands = self._commands, []
        return commands

    @property
    def deadline_ms(self) -> float | None:
        """When to send the next `Tick`; None when only an event can change anything."""
        return min((at for at, _ in self._deadlines()), default=None)

    # ---- speech

    def _onset(self, event: Onset) -> None:
        match self.floor:
            case Open():
                self._open_turn([self._listen(event)])
            case CallerHas(segments):
                self._speak_on(segments, event)
            case Thinking(segments, reply):
                if reply:
                    self._do(Hold(reply.id))
                self._speak_on(segments, event)
                self.floor = CallerHas(segments, reply)
            case AgentHas(reply):
                self._do(Duck(reply))
                self.floor = Contested(reply, [self._listen(event)])
            case Contested(_, segments):
                self._speak_on(segments, event)

    def _speak_on(self, segments: list[Segment], event: Onset) -> None:
        """The caller's open segment goes on, pause included; without one, a new segment joins the turn."""
        closed = {Stage.ACCEPTED, Stage.WRITTEN}
        last = next((s for s in reversed(segments) if s.peer == event.peer and s.stage not in closed), None)
        if last is None:
            segments.append(self._listen(event))
        elif last.stage is not Stage.SPEAKING:
            last.stage = Stage.SPEAKING
            last.revision += 1

    def _offset(self, event: Offset) -> None:
        for segment in self._segments():
            if segment.peer == event.peer and segment.stage is Stage.SPEAKING:
                segment.stage = Stage.PAUSED
                segment.quiet_since_ms = max(event.at_ms, segment.started_ms)

    def _answered(self, segment_id: str, revision: int, stage: Stage, text: str) -> None:
        segment = next((s for s in self._segments() if s.id == segment_id), None)
        if segment is None or segment.revision != revision or segment.stage is not Stage.ASKED:
            return
        segment.stage, segment.text = stage, text
        match self.floor:
            case CallerHas():
                self._speculate(self.floor)
            case Thinking():
                self._settle(self.floor)
            case _:
                pass

    def _typed(self, peer: str, text: str, now_ms: float) -> None:
        segment = Segment(peer, self._id("s"), now_ms, stage=Stage.WRITTEN, quiet_since_ms=now_ms, text=text)
        match self.floor:
            case CallerHas(segments):
                segments.append(segment)
                self._speculate(self.floor)
                return
            case Thinking(segments):
                segments.append(segment)
            case AgentHas(reply):
                self._do(Cancel(reply))
                self._open_turn([segment])
            case Contested(reply, segments):
                self._do(Cancel(reply))
                self._open_turn([*segments, segment])
                return
            case Open():
                self._open_turn([segment])
        # Enter is the end of a written turn: there is no silence to wait for.
        if isinstance(self.floor, CallerHas):
            self.floor = Thinking(self.floor.segments, self.floor.draft)
        if isinstance(self.floor, Thinking):
            self._settle(self.floor)

    # ---- replies

    def _announce(self, what: str) -> None:
        if isinstance(self.floor, Open):
            self.floor = Thinking([], self._say(what))

    def _say(self, what: str) -> Draft:
        reply = Draft(self._id("r"), "")
        self._do(Say(reply.id, what), Speak(reply.id))
        return reply

    def _speculate(self, floor: CallerHas) -> None:
        """Everything said so far is known and everybody pauses: prepare the answer to it."""
        if any(s.stage in {Stage.SPEAKING, Stage.PAUSED, Stage.ASKED} for s in floor.segments):
            return
        floor.draft = self._draft(floor.segments, floor.draft)

    def _settle(self, floor: Thinking) -> None:
        """The turn is over: accept what was said and release the answer, once every transcript is there."""
        if any(s.stage is Stage.ASKED for s in floor.segments):
            return
        # The answer is prepared before its question is accepted: `Think` names what is not yet accepted.
        failed = any(s.stage is Stage.FAILED for s in floor.segments)
        before = floor.reply
        floor.reply = self._draft(floor.segments, before)
        for segment in floor.segments:
            if segment.stage is Stage.ACCEPTED:
                continue
            if segment.text:
                self._do(Accept(segment.peer, segment.id, segment.text))
                segment.stage = Stage.ACCEPTED
            else:
                self._do(Forget(segment.peer, segment.id))
        floor.segments = [s for s in floor.segments if s.stage is Stage.ACCEPTED]
        if floor.reply:
            self._do(Speak(floor.reply.id))
        elif failed:
            floor.reply = self._say(NOT_UNDERSTOOD)
        else:
            self.floor = Open()

    def _draft(self, segments: list[Segment], draft: Draft | None) -> Draft | None:
        """The reply to what was said: `draft` if it answers these words, else a new one; None to silence."""
        key = normalise(" ".join(s.text for s in segments))
        if draft:
            if draft.key == key:
                return draft
            self._do(Cancel(draft.id))
        if not key:
            return None
        reply = Draft(self._id("r"), key)
        unaccepted = tuple((s.peer, s.text) for s in segments if s.text and s.stage is not Stage.ACCEPTED)
        self._do(Think(reply.id, self.turn, unaccepted))
        return reply

    def _reply_done(self, reply: str) -> None:
        match self.floor:
            case AgentHas(current) if current == reply:
                self.floor = Open()
            case Contested(current, segments) if current == reply:
                self._open_turn(segments)
            case Thinking(_, draft) if draft and draft.id == reply:
                self.floor = Open()
            case _:
                pass

    # ---- leaving

    def _caller_left(self, peer: str, alone: bool) -> None:
        for segment in self._segments():
            if segment.stage is not Stage.ACCEPTED and (alone or segment.peer == peer):
                self._do(Forget(segment.peer, segment.id))
        if alone:
            match self.floor:
                case (
                    CallerHas(_, Draft(reply))
                    | Thinking(_, Draft(reply))
                    | AgentHas(reply)
                    | Contested(reply)
                ):
                    self._do(Cancel(reply))
                case _:
                    pass
            self.floor = Open()
            return
        kept = [s for s in self._segments() if s.peer != peer or s.stage is Stage.ACCEPTED]
        match self.floor:
            case CallerHas(_, draft) if all(s.stage is Stage.ACCEPTED for s in kept):
                # What was accepted still deserves its answer.
                self.floor = Thinking(kept, draft)
            case CallerHas():
                self.floor.segments = kept
            case Thinking():
                self.floor.segments = kept
            case Contested(reply) if not kept:
                self._do(Resume(reply))
                self.floor = AgentHas(reply)
            case Contested():
                self.floor.segments = kept
            case _:
                pass
        if isinstance(self.floor, Thinking):
            self._settle(self.floor)

    # ---- time

    def _due(self, now_ms: float) -> None:
        while True:
            due = [(at, act) for at, act in self._deadlines() if at <= now_ms]
            if not due:
                return
            min(due, key=lambda item: item[0])[1]()

    def _deadlines(self) -> list[tuple[float, Callable[[], None]]]:
        options, floor, segments = self._options, self.floor, self._segments()
        speaking = [s for s in segments if s.stage is Stage.SPEAKING]
        deadlines: list[tuple[float, Callable[[], None]]] = []
        if isinstance(floor, Contested):
            deadlines += [(s.started_ms + options.barge_in_ms, self._take_floor) for s in speaking]
            if not speaking:
                quiet_ms = max(s.quiet_since_ms for s in segments)
                deadlines.append((quiet_ms + options.pause_ms, self._give_back))
            return deadlines
        for s in segments:
            if s.stage is Stage.PAUSED:
                deadlines.append((s.quiet_since_ms + options.pause_ms, partial(self._ask, s)))
            elif s.stage is Stage.SPEAKING:
                cut_ms = s.started_ms + options.max_segment_ms
                deadlines.append((cut_ms, partial(self._cut, s, cut_ms)))
        if isinstance(floor, CallerHas) and not speaking and segments:
            quiet_ms = max(s.quiet_since_ms for s in segments)
            # Never before the pause has been noticed: a recognition has to be asked for first.
            wait_ms = max(options.end_of_turn_ms, options.pause_ms)
            deadlines.append((quiet_ms + wait_ms, self._end_turn))
        return deadlines

    def _ask(self, segment: Segment) -> None:
        segment.stage = Stage.ASKED
        self._do(Transcribe(segment.peer, segment.id, segment.revision))

    def _cut(self, segment: Segment, at_ms: float) -> None:
        """A segment at the recogniser's limit: recognise it, and go on in a new one.

        Somebody who never pauses (a television, music) gets their answer after `MAX_CUTS` of them: a turn
        without end would keep everybody else waiting, and its audio in memory.
        """
        segment.quiet_since_ms = at_ms
        self._ask(segment)
        segments = self._segments()
        if sum(s.peer == segment.peer for s in segments) <= MAX_CUTS:
            segments.append(self._listen(Onset(segment.peer, at_ms), continues=True))

    def _end_turn(self) -> None:
        if isinstance(self.floor, CallerHas):
            for segment in self.floor.segments:
                # What failed on speculation (a full queue, say) is tried once more now that it counts.
                if segment.stage in {Stage.PAUSED, Stage.FAILED}:
                    self._ask(segment)
            self.floor = Thinking(self.floor.segments, self.floor.draft)
            self._settle(self.floor)

    def _take_floor(self) -> None:
        if isinstance(self.floor, Contested):
            self._do(Cancel(self.floor.reply))
            self._open_turn(self.floor.segments)

    def _give_back(self) -> None:
        if isinstance(self.floor, Contested):
            for segment in self.floor.segments:
                self._do(Forget(segment.peer, segment.id))
            self._do(Resume(self.floor.reply))
            self.floor = AgentHas(self.floor.reply)

    # ---- small things

    def _segments(self) -> list[Segment]:
        match self.floor:
            case CallerHas(segments) | Thinking(segments) | Contested(_, segments):
                return segments
            case _:
                return []

    def _open_turn(self, segments: list[Segment]) -> None:
        self.turn += 1
        self.floor = CallerHas(segments)

    def _listen(self, event: Onset, *, continues: bool = False) -> Segment:
        segment = Segment(event.peer, self._id("s"), event.at_ms)
        self._do(Listen(event.peer, segment.id, event.at_ms, continues))
        return segment

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids)}"

    def _do(self, *commands: Command) -> None:
        self._commands.extend(commands)
