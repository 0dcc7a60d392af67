"""Sound that does not end, under a virtual clock: speech is listened to, noise keeps nobody waiting."""

from __future__ import annotations

import pytest
from floor_room import OPTIONS, Room

from pipelines.events import (
    NOT_UNDERSTOOD,
    Accept,
    Announce,
    Cancel,
    Event,
    Forget,
    Hold,
    Listen,
    NotTranscribed,
    Offset,
    Onset,
    ReplyAudible,
    ReplyDone,
    Say,
    Speak,
    Transcribe,
    Transcribed,
    TurnEnded,
    Typed,
)
from pipelines.floor import AgentHas, CallerHas, Contested, Level, Open
from pipelines.options import TurnOptions
from pipelines.segments import MAX_CUTS, WORDLESS_MS

#: What the recogniser needs.
STT_MS = 100.0


class Hall:
    """A room in which words are said at certain times (`says`: peer, when, word), and a recogniser that hears
    them: of each segment those between its beginning and the moment it was asked, or the next one began.
    """

    def __init__(self, *says: tuple[str, float, str], options: TurnOptions = OPTIONS) -> None:
        self.room = Room(options)
        self.says = list(says)
        self.is_broken = False
        self._seen = 0
        self._spans: dict[str, tuple[str, float, float]] = {}
        self._answers: list[tuple[float, Event]] = []

    def at(self, now_ms: float, event: Event | None = None) -> None:
        while self.room.now_ms < now_ms:
            self._step(min(now_ms, self.room.now_ms + 10))
        if event is not None:
            self.room.at(now_ms, event)

    def _step(self, now_ms: float) -> None:
        self.room.at(now_ms)
        for asked_ms, command in self.room.log[self._seen :]:
            match command:
                case Listen(peer, segment, from_ms):
                    for other, (who, start_ms, end_ms) in self._spans.items():
                        if who == peer:
                            self._spans[other] = who, start_ms, min(end_ms, from_ms)
                    self._spans[segment] = peer, from_ms, float("inf")
                case Transcribe(_, segment, revision):
                    answer = self._answer(segment, revision, asked_ms)
                    self._answers.append((asked_ms + STT_MS, answer))
        self._seen = len(self.room.log)
        due = [one for at_ms, one in self._answers if at_ms <= now_ms]
        self._answers = [one for one in self._answers if one[0] > now_ms]
        for event in due:
            self.room.at(now_ms, event)

    def _answer(self, segment: str, revision: int, asked_ms: float) -> Event:
        if self.is_broken:
            return NotTranscribed(segment, revision)
        peer, start_ms, end_ms = self._spans[segment]
        said = [
            word
            for who, at_ms, word in self.says
            if who == peer and start_ms <= at_ms < min(end_ms, asked_ms)
        ]
        return Transcribed(segment, revision, " ".join(said))

    def accepted(self, peer: str) -> str:
        return " ".join(c.text for _, c in self.room.log if isinstance(c, Accept) and c.peer == peer)

    def listening(self) -> set[str]:
        """Segments whose audio is held."""
        ended = {c.segment for _, c in self.room.log if isinstance(c, Accept | Forget)}
        return set(self._spans) - ended

    def sounds(self) -> str:
        """The reply released last begins to sound."""
        reply = [c.reply for _, c in self.room.log if isinstance(c, Speak)][-1]
        self.room.at(self.room.now_ms, ReplyAudible(reply))
        return reply


def sentence(peer: str, text: str, from_ms: float, every_ms: float = 250) -> list[tuple[str, float, str]]:
    return [(peer, from_ms + n * every_ms, word) for n, word in enumerate(text.split())]


def test_a_television_does_not_keep_who_writes_waiting() -> None:
    """
    ::

        tv     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
        bob        "what time is it"       "and tomorrow"
        reply                    ▔▔▔▔▔                ▔▔▔▔▔
    """
    hall = Hall()
    hall.at(0, Onset("tv", 0))
    hall.at(1000, Typed("bob", "what time is it"))
    hall.at(WORDLESS_MS + 500)
    assert len(hall.room.when(Speak)) == 1
    reply = hall.sounds()
    assert isinstance(hall.room.turns.floor, Contested), "it is listened to still"
    assert hall.room.turns.floor.level is Level.FULL, "and the reply is as loud as ever"
    hall.at(9000, ReplyDone(reply))
    hall.at(20_000, Typed("bob", "and tomorrow"))
    assert len(hall.room.when(Speak)) == 2, "at once, as it is known for noise"
    assert hall.accepted("tv") == ""
    assert hall.room.when(Hold) == hall.room.when(Cancel) == []


def test_a_television_is_no_turn_and_costs_no_memory() -> None:
    hall = Hall()
    hall.at(0, Onset("tv", 0))
    for seconds in range(1, 300):
        hall.at(1000.0 * seconds)
        assert len(hall.listening()) == 1
        assert len(hall.room.turns.segments) == 1
    assert hall.room.when(Speak) == hall.room.when(Accept) == []
    hall.at(300_100, Offset("tv", 300_100))
    hall.at(303_000)
    assert hall.room.turns.floor == Open()
    assert hall.room.turns.deadline_ms is None


def test_words_over_a_noise_are_heard_and_answered_while_it_goes_on() -> None:
    hall = Hall(*sentence("ann", "what time is it", 10_300))
    hall.at(0, Onset("ann", 0))
    hall.at(20_000)
    assert hall.accepted("ann") == "what time is it"
    assert len(hall.room.when(Speak)) == 1


def test_a_noise_that_begins_when_the_answer_is_released_delays_it_and_no_more() -> None:
    hall = Hall(*sentence("ann", "what time is it", 0))
    hall.at(0, Onset("ann", 0))
    hall.at(1000, Offset("ann", 1000))
    hall.at(1700, Onset("ann", 1700))
    assert len(hall.room.when(Hold)) == 1
    hall.at(1700 + WORDLESS_MS + 500)
    assert len(hall.room.when(Speak)) == 2
    reply = hall.sounds()
    hall.at(9000)
    assert hall.room.when(Cancel) == [], "it does not interrupt the answer either"
    hall.at(9000, ReplyDone(reply))
    assert isinstance(hall.room.turns.floor, CallerHas)


def test_a_noise_that_begins_under_the_last_word_is_told_from_it() -> None:
    hall = Hall(*sentence("ann", "what time is it", 0))
    hall.at(0, Onset("ann", 0))
    hall.at(6000)
    assert hall.accepted("ann") == "what time is it"
    assert len(hall.room.when(Speak)) == 1
    assert len(hall.listening()) == 1


def test_a_greeting_is_said_although_there_is_noise() -> None:
    hall = Hall()
    hall.at(0, Announce("greeting"))
    hall.at(10, Onset("ann", 10))
    assert len(hall.room.when(Hold)) == 1
    hall.at(WORDLESS_MS + 500)
    assert len(hall.room.when(Speak)) == 2
    hall.at(3000, ReplyDone(hall.sounds()))
    hall.at(8000, Announce("greeting"))
    assert len(hall.room.when(Speak)) == 3


def test_who_begins_to_speak_in_the_noise_before_the_answer_sounds_is_not_spoken_over() -> None:
    hall = Hall(*sentence("tv", "wait I have another question about this and it is a long one", 3100))
    hall.at(0, Onset("tv", 0))
    hall.at(3000, Typed("bob", "what time is it"))
    assert len(hall.room.when(Speak)) == 1
    hall.at(5000)
    assert len(hall.room.when(Hold)) == 1, "nothing has sounded yet: it waits"
    hall.at(6500, Offset("tv", 6500))
    hall.at(8000)
    assert len(hall.room.when(Speak)) == 2
    assert hall.accepted("tv") == "wait I have another question about this and it is a long one"


def test_who_speaks_on_is_not_answered_over_whoever_writes() -> None:
    """Two minutes without a pause, a word a second: too many pieces to hold, and not one word is lost."""
    words = [f"word{n}" for n in range(120)]
    options = OPTIONS.model_copy(update={"max_segment_ms": 5000})
    hall = Hall(*sentence("ann", " ".join(words), 50, every_ms=1000), options=options)
    hall.at(0, Onset("ann", 0))
    hall.at(5000, Typed("bob", "what time is it"))
    for seconds in range(6, 120):
        hall.at(1000.0 * seconds)
        assert len(hall.listening()) <= MAX_CUTS + 2, "what is long known is text, and no audio"
    assert hall.room.when(Speak) == []
    hall.at(120_000, Offset("ann", 120_000))
    hall.at(122_000)
    assert hall.accepted("ann").split() == words
    assert hall.accepted("bob") == "what time is it"
    assert len(hall.room.when(Speak)) == 1


def test_who_pauses_too_shortly_to_be_answered_is_listened_to_for_as_long_as_it_takes() -> None:
    """
    ::

        ann   ▒▒▒▒▒▒▒▒▒▒│..│▒▒▒▒▒▒▒▒▒▒│..│▒▒▒▒▒▒▒▒▒▒│..│   three minutes
                     400 ms
    """
    words = [f"word{n}" for n in range(150)]
    hall = Hall(*sentence("ann", " ".join(words), 50, every_ms=1100))
    for n in range(30):
        hall.at(5500.0 * n, Onset("ann", 5500.0 * n))
        hall.at(5500.0 * n + 5100, Offset("ann", 5500.0 * n + 5100))
    assert hall.room.when(Speak) == []
    hall.at(167_000)
    assert hall.accepted("ann").split() == words
    assert len(hall.room.when(Speak)) == 1


def test_a_recogniser_that_has_not_answered_has_not_said_that_there_are_no_words() -> None:
    room = Room()
    room.at(0, Onset("ann", 0))
    room.at(1000, Typed("bob", "what time is it"))
    room.at(60_000)
    assert room.when(Speak) == []


def test_where_nobody_can_tell_it_is_taken_for_noise_in_the_end() -> None:
    """A recogniser that is out of order, and a sound without end: whoever writes still gets an answer."""
    hall = Hall()
    hall.is_broken = True
    hall.at(0, Onset("tv", 0))
    hall.at(1000, Typed("bob", "what time is it"))
    hall.at(MAX_CUTS * OPTIONS.max_segment_ms)
    assert hall.room.when(Speak) == []
    hall.at((MAX_CUTS + 2) * OPTIONS.max_segment_ms)
    assert len(hall.room.when(Speak)) == 1
    assert [c for _, c in hall.room.log if isinstance(c, Say)] == []
    assert len(hall.listening()) <= MAX_CUTS + 2


def test_a_sound_that_nobody_understood_is_asked_about_once() -> None:
    hall = Hall()
    hall.is_broken = True
    hall.at(0, Onset("tv", 0))
    hall.at((MAX_CUTS + 3) * OPTIONS.max_segment_ms)
    (say,) = [c for _, c in hall.room.log if isinstance(c, Say)]
    assert say.what == NOT_UNDERSTOOD


def test_who_hums_before_they_speak_is_not_answered_at_their_first_word() -> None:
    """
    ::

        ann  ░░░░░░░░░░░ (1.9 s without a word)    I have a question …
    """
    hall = Hall(*sentence("ann", "I have a question about the weather", 2600))
    hall.at(0, Onset("ann", 0))
    hall.at(500, Typed("bob", "what time is it"))
    hall.at(1900, Offset("ann", 1900))
    hall.at(2350, Onset("ann", 2350))
    hall.at(4500, Offset("ann", 4500))
    assert hall.room.when(Speak) == []
    hall.at(6000)
    assert hall.accepted("ann") == "I have a question about the weather"
    assert len(hall.room.when(Speak)) == 1


def test_a_cough_over_the_reply_is_over_soon_although_there_is_noise() -> None:
    hall = Hall()
    hall.at(0, Onset("tv", 0))
    hall.at(WORDLESS_MS + 150, Typed("bob", "what time is it"))
    hall.sounds()
    hall.at(2200, Onset("ann", 2200))
    hall.at(2250, Offset("ann", 2250))
    hall.at(2700)
    assert isinstance(hall.room.turns.floor, Contested)
    assert hall.room.turns.floor.level is Level.FULL


def test_a_word_over_the_beginning_of_a_reply_is_no_answer_to_its_end_in_noise_either() -> None:
    hall = Hall(("ann", 4000, "okay"))
    hall.at(0, Onset("tv", 0))
    hall.at(3000, Typed("ann", "a table for two"))
    reply = hall.sounds()
    hall.at(3950, Onset("ann", 3950))
    hall.at(4100, Offset("ann", 4100))
    hall.at(9000, ReplyDone(reply, asks=True))
    hall.at(12_000)
    assert hall.accepted("ann") == "a table for two"


def test_words_that_are_known_only_after_the_cut_make_what_goes_on_speech() -> None:
    """A slow recogniser: the last words of a noise are known when the next piece is being heard."""
    room = Room(OPTIONS.model_copy(update={"max_segment_ms": 4000}))
    room.at(0, Onset("ann", 0))
    room.at(2000)
    room.at(2100, Transcribed("s1", 0, ""))
    room.at(4000)
    asked = [c for _, c in room.log if isinstance(c, Transcribe)][-1]
    room.at(6000)
    assert room.turns.segments[-1].is_noise
    piece = room.turns.segments[-2]
    room.at(6000, Transcribed(piece.id, piece.revision, "I would like"))
    assert not room.turns.segments[-1].is_noise
    room.at(6000, Typed("bob", "what time is it"))
    assert room.when(Speak) == []
    assert asked.peer == "ann"


def test_words_out_of_a_noise_say_nothing_about_how_the_caller_pauses() -> None:
    """
    ::

        ann    What time is it?  ░░░░░░░░░░░░░░░░░░░no wait stop░░
        reply                              ▔▔▔▔▔▔▔▔▔▔▔▔|
    """

    def waited_ms(*, noise: bool) -> float:
        hall = Hall(options=TurnOptions())
        for from_ms in range(0, 80_000, 20_000):
            hall.says += sentence("ann", "What time is it?", from_ms + 50)
            hall.says += sentence("ann", "no wait stop that please", from_ms + 9000)
            hall.at(from_ms, Onset("ann", from_ms))
            hall.at(from_ms + 1100, Offset("ann", from_ms + 1100))
            again_ms = from_ms + (1500 if noise else 8950)
            if noise:
                hall.at(again_ms, Onset("ann", again_ms))
            hall.at(from_ms + 3800)
            hall.sounds()
            if not noise:
                hall.at(again_ms, Onset("ann", again_ms))
            hall.at(from_ms + 10_300, Offset("ann", from_ms + 10_300))
            hall.at(from_ms + 13_000)
            assert len(hall.room.when(Cancel)) == from_ms // 20_000 + 1, "it takes the floor"
            hall.at(from_ms + 15_000, ReplyDone(hall.sounds()))
        hall.says += sentence("ann", "tell me about it", 80_050)
        hall.at(80_000, Onset("ann", 80_000))
        hall.at(81_100, Offset("ann", 81_100))
        hall.at(85_000)
        return [c for _, c in hall.room.log if isinstance(c, TurnEnded)][-1].silence_ms

    assert waited_ms(noise=True) == waited_ms(noise=False)


@pytest.mark.parametrize("asks", [True, False])
def test_yes_to_a_question_is_heard_over_somebody_elses_noise(asks: bool) -> None:
    hall = Hall(("ann", 7000, "yes"))
    hall.at(0, Onset("tv", 0))
    hall.at(3000, Typed("ann", "a table for two"))
    reply = hall.sounds()
    assert not isinstance(hall.room.turns.floor, AgentHas)
    hall.at(6950, Onset("ann", 6950))
    hall.at(7200, Offset("ann", 7200))
    hall.at(7700, ReplyDone(reply, asks=asks))
    hall.at(9000)
    assert hall.accepted("ann") == ("a table for two yes" if asks else "a table for two")
