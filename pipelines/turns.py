"""Who has the floor: a pure state machine. Events and time in, commands out.

No asyncio, no clock, no I/O: the shell (`pipelines.voice`) stamps every event with its own monotonic clock in
milliseconds and carries out the commands at once, so the same machine runs a ten-minute conversation under a
virtual clock in milliseconds.

The floor is always in exactly one of six states::

                    onset                      silence ≥ what the evidence asks for
    Open ─────────────────────▶ CallerHas ─────────────────────────▶ Thinking
      ▲                          ▲  ▲    ▲       onset: hold the reply   │  │
      │                          │  │    └───────────────────────────────┘  │ first sound
      │ reply played             │  │ it takes the floor: cancel            ▼   murmur: duck
      ├──────────────────────────│──┴───────── Contested ◀──── onset ─── AgentHas ─────────▶ Startled
      │                          │  reply       │ it is nothing: resume    ▲ │ ▲               │  │
      │                          └──played──────┘ └────────────────────────┘ │ └── no onset ───┘  │
      └──────────────────────────────────────────────────────────────────────┘    (onset: Contested)

An answer is prepared at the first short pause, into a gate that opens when the turn is over. Speech that
resumes closes the gate again; only a transcript whose words differ throws the speculated reply away, so a
cough costs nothing. When a turn is over is decided by `pipelines.ending`, what speech over the reply comes to
by `pipelines.contest`.

Sound is not speech. Of what goes on without a pause the words are asked for, and where `WORDLESS_MS` of it
had none it is noise: it is listened to, but it ends no answer, and nobody waits for its end. Words make it
speech again. As long as the recogniser has not answered it is speech.

Several callers share the one floor. Whoever speaks before an answer sounds joins the turn, which is over once
all of them are silent, and they get one answer to everything that was said. Anybody may speak over an answer,
whoever it is for. Who leaves takes along what they had not finished; the others are answered.

What was said over the reply and did not take the floor is forgotten: as a message of its own "mm-hm" would
cut the answer in two and ask for another. It counts only where the reply was a question that ends right then.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from math import inf

from pipelines import events as ev
from pipelines.contest import REACTION_MS, STARTLE_MS, WORDS_EVERY_MS, Overlaps, said_over
from pipelines.deadlines import Deadline, Due, next_deadline
from pipelines.drafts import Drafts
from pipelines.ending import Endings
from pipelines.floor import (
    UNDER_WAY,
    AgentHas,
    CallerHas,
    Contested,
    Draft,
    Floor,
    Level,
    Open,
    Segment,
    Stage,
    Startled,
    Thinking,
)
from pipelines.options import TurnOptions
from pipelines.segments import Segments, wordless_ms


class Turns:
    """The state machine of one room: one agent, any number of callers, one floor.

    `language` is the tag of what callers speak; None: what the recogniser takes their words for.
    """

    def __init__(self, options: TurnOptions, *, language: str | None = None) -> None:
        self._options = options
        self._endings = Endings(options, language)
        self._ids = count(1)
        self._commands: list[ev.Command] = []
        self._segments = Segments(do=self._do, new_id=partial(self._id, "s"))
        self._overlaps = Overlaps(options, language, do=self._do)
        self._drafts = Drafts(options.max_wasted_per_min, do=self._do, new_id=partial(self._id, "r"))
        self._now_ms = -inf
        self.floor: Floor = Open()
        #: Counts the turns that callers opened.
        self.turn = 0

    def handle(self, event: ev.Event, now_ms: float) -> list[ev.Command]:
        """Take one event; returns what is to be done, in order, at once."""
        self._now_ms = max(self._now_ms, now_ms)
        match event:
            case ev.Murmur():
                self._murmur(event)
            case ev.Onset():
                self._onset(event)
            case ev.Offset() | ev.Quiet():
                self._segments.fall_silent(self.segments, event)
            case ev.Judged():
                self._segments.judge(self.segments, event)
            case ev.Transcribed(segment, revision, text, language):
                self._answered(segment, revision, text.strip(), language)
            case ev.NotTranscribed(segment, revision):
                self._answered(segment, revision, None)
            case ev.Typed(peer, text):
                self._typed(peer, text.strip())
            case ev.Announce(what):
                self._announce(what)
            case ev.ReplyAudible(reply):
                self._audible(reply)
            case ev.ReplyDone(reply, asks):
                self._reply_done(reply, asks)
            case ev.CallerLeft(peer, alone, is_here):
                self._caller_left(peer, alone, is_here)
            case ev.Tick():
                pass
        if isinstance(self.floor, Contested) and not isinstance(event, ev.Tick):
            self._judge_overlap()
        self._catch_up()
        commands, self._commands = self._commands, []
        return commands

    @property
    def deadline_ms(self) -> float | None:
        """When to send the next `Tick`; None when only an event can change anything."""
        deadline = self._next()
        return deadline.at_ms if deadline else None

    @property
    def segments(self) -> list[Segment]:
        """What has been said and is not answered yet."""
        match self.floor:
            case CallerHas(segments) | Thinking(segments) | Contested(_, segments):
                return segments
            case _:
                return []

    # ---- speech

    def _murmur(self, event: ev.Murmur) -> None:
        until_ms = self._now_ms + STARTLE_MS
        match self.floor:
            case AgentHas(reply) as playing:
                self._do(ev.Duck(reply))
                self.floor = Startled(playing, until_ms)
            case Startled():
                self.floor.until_ms = until_ms
        match self.floor:
            case Startled(_, _, Level.DUCKED) if event.sounded_ms >= self._options.yield_ms:
                self._overlaps.pause(self.floor)

    def _onset(self, event: ev.Onset) -> None:
        match self.floor:
            case Open():
                self._open_turn([self._segments.listen(event.peer, event.at_ms)])
            case CallerHas(segments) | Thinking(segments):
                self._hold()
                self._segments.speak_on(segments, event.peer, event.at_ms)
            case AgentHas(reply) as playing:
                self._do(ev.Duck(reply))
                self.floor = Contested(playing, [self._segments.listen(event.peer, event.at_ms)])
            case Startled(playing, _, level):
                self.floor = Contested(playing, [self._segments.listen(event.peer, event.at_ms)], level)
            case Contested(playing, segments, level):
                self._segments.speak_on(segments, event.peer, event.at_ms)
                if level is Level.FULL:
                    self._do(ev.Duck(playing.reply))
                    self.floor.level = Level.DUCKED

    def _answered(
        self, segment_id: str, revision: int, text: str | None, language: str | None = None
    ) -> None:
        segment = next((s for s in self.segments if s.id == segment_id), None)
        if segment is None or segment.revision != revision:
            return
        segment.language = language or segment.language
        if text is not None and not isinstance(self.floor, Contested):
            self._endings.went_on(segment, text)
        if segment.stage in {Stage.SPEAKING, Stage.PAUSED}:
            # The first words of speech that went on meanwhile: they tell what it is, not what it will be.
            segment.next_words_ms = self._now_ms + WORDS_EVERY_MS
            if text is not None:
                self._goes_on(segment, text)
        elif segment.stage in UNDER_WAY:
            segment.stage = Stage.FAILED if text is None else Stage.KNOWN
            if text is not None:
                segment.learn(text, self._now_ms)
                if self._segments.tell(self.segments, segment):
                    self._hold()
            match self.floor:
                case CallerHas():
                    self._speculate(self.floor)
                case Thinking():
                    self._settle(self.floor)
                case _:
                    pass

    def _goes_on(self, segment: Segment, text: str) -> None:
        """`text` are the words so far of `segment`, which goes on."""
        if segment.learn(text, self._now_ms):
            self._hold()
        elif segment.stage is Stage.SPEAKING and not isinstance(self.floor, Contested):
            if segment.asked_ms - segment.said_ms >= wordless_ms(self._options):
                self._segments.set_apart(self.segments, segment)
            if isinstance(self.floor, CallerHas):
                self._speculate(self.floor)

    def _hold(self) -> None:
        """Somebody speaks who may have more to say: nothing sounds yet."""
        if isinstance(floor := self.floor, Thinking):
            if floor.reply:
                self._do(ev.Hold(floor.reply.id))
            self.floor = CallerHas(floor.segments, floor.reply)

    def _typed(self, peer: str, text: str) -> None:
        segment = self._segments.write(peer, text, self._now_ms)
        match self.floor:
            case CallerHas(segments):
                segments.append(segment)
                self._speculate(self.floor)
                return
            case Contested(playing):
                self._do(ev.Cancel(playing.reply))
                self._take_floor([*said_over(self.floor), segment])
                return
            case Thinking(segments):
                segments.append(segment)
            case (AgentHas() as playing) | Startled(playing):
                self._do(ev.Cancel(playing.reply))
                self._overlaps.forget(playing, playing.asides)
                self._open_turn([segment])
            case Open():
                self._open_turn([segment])
        # Enter is the end of a written turn: there is no silence to wait for.
        if isinstance(self.floor, CallerHas):
            self._endings.ended(self.floor.segments)
            self.floor = Thinking(self.floor.segments, self.floor.draft)
        if isinstance(self.floor, Thinking):
            self._settle(self.floor)

    # ---- replies

    def _announce(self, what: str) -> None:
        match self.floor:
            case Open() | CallerHas() if all(s.is_noise for s in self.segments):
                self.floor = Thinking(self.segments, self._drafts.say(what))

    def _speculate(self, floor: CallerHas) -> None:
        """Everything said so far is known and everybody pauses: prepare the answer to it."""
        waiting = UNDER_WAY | {Stage.SPEAKING, Stage.PAUSED}
        if not any(s.stage in waiting and not s.is_noise for s in floor.segments):
            floor.draft = self._draft(floor.segments, floor.draft, speculative=True)
        if floor.draft and all(s.is_noise for s in floor.segments):
            # An announcement that was held, and nobody to hold it for.
            self.floor = thinking = Thinking(floor.segments, floor.draft)
            self._settle(thinking)

    def _settle(self, floor: Thinking) -> None:
        """The turn is over: accept what was said and release the answer, once every transcript is there."""
        if any(s.stage in UNDER_WAY for s in floor.segments):
            return
        # The answer is prepared before its question is accepted: `Think` names what is not yet accepted.
        failed = any(s.stage is Stage.FAILED for s in floor.segments)
        floor.reply = self._draft(floor.segments, floor.reply, speculative=False)
        floor.segments = self._segments.settle(floor.segments)
        if floor.reply:
            self._do(ev.Speak(floor.reply.id))
        elif failed:
            floor.reply = self._drafts.say(ev.NOT_UNDERSTOOD)
        else:
            self._rest(floor)

    def _rest(self, floor: Thinking) -> None:
        """Nobody has the floor, unless there is sound that goes on."""
        going_on = [s for s in floor.segments if s.stage is not Stage.ACCEPTED]
        self.floor = CallerHas(going_on) if going_on else Open()

    def _draft(self, segments: list[Segment], draft: Draft | None, *, speculative: bool) -> Draft | None:
        now_ms = self._now_ms
        return self._drafts.answer(segments, draft, turn=self.turn, now_ms=now_ms, speculative=speculative)

    def _audible(self, reply: str) -> None:
        match self.floor:
            case Thinking(segments, Draft(current, _, speculative)) if current == reply:
                if speculative:
                    self._do(ev.Speculated("used"))
                playing = AgentHas(reply, self._now_ms)
                going_on = [s for s in segments if s.stage is not Stage.ACCEPTED]
                self.floor = Contested(playing, going_on, Level.FULL) if going_on else playing
            case _:
                pass

    def _reply_done(self, reply: str, asks: bool) -> None:
        match self.floor:
            case (AgentHas() as playing) | Startled(playing) if playing.reply == reply:
                if asks and playing.asides:
                    self._take_floor(playing.asides)
                else:
                    self._overlaps.forget(playing, playing.asides)
                    self.floor = Open()
            case Contested(playing, _, level) if playing.reply == reply:
                if level is Level.FULL and not asks:
                    self._overlaps.forget(playing, playing.asides)
                self._take_floor(said_over(self.floor))
            case Thinking(_, Draft(current)) as thinking if current == reply:
                self._rest(thinking)
            case CallerHas(_, Draft(current)) if current == reply:
                self.floor.draft = None
            case _:
                pass

    # ---- speech over the reply

    def _judge_overlap(self) -> None:
        if not isinstance(floor := self.floor, Contested):
            return
        taker = self._overlaps.judge(floor, self._now_ms)
        if taker:
            if not taker.continues and taker.started_ms - floor.playing.since_ms < REACTION_MS:
                self._endings.cut_in_on(taker)
            self._do(ev.Cancel(floor.playing.reply))
            self._take_floor(said_over(floor))
        elif not floor.segments:
            self.floor = floor.playing

    def _take_floor(self, segments: list[Segment]) -> None:
        """What was said over the reply is a turn, from its beginning on."""
        self._speculate(self._open_turn(segments))

    # ---- leaving

    def _caller_left(self, peer: str, alone: bool, is_here: bool) -> None:
        self._endings.forget(peer)
        kept = self._segments.leave(self.segments, None if alone else peer, writing_too=not is_here)
        match self.floor:
            case (AgentHas() as playing) | Startled(playing) | Contested(playing):
                self._overlaps.forget(playing, [s for s in playing.asides if alone or s.peer == peer])
        if alone:
            self._stop()
            return
        match self.floor:
            case CallerHas(_, draft) if all(s.stage in {Stage.ACCEPTED, Stage.WRITTEN} for s in kept):
                # What was accepted still deserves its answer, and for what was written nobody waits.
                self.floor = Thinking(kept, draft)
            case Contested(playing) if not kept:
                self._overlaps.resume(self.floor)
                self.floor = playing
            case CallerHas() | Thinking() | Contested():
                self.floor.segments = kept
        match self.floor:
            case Thinking():
                self._settle(self.floor)
            case CallerHas():
                self._speculate(self.floor)

    def _stop(self) -> None:
        match self.floor:
            case CallerHas(_, Draft() as draft) | Thinking(_, Draft() as draft):
                self._drafts.discard(draft, self._now_ms)
            case AgentHas(reply) | Startled(AgentHas(reply)) | Contested(AgentHas(reply)):
                self._do(ev.Cancel(reply))
        self.floor = Open()

    # ---- time

    def _next(self) -> Deadline | None:
        return next_deadline(self.floor, self._options, self._endings)

    def _catch_up(self) -> None:
        while (deadline := self._next()) and deadline.at_ms <= self._now_ms:
            self._act(deadline)

    def _act(self, deadline: Deadline) -> None:
        match deadline.due, deadline.segment, self.floor:
            case Due.ASK, Segment() as segment, _:
                self._segments.all_of(segment)
            case Due.ASK_SOME, Segment() as segment, _:
                rough = isinstance(self.floor, Contested)
                self._segments.some_of(segment, self._now_ms, rough=rough)
            case Due.CUT, Segment() as segment, _:
                self._segments.cut(self.segments, segment, deadline.at_ms)
            case Due.HURRY, _, CallerHas(segments):
                self._segments.urgently(segments)
            case Due.END_TURN, _, CallerHas() as floor:
                self._end_turn(floor, deadline.reasons)
            case Due.JUDGE, _, _:
                self._judge_overlap()
            case Due.PAUSE_REPLY, _, Contested() as contested:
                self._overlaps.pause(contested)
            case Due.CALM_DOWN, _, Startled(playing):
                self._do(ev.Resume(playing.reply))
                self.floor = playing
            case Due.FORGET_ASIDE, Segment() as aside, (AgentHas() as playing) | Contested(playing):
                self._overlaps.forget(playing, [aside])

    def _end_turn(self, floor: CallerHas, reasons: tuple[tuple[str, float], ...]) -> None:
        heard = [s for s in floor.segments if not s.is_noise]
        self._endings.ended(heard)
        silence_ms = self._now_ms - max(s.quiet_since_ms for s in heard)
        self._do(ev.TurnEnded(self.turn, silence_ms, reasons))
        # What failed on speculation (a full queue, say) is tried once more now that it counts.
        self._segments.urgently(floor.segments)
        self.floor = thinking = Thinking(floor.segments, floor.draft)
        self._settle(thinking)

    # ---- small things

    def _open_turn(self, segments: list[Segment]) -> CallerHas:
        self.turn += 1
        self.floor = floor = CallerHas(segments)
        return floor

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids)}"

    def _do(self, *commands: ev.Command) -> None:
        self._commands.extend(commands)
