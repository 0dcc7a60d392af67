"""Speech over the reply under a virtual clock: what ducks it, silences it, ends it, and what does not."""

from __future__ import annotations

import pytest
from floor_room import OPTIONS, Room

from pipelines.contest import MAX_ASIDES
from pipelines.events import (
    Accept,
    CallerLeft,
    Cancel,
    Command,
    Duck,
    Forget,
    Listen,
    Murmur,
    NotTranscribed,
    Offset,
    Onset,
    OverlapEnded,
    Pause,
    ReplyAudible,
    ReplyDone,
    Resume,
    Speak,
    Think,
    Transcribe,
    Transcribed,
    Typed,
)
from pipelines.floor import AgentHas, CallerHas, Contested, Open, Startled

YIELD_MS = OPTIONS.yield_ms


@pytest.fixture
def room() -> Room:
    """A room in which reply r2 to ann's question (segment s1) sounds since 700 ms."""
    room = Room()
    room.says("what time is it", 0, 0)
    room.at(700, ReplyAudible("r2"))
    assert room.turns.floor == AgentHas("r2", 700)
    return room


def words(commands: list[Command]) -> list[Transcribe]:
    return [c for c in commands if isinstance(c, Transcribe)]


def test_a_call_to_stop_takes_the_floor_while_it_is_spoken(room: Room) -> None:
    """
    ::

        ann    ░stop it please ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
        reply  ▔▔▔╲duck╲__pause________│cancel
                  0    +64        +240 asked, answered
    """
    assert room.at(3032, Murmur("ann", 3032, 32)) == [Duck("r2")]
    assert room.at(3064, Murmur("ann", 3064, 64)) == [Pause("r2")]
    assert room.at(3096, Onset("ann", 3000)) == [Listen("ann", "s3", 3000)]
    assert room.at(3240) == [Transcribe("ann", "s3", 0, rough=True)]
    assert room.at(3280, Transcribed("s3", 0, "stop")) == [Cancel("r2")]
    assert isinstance(room.turns.floor, CallerHas)
    room.at(3700, Offset("ann", 3700))
    assert room.at(3900) == [Transcribe("ann", "s3", 1)], "the turn has the whole of it, beginning included"
    room.at(3950, Transcribed("s3", 1, "Stop it please."))
    assert room.at(4300) == [Accept("ann", "s3", "Stop it please."), Speak("r4")]


def test_a_murmur_that_is_nothing_is_over_soon(room: Room) -> None:
    assert room.at(3032, Murmur("ann", 3032, 32)) == [Duck("r2")]
    assert isinstance(room.turns.floor, Startled)
    assert room.at(3064, Murmur("ann", 3064, 64)) == [Pause("r2")]
    assert room.at(3200) == [Resume("r2")]
    assert room.turns.floor == AgentHas("r2", 700)


def test_approval_gives_the_floor_back_without_loss(room: Room) -> None:
    """
    ::

        ann    mm-hm▒▒▒▒|        pause_ms, recognised: approval
        reply  ╲___pause__________│▔▔▔ goes on where it stopped
    """
    room.at(3000, Onset("ann", 3000))
    room.at(3350, Offset("ann", 3350))
    assert words(room.at(3550))[-1] == Transcribe("ann", "s3", 1)
    assert room.at(3600, Transcribed("s3", 1, "Mm-hm.")) == [Resume("r2")]
    assert isinstance(room.turns.floor, AgentHas)
    assert room.at(5000) == [Forget("ann", "s3", "aside")], "it is no message of its own"
    assert room.at(6000, ReplyDone("r2")) == []
    assert room.turns.floor == Open()


def test_noise_gives_the_floor_back_however_loud_and_the_reply_is_not_lost(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3600, Offset("ann", 3600))
    asked = words(room.at(3800))[-1]
    assert room.at(3850, Transcribed("s3", asked.revision, "")) == [
        Forget("ann", "s3", "empty"),
        Resume("r2"),
    ]
    assert isinstance(room.turns.floor, AgentHas)


def test_noise_that_does_not_end_is_played_over_and_words_in_it_still_count(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    while isinstance(room.turns.floor, Contested) and not room.when(Resume):
        for asked in words(room.at(room.now_ms + 50)):
            room.at(room.now_ms, Transcribed("s3", asked.revision, ""))
        assert room.now_ms < 10_000
    assert isinstance(room.turns.floor, Contested), "it is listened to still"
    assert room.when(Cancel) == []
    asked = words(room.at(room.now_ms + 500))[-1]
    assert room.at(room.now_ms, Transcribed("s3", asked.revision, "wait")) == [Cancel("r2")]


def test_speech_never_goes_on_in_a_piece_that_was_cut() -> None:
    """A noise over the reply is cut, and its end is known for nothing before the rest of it: what follows is
    listened to, in a segment of its own."""
    room = Room(OPTIONS.model_copy(update={"max_segment_ms": 3000}))
    room.says("what time is it", 0, 0)
    room.at(700, ReplyAudible("r2"))
    room.at(3000, Onset("ann", 3000))
    while room.now_ms < 6000:
        for asked in words(room.at(room.now_ms + 50)):
            if asked.rough:
                room.at(room.now_ms, Transcribed("s3", asked.revision, ""))
    assert [s.id for s in room.turns.segments] == ["s3", "s4"]
    room.at(6050, Offset("ann", 6050))
    room.at(6250)
    assert room.at(6300, Transcribed("s4", 0, "")) == [Forget("ann", "s4", "empty")]
    assert Listen("ann", "s5", 6350) in room.at(6350, Onset("ann", 6350))


def test_words_are_asked_for_again_and_again_while_it_goes_on(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    first, *none = words(room.at(3500))
    assert none == [], "not before the answer to the one before"
    room.at(3500, Transcribed("s3", first.revision, "mm"))
    second, *none = words(room.at(3800))
    assert second.revision > first.revision
    assert none == []
    assert room.at(3800, Transcribed("s3", first.revision, "stop")) == [], "a stale answer decides nothing"


def test_without_words_the_length_of_the_speech_decides(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    for asked in words(room.at(3000 + OPTIONS.sustained_ms - 50)):
        room.at(room.now_ms, NotTranscribed("s3", asked.revision))
    assert room.when(Cancel) == []
    assert Cancel("r2") in room.at(3000 + OPTIONS.sustained_ms + 50)


def test_speech_that_goes_on_after_a_pause_ducks_the_reply_no_more_than_once(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3040, Offset("ann", 3040))
    room.at(3100, Onset("ann", 3100))
    room.at(3200)
    assert room.when(Duck) == [3000]
    assert room.when(Pause) == [3100 + YIELD_MS - 40], "sound counts, pauses in it do not"


def test_a_reply_that_ends_under_the_speech_leaves_the_floor_to_it(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3100, ReplyDone("r2"))
    assert isinstance(room.turns.floor, CallerHas)
    room.at(3200, Offset("ann", 3200))
    room.at(3400)
    assert room.at(3450, Transcribed("s3", 0, "mm-hm")) == [Think("r4", 2, (("ann", "mm-hm"),))]


@pytest.mark.parametrize("asks", [True, False])
def test_yes_over_the_end_of_a_question_is_its_answer(room: Room, asks: bool) -> None:
    """
    ::

        reply  … would you like some tea?|
        ann                      yes▒▒
    """
    room.at(3000, Onset("ann", 3000))
    room.at(3150, Offset("ann", 3150))
    room.at(3400, Transcribed("s3", 0, "yes"))
    assert isinstance(room.turns.floor, AgentHas)
    commands = room.at(3800, ReplyDone("r2", asks=asks))
    if asks:
        assert commands == [Think("r4", 2, (("ann", "yes"),)), Accept("ann", "s3", "yes"), Speak("r4")]
    else:
        assert commands == [Forget("ann", "s3", "aside")]
        assert room.turns.floor == Open()


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_a_cough_after_yes_does_not_take_it_back(room: Room, who: str) -> None:
    """
    ::

        reply  … would you like some tea?|
        ann               yes▒▒  *cough*
    """
    room.at(3000, Onset("ann", 3000))
    room.at(3150, Offset("ann", 3150))
    room.at(3400, Transcribed("s3", 0, "yes"))
    room.at(3450, Onset(who, 3450))
    room.at(3500, Offset(who, 3500))
    room.at(3700)
    assert room.at(3750, Transcribed("s4", 0, "")) == [Forget(who, "s4", "empty"), Resume("r2")]
    commands = room.at(3800, ReplyDone("r2", asks=True))
    assert commands == [Think("r5", 2, (("ann", "yes"),)), Accept("ann", "s3", "yes"), Speak("r5")]


def test_all_that_was_answered_over_the_end_of_a_question_counts(room: Room) -> None:
    for segment, peer, at_ms, text in (("s3", "ann", 3000, "yes"), ("s4", "bob", 3400, "mm-hm")):
        room.at(at_ms, Onset(peer, at_ms))
        room.at(at_ms + 100, Offset(peer, at_ms + 100))
        room.at(at_ms + 300)
        room.at(at_ms + 350, Transcribed(segment, 0, text))
    (think, *_) = room.at(3800, ReplyDone("r2", asks=True))
    assert think == Think("r5", 2, (("ann", "yes"), ("bob", "mm-hm")))


def test_few_asides_are_remembered(room: Room) -> None:
    for n in range(2 * MAX_ASIDES):
        at_ms = 3000 + 10 * n
        room.at(at_ms, Onset(f"p{n}", at_ms))
        room.at(at_ms, Offset(f"p{n}", at_ms))
    for asked in words(room.at(3500)):
        room.at(3500, Transcribed(asked.segment, asked.revision, "yes"))
    assert len(room.when(Forget)) == MAX_ASIDES
    (think, *_) = room.at(3600, ReplyDone("r2", asks=True))
    assert isinstance(think, Think)
    assert [peer for peer, _ in think.unaccepted] == [f"p{n}" for n in range(MAX_ASIDES, 2 * MAX_ASIDES)]


def test_what_was_said_just_before_belongs_to_what_takes_the_floor(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3150, Offset("ann", 3150))
    room.at(3400, Transcribed("s3", 0, "okay"))
    assert isinstance(room.turns.floor, AgentHas)
    room.at(3600, Onset("ann", 3600))
    (asked,) = words(room.at(3850))
    room.at(3900, Transcribed(asked.segment, asked.revision, "wait a moment"))
    room.at(4000, Offset("ann", 4000))
    (asked,) = words(room.at(4200))
    room.at(4250, Transcribed(asked.segment, asked.revision, "wait a moment"))
    assert [c for c in room.at(4600) if isinstance(c, Accept)] == [
        Accept("ann", "s3", "okay"),
        Accept("ann", "s4", "wait a moment"),
    ]


def test_what_was_no_word_after_all_is_no_message(room: Room) -> None:
    """Its first words interrupt; in the whole of it the recogniser hears none."""
    room.at(3000, Onset("ann", 3000))
    room.at(3240)
    assert room.at(3280, Transcribed("s3", 0, "stop")) == [Cancel("r2")]
    room.at(3400, Offset("ann", 3400))
    (asked,) = words(room.at(3600))
    room.at(3650, Transcribed("s3", asked.revision, ""))
    assert room.at(5000) == [Forget("ann", "s3", "empty")]
    assert room.turns.floor == Open()


def test_words_are_asked_for_after_a_pause_too(room: Room) -> None:
    """An answer that a pause made stale is waited for no longer."""
    room.at(3000, Onset("ann", 3000))
    (rough,) = words(room.at(3240))
    room.at(3250, Offset("ann", 3250))
    (asked,) = words(room.at(3450))
    assert asked.revision > rough.revision
    (again,) = words(room.at(3460, Onset("ann", 3460)))
    assert again.rough


def test_anybody_may_interrupt_and_gets_the_answer(room: Room) -> None:
    room.at(3000, Onset("bob", 3000))
    room.at(3300)
    assert room.at(3300, Transcribed("s3", 0, "wait a moment")) == [Cancel("r2")]
    room.at(3500, Offset("bob", 3500))
    asked = words(room.at(3700))[-1]
    (think,) = room.at(3750, Transcribed("s3", asked.revision, "wait a moment"))
    assert think == Think("r4", 2, (("bob", "wait a moment"),))


def test_one_who_approves_and_one_who_interrupts(room: Room) -> None:
    """The one who interrupts takes the floor; what the other said is part of the turn, being recognised."""
    room.at(3000, Onset("ann", 3000))
    room.at(3050, Onset("bob", 3050))
    room.at(3300)
    assert room.at(3300, Transcribed("s4", 0, "stop that")) == [Cancel("r2")]
    room.at(3350, Offset("ann", 3350))
    room.at(3400, Offset("bob", 3400))
    for asked in words(room.at(3600)):
        text = {"s3": "mm-hm", "s4": "stop that"}[asked.segment]
        room.at(3650, Transcribed(asked.segment, asked.revision, text))
    assert room.at(4000)[-1] == Speak("r5")


def test_when_the_one_who_spoke_over_the_reply_leaves_it_goes_on(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3000 + YIELD_MS)
    assert room.at(3150, CallerLeft("ann", alone=False)) == [Forget("ann", "s3", "left"), Resume("r2")]


def test_typing_ends_the_reply_and_joins_what_is_being_said(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    assert room.at(3050, Typed("bob", "shorter please")) == [Cancel("r2")]
    room.at(3300, Offset("ann", 3300))
    asked = words(room.at(3500))[-1]
    (think,) = room.at(3550, Transcribed("s3", asked.revision, ""))
    assert think == Think("r5", 2, (("bob", "shorter please"),))


def test_what_became_of_an_overlap_is_on_record_without_its_words(room: Room) -> None:
    room.at(3000, Onset("ann", 3000))
    room.at(3300)
    room.at(3300, Transcribed("s3", 0, "stop right there"))
    (record,) = [command for _, command in room.log if isinstance(command, OverlapEnded)]
    assert record == OverlapEnded(taken=True, speech_ms=300, silence_ms=0, words=3)
