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

One caller's pause, from the last sound (t = 0)::

    speech │ pause_ms          │ transcript │ thinks, speaks into the gate │ silence needed
    ───────┼───────────────────┼────────────┼──────────────────────────────┼──────────────▶ t
           0        Transcribe ┘     Think ─┘            (nothing sounds)  └ Speak: the gate opens

Everything before the gate is speculation. Speech that resumes closes the gate again; only a transcript whose
words differ throws the speculated reply away, so a cough costs nothing. How much silence is needed is decided
by `pipelines.endpoint` and again with every new piece of evidence; while words are awaited nothing is over.

Speech over the reply, from its first sound (t = 0)::

    murmur │ onset             │ yield_ms    │ words, every so often │ last sound │ pause_ms, words
    ───────┼───────────────────┼────────────┼───────────────────────┼────────────┼────────────────▶ t
      Duck ┘                   └ Pause ─────┘ (nothing is lost)         `judge`: Cancel, or Resume

Several callers share the one floor. Whoever speaks before an answer sounds joins the turn, which is over once
all of them are silent, and they get one answer to everything that was said. Anybody may speak over an answer,
whoever it is for. Who leaves takes along what they had not finished; the others are answered.

What was said over the reply and did not take the floor is forgotten: as a message of its own "mm-hm" would
cut the answer in two and ask for another. It counts only where the reply was a question that ends right then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import inf

from pipelines import events as ev
from pipelines.contest import (
    JUDGE_EVERY_MS,
    LATE_ANSWER_MS,
    STARTLE_MS,
    WORDS_EVERY_MS,
    YOUNG_REPLY_MS,
    verdict,
    words_due_ms,
)
from pipelines.drafts import Drafts
from pipelines.ending import Endings
from pipelines.floor import (
    CLOSED,
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
    normalise,
)
from pipelines.interruption import Verdict
from pipelines.options import TurnOptions

#: How often one caller's speech is cut in one turn.
MAX_CUTS = 4


class Turns:
    """The state machine of one room: one agent, any number of callers, one floor.

    `language` is the tag of what callers speak, None where it is not known.
    """

    def __init__(self, options: TurnOptions, *, language: str | None = None) -> None:
        self._options = options
        self._language = language
        self._endings = Endings(options, language)
        self._ids = count(1)
        self._commands: list[ev.Command] = []
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
                self._murmur()
            case ev.Onset():
                self._onset(event)
            case ev.Offset() | ev.Quiet():
                self._silence(event)
            case ev.Judged(segment, revision, probability):
                self._judged(segment, revision, probability)
            case ev.Transcribed(segment, revision, text):
                self._answered(segment, revision, text.strip())
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
            case ev.CallerLeft(peer, alone):
                self._caller_left(peer, alone)
            case ev.Tick():
                pass
        if isinstance(self.floor, Contested) and not isinstance(event, ev.Tick):
            self._judge_overlap()
        self._due()
        commands, self._commands = self._commands, []
        return commands

    @property
    def deadline_ms(self) -> float | None:
        """When to send the next `Tick`; None when only an event can change anything."""
        return min((at for at, _ in self._deadlines()), default=None)

    @property
    def segments(self) -> list[Segment]:
        """What has been said and is not answered yet."""
        match self.floor:
            case CallerHas(segments) | Thinking(segments) | Contested(_, segments):
                return segments
            case _:
                return []

    # ---- speech

    def _murmur(self) -> None:
        match self.floor:
            case AgentHas(reply) as playing:
                self._do(ev.Duck(reply))
                self.floor = Startled(playing, self._now_ms + STARTLE_MS)
            case Startled():
                self.floor.until_ms = self._now_ms + STARTLE_MS
            case _:
                pass

    def _onset(self, event: ev.Onset) -> None:
        match self.floor:
            case Open():
                self._open_turn([self._listen(event)])
            case CallerHas(segments):
                self._speak_on(segments, event)
            case Thinking(segments, reply):
                if reply:
                    self._do(ev.Hold(reply.id))
                self._speak_on(segments, event)
                self.floor = CallerHas(segments, reply)
            case AgentHas(reply) as playing:
                self._do(ev.Duck(reply))
                self.floor = Contested(playing, [self._listen(event)])
            case Startled(playing):
                self.floor = Contested(playing, [self._listen(event)])
            case Contested(playing, segments, level):
                self._speak_on(segments, event)
                if level is Level.FULL:
                    self._do(ev.Duck(playing.reply))
                    self.floor.level = Level.DUCKED

    def _speak_on(self, segments: list[Segment], event: ev.Onset) -> None:
        """The caller's open segment goes on, pause included; without one, a new segment joins the turn."""
        mine = [s for s in segments if s.peer == event.peer]
        last = next((s for s in reversed(mine) if s.stage not in CLOSED), None)
        if last is None:
            segments.append(self._listen(event))
            if mine:
                segments[-1].gap_ms = event.at_ms - mine[-1].quiet_since_ms
        elif last.stage is not Stage.SPEAKING:
            last.go_on(event.at_ms)

    def _silence(self, event: ev.Offset | ev.Quiet) -> None:
        for segment in self.segments:
            if segment.peer != event.peer or segment.stage in CLOSED:
                continue
            if isinstance(event, ev.Quiet):
                segment.silence.speech_probability = event.speech_probability
            elif segment.stage is Stage.SPEAKING:
                segment.fall_silent(event.at_ms, event.prosody)

    def _judged(self, segment_id: str, revision: int, probability: float) -> None:
        for segment in self.segments:
            if segment.id == segment_id and segment.revision == revision:
                segment.silence.model_probability = probability

    def _answered(self, segment_id: str, revision: int, text: str | None) -> None:
        segment = next((s for s in self.segments if s.id == segment_id), None)
        if segment is None or segment.revision != revision:
            return
        if segment.stage in {Stage.SPEAKING, Stage.PAUSED}:
            # The first words of speech that went on meanwhile: they tell what it is, not what it will be.
            segment.words = segment.words if text is None else text
            segment.next_words_ms = self._now_ms + WORDS_EVERY_MS
        elif segment.stage in UNDER_WAY:
            self._learn_pause(segment, text)
            segment.stage = Stage.FAILED if text is None else Stage.KNOWN
            segment.words = text
            match self.floor:
                case CallerHas():
                    self._speculate(self.floor)
                case Thinking():
                    self._settle(self.floor)
                case _:
                    pass

    def _learn_pause(self, segment: Segment, text: str | None) -> None:
        """A pause was one inside the turn when words came after it."""
        if text is None or segment.gap_ms is None or isinstance(self.floor, Contested):
            return
        if normalise(text) != normalise(segment.text):
            self._endings.paused(segment.peer, segment.gap_ms)
        segment.gap_ms = None

    def _typed(self, peer: str, text: str) -> None:
        now_ms = self._now_ms
        segment = Segment(peer, self._id("s"), now_ms, stage=Stage.WRITTEN, quiet_since_ms=now_ms, words=text)
        match self.floor:
            case CallerHas(segments):
                segments.append(segment)
                self._speculate(self.floor)
                return
            case Contested(playing):
                self._do(ev.Cancel(playing.reply))
                self._take_floor([*self._overlapping(self.floor), segment])
                return
            case Thinking(segments):
                segments.append(segment)
            case (AgentHas() as playing) | Startled(playing):
                self._do(ev.Cancel(playing.reply))
                self._set_aside(playing, None)
                self._open_turn([segment])
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
            self.floor = Thinking([], self._drafts.say(what))

    def _speculate(self, floor: CallerHas) -> None:
        """Everything said so far is known and everybody pauses: prepare the answer to it."""
        if not any(s.stage in UNDER_WAY | {Stage.SPEAKING, Stage.PAUSED} for s in floor.segments):
            floor.draft = self._draft(floor.segments, floor.draft, speculative=True)

    def _settle(self, floor: Thinking) -> None:
        """The turn is over: accept what was said and release the answer, once every transcript is there."""
        if any(s.stage in UNDER_WAY for s in floor.segments):
            return
        # The answer is prepared before its question is accepted: `Think` names what is not yet accepted.
        failed = any(s.stage is Stage.FAILED for s in floor.segments)
        floor.reply = self._draft(floor.segments, floor.reply, speculative=False)
        for segment in floor.segments:
            if segment.stage is Stage.ACCEPTED:
                continue
            if segment.text:
                self._do(ev.Accept(segment.peer, segment.id, segment.text))
                segment.stage = Stage.ACCEPTED
            else:
                why: ev.Why = "failed" if segment.stage is Stage.FAILED else "empty"
                self._do(ev.Forget(segment.peer, segment.id, why))
        floor.segments = [s for s in floor.segments if s.stage is Stage.ACCEPTED]
        if floor.reply:
            self._do(ev.Speak(floor.reply.id))
        elif failed:
            floor.reply = self._drafts.say(ev.NOT_UNDERSTOOD)
        else:
            self.floor = Open()

    def _draft(self, segments: list[Segment], draft: Draft | None, *, speculative: bool) -> Draft | None:
        return self._drafts.answer(
            segments, draft, turn=self.turn, now_ms=self._now_ms, speculative=speculative
        )

    def _audible(self, reply: str) -> None:
        match self.floor:
            case Thinking(_, Draft(current, _, speculative)) if current == reply:
                if speculative:
                    self._do(ev.Speculated("used"))
                self.floor = AgentHas(reply, self._now_ms)
            case _:
                pass

    def _reply_done(self, reply: str, asks: bool) -> None:
        match self.floor:
            case (AgentHas() as playing) | Startled(playing) if playing.reply == reply:
                if asks and playing.aside:
                    self._take_floor([playing.aside])
                else:
                    self._set_aside(playing, None)
                    self.floor = Open()
            case Contested(AgentHas(current)) if current == reply:
                self._take_floor(self._overlapping(self.floor))
            case Thinking(_, Draft(current)) if current == reply:
                self.floor = Open()
            case CallerHas(_, Draft(current)) if current == reply:
                self.floor.draft = None
            case _:
                pass

    # ---- speech over the reply

    def _judge_overlap(self) -> None:
        if not isinstance(floor := self.floor, Contested):
            return
        floor.judged_ms = self._now_ms
        found = [(s, verdict(s, floor, self._now_ms, self._language, self._options)) for s in floor.segments]
        for segment, what in found:
            if what is Verdict.TAKE:
                self._overlap_ended(segment, taken=True)
                self._do(ev.Cancel(floor.playing.reply))
                if self._now_ms - floor.playing.since_ms < YOUNG_REPLY_MS:
                    self._endings.cut_in_on(segment)
                self._take_floor(self._overlapping(floor))
                return
        for segment, what in found:
            if what is Verdict.GIVE_BACK and segment.stage is not Stage.SPEAKING:
                self._overlap_ended(segment, taken=False)
                floor.segments.remove(segment)
                self._set_aside(floor.playing, segment)
        if all(what is Verdict.GIVE_BACK for _, what in found):
            # A noise that does not end is no reason to be silent for as long as it lasts.
            self._resume(floor)
        if not floor.segments:
            self.floor = floor.playing

    def _resume(self, floor: Contested) -> None:
        if floor.level is not Level.FULL:
            floor.level = Level.FULL
            self._do(ev.Resume(floor.playing.reply))

    def _pause_reply(self) -> None:
        if isinstance(self.floor, Contested):
            self.floor.level = Level.PAUSED
            self._do(ev.Pause(self.floor.playing.reply))

    def _calm_down(self) -> None:
        if isinstance(self.floor, Startled):
            self._do(ev.Resume(self.floor.playing.reply))
            self.floor = self.floor.playing

    def _overlapping(self, floor: Contested) -> list[Segment]:
        """All that was said over the reply lately."""
        aside, floor.playing.aside = floor.playing.aside, None
        return [aside, *floor.segments] if aside else floor.segments

    def _set_aside(self, playing: AgentHas, segment: Segment | None) -> None:
        """`segment`, said over the reply, did not take the floor; what was set aside before is over."""
        if playing.aside:
            self._do(ev.Forget(playing.aside.peer, playing.aside.id, "aside"))
        playing.aside = None
        if segment and segment.stage is Stage.KNOWN and normalise(segment.text):
            playing.aside = segment
        elif segment:
            why: ev.Why = "empty" if segment.stage is Stage.KNOWN else "aside"
            self._do(ev.Forget(segment.peer, segment.id, why))

    def _overlap_ended(self, segment: Segment, *, taken: bool) -> None:
        speaking = segment.stage is Stage.SPEAKING
        self._do(
            ev.OverlapEnded(
                taken=taken,
                speech_ms=segment.speech_ms(self._now_ms),
                silence_ms=0.0 if speaking else self._now_ms - segment.quiet_since_ms,
                words=len(normalise(segment.text).split()),
            )
        )

    # ---- leaving

    def _caller_left(self, peer: str, alone: bool) -> None:
        self._endings.forget(peer)
        for segment in self.segments:
            if segment.stage is not Stage.ACCEPTED and (alone or segment.peer == peer):
                self._do(ev.Forget(segment.peer, segment.id, "left"))
        match self.floor:
            case AgentHas(_, _, Segment() as aside) as playing if alone or aside.peer == peer:
                self._set_aside(playing, None)
            case Startled(playing) | Contested(playing) if playing.aside and (
                alone or playing.aside.peer == peer
            ):
                self._set_aside(playing, None)
        if alone:
            self._stop()
            return
        kept = [s for s in self.segments if s.peer != peer or s.stage is Stage.ACCEPTED]
        match self.floor:
            case CallerHas(_, draft) if all(s.stage is Stage.ACCEPTED for s in kept):
                # What was accepted still deserves its answer.
                self.floor = Thinking(kept, draft)
            case Contested(playing) if not kept:
                self._resume(self.floor)
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

    def _due(self) -> None:
        while True:
            due = [(at, act) for at, act in self._deadlines() if at <= self._now_ms]
            if not due:
                return
            min(due, key=lambda item: item[0])[1]()

    def _deadlines(self) -> list[tuple[float, Callable[[], None]]]:
        match self.floor:
            case Startled(_, until_ms):
                return [(until_ms, self._calm_down)]
            case AgentHas(_, _, Segment() as aside) as playing:
                return [(aside.quiet_since_ms + LATE_ANSWER_MS, partial(self._set_aside, playing, None))]
            case Contested():
                return [*self._asking(), *self._overlap_deadlines(self.floor)]
            case CallerHas(segments) if segments and not any(s.stage is Stage.SPEAKING for s in segments):
                return [*self._asking(), self._ending(segments)]
            case _:
                return self._asking()

    def _asking(self) -> list[tuple[float, Callable[[], None]]]:
        deadlines: list[tuple[float, Callable[[], None]]] = []
        for s in self.segments:
            if s.stage is Stage.PAUSED:
                deadlines.append((s.quiet_since_ms + self._options.pause_ms, partial(self._ask, s)))
            elif s.stage is Stage.SPEAKING:
                cut_ms = s.started_ms + self._options.max_segment_ms
                deadlines.append((cut_ms, partial(self._cut, s, cut_ms)))
        return deadlines

    def _overlap_deadlines(self, floor: Contested) -> list[tuple[float, Callable[[], None]]]:
        deadlines: list[tuple[float, Callable[[], None]]] = [
            (floor.judged_ms + JUDGE_EVERY_MS, self._judge_overlap)
        ]
        for s in floor.segments:
            if s.stage is not Stage.SPEAKING:
                continue
            if (due_ms := words_due_ms(s)) < inf:
                deadlines.append((due_ms, partial(self._ask_words, s)))
            if floor.level is Level.DUCKED:
                yield_ms = s.sounding_since_ms + self._options.yield_ms - s.sounded_ms
                deadlines.append((yield_ms, self._pause_reply))
        return deadlines

    def _ending(self, segments: list[Segment]) -> tuple[float, Callable[[], None]]:
        """When the turn is over, or when the wait for its words has become a long one."""
        over_ms, decision = self._endings.over_ms(segments)
        # Never before a pause has been noticed: a recognition has to be asked for first.
        if any(s.stage in UNDER_WAY | {Stage.PAUSED} for s in segments):
            quiet_ms = max(s.quiet_since_ms for s in segments)
            if over_ms < quiet_ms + self._options.end_of_turn_max_ms and any(
                s.stage in {Stage.ASKED, Stage.PAUSED} for s in segments
            ):
                return over_ms, partial(self._urge, segments)
            over_ms = quiet_ms + self._options.end_of_turn_max_ms
        return over_ms, partial(self._end_turn, decision.reasons)

    def _ask(self, segment: Segment, *, decisive: bool = False) -> None:
        if segment.stage is not Stage.ASKED:
            segment.revision += 1
        segment.stage = Stage.AWAITED if decisive else Stage.ASKED
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision, decisive))

    def _ask_words(self, segment: Segment) -> None:
        segment.revision += 1
        segment.next_words_ms = inf
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision))

    def _urge(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.stage in {Stage.ASKED, Stage.PAUSED, Stage.FAILED}:
                self._ask(segment, decisive=True)

    def _cut(self, segment: Segment, at_ms: float) -> None:
        """A segment at the recogniser's limit: recognise it, and go on in a new one.

        Somebody who never pauses (a television, music) gets their answer after `MAX_CUTS` of them: a turn
        without end would keep everybody else waiting, and its audio in memory.
        """
        segment.fall_silent(at_ms, None)
        self._ask(segment)
        segments = self.segments
        if sum(s.peer == segment.peer for s in segments) <= MAX_CUTS:
            segments.append(self._listen(ev.Onset(segment.peer, at_ms), continues=True))

    def _end_turn(self, reasons: tuple[tuple[str, float], ...]) -> None:
        if isinstance(floor := self.floor, CallerHas):
            self._endings.ended(floor.segments)
            silence_ms = self._now_ms - max(s.quiet_since_ms for s in floor.segments)
            self._do(ev.TurnEnded(self.turn, silence_ms, reasons))
            # What failed on speculation (a full queue, say) is tried once more now that it counts.
            self._urge(floor.segments)
            self.floor = Thinking(floor.segments, floor.draft)
            self._settle(self.floor)

    # ---- small things

    def _open_turn(self, segments: list[Segment]) -> None:
        self.turn += 1
        self.floor = CallerHas(segments)

    def _take_floor(self, segments: list[Segment]) -> None:
        """What was said over the reply is a turn, from its beginning on."""
        self._open_turn(segments)
        if isinstance(self.floor, CallerHas):
            self._speculate(self.floor)

    def _listen(self, event: ev.Onset, *, continues: bool = False) -> Segment:
        segment = Segment(event.peer, self._id("s"), event.at_ms)
        self._do(ev.Listen(event.peer, segment.id, event.at_ms, continues))
        return segment

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._ids)}"

    def _do(self, *commands: ev.Command) -> None:
        self._commands.extend(commands)
