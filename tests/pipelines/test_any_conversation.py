"""Every conversation hypothesis can think of, under a virtual clock: what must hold in all of them."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from math import inf

from floor_room import Room
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipelines import events as ev
from pipelines.floor import Contested, Level, Open
from pipelines.options import TurnOptions
from pipelines.segments import WORDLESS_MS

#: Small figures, so that few events reach every limit.
OPTIONS = TurnOptions(max_segment_ms=5000, max_wasted_per_min=2)
PEERS = st.sampled_from(["ann", "bob", "cy"])
TEXTS = st.sampled_from(["", "yes", "mm-hm", "stop", "what time is it", "I would like", "I would like tea"])


class Playing(Enum):
    """What a reply may do."""

    HELD = "held"
    RELEASED = "released"
    SOUNDING = "sounding"
    DUCKED = "ducked"
    PAUSED = "paused"


class Conversation(RuleBasedStateMachine):
    """Plays the shell: keeps to what callers, recogniser and playout can do, and checks every command."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(OPTIONS)
        self.speaking: set[str] = set()
        self.open: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        #: When each segment's words were asked for last, and what they were.
        self.asked_ms: dict[str, float] = {}
        self.words: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        #: The segments of each peer; since when they have had no new words; the last time that was found out.
        self.segments: defaultdict[str, list[str]] = defaultdict(list)
        self.no_words_since_ms: dict[str, float] = {}
        self.no_words_at_ms: dict[str, float] = {}
        self.silent_since_ms: dict[str, float] = {}
        self.replies: dict[str, Playing] = {}
        self.over: set[str] = set()
        self.seen = 0

    # ---- what may happen

    @rule(wait_ms=st.integers(0, 900))
    def time_passes(self, wait_ms: int) -> None:
        self.room.at(self.room.now_ms + wait_ms)
        self.check()

    @rule(peer=PEERS, sounded_ms=st.sampled_from([32, 64]))
    def murmur(self, peer: str, sounded_ms: float) -> None:
        self.send(ev.Murmur(peer, self.room.now_ms, sounded_ms))

    @rule(peer=PEERS)
    def onset(self, peer: str) -> None:
        if peer not in self.speaking:
            self.speaking.add(peer)
            now_ms = self.room.now_ms
            if now_ms - self.silent_since_ms.get(peer, -inf) > OPTIONS.pause_ms:
                self.no_words_since_ms[peer] = max(
                    now_ms - WORDLESS_MS / 2, self.no_words_since_ms.get(peer, now_ms)
                )
            self.send(ev.Onset(peer, now_ms))

    @rule(peer=PEERS)
    def offset(self, peer: str) -> None:
        if peer in self.speaking:
            self.speaking.remove(peer)
            self.silent_since_ms[peer] = self.room.now_ms
            self.send(ev.Offset(peer, self.room.now_ms))

    @rule(peer=PEERS, probability=st.floats(0, 1))
    def still_quiet(self, peer: str, probability: float) -> None:
        if peer not in self.speaking:
            self.send(ev.Quiet(peer, probability))

    @rule(text=TEXTS, late=st.booleans())
    @precondition(lambda self: self.asked)
    def recognised(self, text: str, late: bool) -> None:
        segment = max(self.asked) if late else min(self.asked)
        revision = self.asked.pop(segment)
        self.send(ev.Judged(segment, revision, 0.5))
        self.learn(segment, text)
        self.send(ev.Transcribed(segment, revision, text))

    def learn(self, segment: str, text: str) -> None:
        peer = self.open[segment]
        if segment == self.segments[peer][-1]:
            if text != self.words.get(segment, ""):
                self.no_words_since_ms[peer] = self.room.now_ms
            self.no_words_at_ms[peer] = self.asked_ms[segment]
        self.words[segment] = text

    @rule()
    @precondition(lambda self: self.asked)
    def not_recognised(self) -> None:
        segment, revision = self.asked.popitem()
        self.send(ev.NotTranscribed(segment, revision))

    @rule(text=TEXTS)
    def stale(self, text: str) -> None:
        for segment in self.open:
            self.send(ev.Transcribed(segment, self.asked.get(segment, 0) - 2, text))

    @rule(peer=PEERS)
    def typed(self, peer: str) -> None:
        self.send(ev.Typed(peer, "typed"))

    @rule()
    def announce(self) -> None:
        self.send(ev.Announce("greeting"))

    @rule()
    @precondition(lambda self: Playing.RELEASED in self.replies.values())
    def first_sound(self) -> None:
        (reply,) = self.replies
        self.replies[reply] = Playing.SOUNDING
        assert not isinstance(self.room.turns.floor, Open)
        self.send(ev.ReplyAudible(reply))

    @rule(asks=st.booleans())
    @precondition(lambda self: self.replies)
    def played(self, asks: bool) -> None:
        (reply,) = self.replies
        # What is held or paused cannot come to its end.
        if self.replies[reply] not in {Playing.HELD, Playing.PAUSED}:
            del self.replies[reply]
            self.over.add(reply)
            self.send(ev.ReplyDone(reply, asks))

    @rule(peer=PEERS, alone=st.booleans())
    def leaves(self, peer: str, alone: bool) -> None:
        self.speaking.discard(peer)
        if alone:
            self.speaking.clear()
        self.send(ev.CallerLeft(peer, alone))

    # Single events hardly ever make a conversation by chance: these do, and the others get in between.

    @rule(peer=PEERS, text=TEXTS, speech_ms=st.integers(30, 1200))
    def says(self, peer: str, text: str, speech_ms: int) -> None:
        self.onset(peer)
        self.time_passes(speech_ms)
        self.offset(peer)
        self.time_passes(OPTIONS.pause_ms)
        while self.asked:
            self.recognised(text, late=True)

    @rule(peer=PEERS, words=TEXTS, sound_ms=st.integers(1500, 3000))
    def sounds_on(self, peer: str, words: str, sound_ms: int) -> None:
        self.onset(peer)
        self.time_passes(sound_ms)
        while self.asked:
            self.recognised(words, late=True)

    @rule()
    @precondition(lambda self: self.replies)
    def is_answered(self) -> None:
        self.time_passes(OPTIONS.end_of_turn_max_ms)
        if Playing.RELEASED in self.replies.values():
            self.first_sound()

    @rule(peer=PEERS, words=TEXTS, text=TEXTS, speech_ms=st.integers(30, 1200))
    @precondition(lambda self: Playing.SOUNDING in self.replies.values())
    def says_over_the_reply(self, peer: str, words: str, text: str, speech_ms: int) -> None:
        self.murmur(peer, 32)
        self.onset(peer)
        self.time_passes(speech_ms)
        while self.asked:
            self.recognised(words, late=True)
        self.says(peer, text, 30)

    # ---- what must hold

    def send(self, event: ev.Event) -> None:
        self.room.at(self.room.now_ms, event)
        self.check()

    def check(self) -> None:
        for at_ms, command in self.room.log[self.seen :]:
            match command:
                case ev.Listen() | ev.Transcribe() | ev.Accept() | ev.Forget():
                    self.check_segment(command, at_ms)
                case ev.TurnEnded(_, silence_ms):
                    assert silence_ms >= 0
                case ev.OverlapEnded() | ev.Speculated():
                    pass
                case _:
                    self.check_reply(command)
        self.seen = len(self.room.log)

    def check_segment(self, command: ev.Listen | ev.Transcribe | ev.Accept | ev.Forget, at_ms: float) -> None:
        segment = command.segment
        assert segment not in self.ended, "a segment ends once"
        match command:
            case ev.Listen(peer):
                self.open[segment] = peer
                self.segments[peer].append(segment)
            case ev.Transcribe(_, _, revision):
                assert segment in self.open
                assert revision >= self.asked.get(segment, 0)
                self.asked[segment] = revision
                self.asked_ms[segment] = at_ms
            case ev.Accept(_, _, text):
                assert text == (self.words[segment] if segment in self.open else "typed")
                self.end(segment, "accepted")
            case ev.Forget(_, _, why):
                said = self.words.get(segment, "") if segment in self.open else "typed"
                assert not said or why in {"aside", "left"}, "never a lost final"
                self.end(segment, why)

    def end(self, segment: str, how: str) -> None:
        # What was typed is accepted, or goes with who wrote it, without ever having been opened.
        self.open.pop(segment, None)
        self.asked.pop(segment, None)
        self.ended[segment] = how

    def check_reply(self, command: ev.Command) -> None:
        match command:
            case ev.Think(reply) | ev.Say(reply):
                assert not self.replies, "one reply at a time"
                self.replies[reply] = Playing.HELD
            case ev.Speak(reply):
                assert self.replies[reply] in {Playing.HELD, Playing.RELEASED}
                assert not any(map(self.speaks, self.speaking)), "nobody is spoken over by our doing"
                self.replies[reply] = Playing.RELEASED
            case ev.Hold(reply):
                assert self.replies[reply] in {Playing.HELD, Playing.RELEASED}
                self.replies[reply] = Playing.HELD
            case ev.Duck(reply):
                assert self.replies[reply] is Playing.SOUNDING
                self.replies[reply] = Playing.DUCKED
            case ev.Pause(reply):
                assert self.replies[reply] is Playing.DUCKED
                self.replies[reply] = Playing.PAUSED
            case ev.Resume(reply):
                assert self.replies[reply] in {Playing.DUCKED, Playing.PAUSED}
                self.replies[reply] = Playing.SOUNDING
            case ev.Cancel(reply):
                assert reply not in self.over, "cancelled twice, or after its end"
                del self.replies[reply]
                self.over.add(reply)

    def speaks(self, peer: str) -> bool:
        """Whether this sound may be speech: unless the recogniser has found nothing new in enough of it."""
        last = self.segments[peer][-2:]
        assert last[-1] in self.open, "who makes a sound is listened to"
        if len(last) > 1 and not any(self.words.get(segment) for segment in last):
            # A whole piece without a word.
            return False
        return self.no_words_at_ms.get(peer, -inf) - self.no_words_since_ms[peer] < WORDLESS_MS

    @invariant()
    def states_and_sound_agree(self) -> None:
        floor = self.room.turns.floor
        sounding = [r for r, p in self.replies.items() if p not in {Playing.HELD, Playing.RELEASED}]
        if isinstance(floor, Contested):
            assert sounding == [floor.playing.reply]
            level = {Level.FULL: Playing.SOUNDING, Level.DUCKED: Playing.DUCKED, Level.PAUSED: Playing.PAUSED}
            assert self.replies[floor.playing.reply] is level[floor.level]
        if isinstance(floor, Open):
            assert not self.replies
            assert not self.open, "nothing is listened to that nobody waits for"

    def teardown(self) -> None:
        """Everybody falls silent, everything is recognised, every reply plays: back to listening."""
        for peer in sorted(self.speaking):
            self.offset(peer)
        for _ in range(40):
            while self.asked:
                self.recognised("what time is it", late=False)
            self.time_passes(500)
            if Playing.RELEASED in self.replies.values():
                self.first_sound()
            if self.replies:
                self.played(asks=False)
        assert self.room.turns.floor == Open()
        assert not self.open, "every segment was accepted or forgotten"
        assert not self.replies
        assert self.room.turns.deadline_ms is None


TestAnyConversation = Conversation.TestCase
TestAnyConversation.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
