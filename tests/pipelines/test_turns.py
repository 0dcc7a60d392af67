"""The floor under a virtual clock: worked conversations, then every conversation hypothesis can think of."""

from __future__ import annotations

import pytest
from floor_room import OPTIONS, Room

from pipelines.events import (
    NOT_UNDERSTOOD,
    Accept,
    Announce,
    CallerLeft,
    Cancel,
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
    Think,
    Transcribe,
    Transcribed,
    Typed,
)
from pipelines.floor import AgentHas, Open, Thinking, normalise


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def answering() -> Room:
    """A room in which reply r2 to ann's question (segment s1) sounds since 700 ms."""
    room = Room()
    room.says("what time is it", 0, 0)
    room.at(700, ReplyAudible("r2"))
    assert room.turns.floor == AgentHas("r2", 700)
    return room


def test_a_question_is_thought_about_at_the_pause_and_answered_at_the_end_of_the_turn(room: Room) -> None:
    assert room.at(0, Onset("ann", 0)) == [Listen("ann", "s1", 0)]
    assert room.at(1000, Offset("ann", 1000)) == []
    assert room.at(1199) == []
    assert room.at(1200) == [Transcribe("ann", "s1", 0)]
    assert room.at(1250, Transcribed("s1", 0, "Hello?")) == [Think("r2", 1, (("ann", "Hello?"),))]
    assert room.at(1599) == []
    assert room.at(1600) == [Accept("ann", "s1", "Hello?"), Speak("r2")]
    assert isinstance(room.turns.floor, Thinking)
    assert room.at(1620, ReplyAudible("r2")) == []
    assert room.turns.floor == AgentHas("r2", 1620)
    assert room.at(3000, ReplyDone("r2")) == []
    assert room.turns.floor == Open()
    assert room.turns.deadline_ms is None


def test_a_late_transcript_is_answered_as_soon_as_it_comes(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(1000, Offset("ann", 1000))
    assert room.at(1800) == [Transcribe("ann", "s1", 0), Transcribe("ann", "s1", 0, decisive=True)]
    assert room.at(1900, Transcribed("s1", 0, "Hello")) == [
        Think("r2", 1, (("ann", "Hello"),)),
        Accept("ann", "s1", "Hello"),
        Speak("r2"),
    ]


def test_speech_that_goes_on_extends_the_segment_and_replaces_the_speculation(room: Room) -> None:
    room.says("I would like", 0, 500)
    assert room.at(800, Onset("ann", 800)) == []
    room.at(1500, Offset("ann", 1500))
    assert room.at(1700) == [Transcribe("ann", "s1", 1)]
    assert room.at(1750, Transcribed("s1", 1, "I would like a pizza")) == [
        Cancel("r2"),
        Think("r3", 1, (("ann", "I would like a pizza"),)),
    ]
    assert room.at(2100) == [Accept("ann", "s1", "I would like a pizza"), Speak("r3")]


def test_a_cough_after_the_question_costs_nothing(room: Room) -> None:
    room.says("Hello", 0, 500)
    room.at(760, Onset("ann", 760))
    room.at(860, Offset("ann", 860))
    assert room.at(1060) == [Transcribe("ann", "s1", 1)]
    assert room.at(1100, Transcribed("s1", 1, "hello!")) == []
    assert room.at(1460) == [Accept("ann", "s1", "hello!"), Speak("r2")]


def test_a_transcript_of_an_earlier_revision_is_stale(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(500, Offset("ann", 500))
    room.at(700)
    room.at(710, Onset("ann", 710))
    assert room.at(720, Transcribed("s1", 0, "I would")) == []
    room.at(900, Offset("ann", 900))
    room.at(1100)
    assert room.at(1110, Transcribed("s1", 0, "I would")) == []
    assert room.at(1120, Transcribed("s1", 1, "I would go")) == [Think("r2", 1, (("ann", "I would go"),))]


def test_speech_while_thinking_holds_the_reply_and_joins_the_turn(room: Room) -> None:
    room.says("What time is it", 0, 500)
    assert room.at(1100) == [Accept("ann", "s1", "What time is it"), Speak("r2")]
    assert room.at(1150, Onset("ann", 1150)) == [Hold("r2"), Listen("ann", "s3", 1150)]
    room.at(1600, Offset("ann", 1600))
    assert room.at(1800) == [Transcribe("ann", "s3", 0)]
    assert room.at(1850, Transcribed("s3", 0, "in Berlin")) == [
        Cancel("r2"),
        Think("r4", 1, (("ann", "in Berlin"),)),
    ]
    assert room.at(2200) == [Accept("ann", "s3", "in Berlin"), Speak("r4")]


def test_noise_while_thinking_only_delays_the_reply(room: Room) -> None:
    room.says("What time is it", 0, 500)
    room.at(1150, Onset("ann", 1150))
    room.at(1250, Offset("ann", 1250))
    room.at(1460, Transcribed("s3", 0, ""))
    assert room.at(1850) == [Forget("ann", "s3", "empty"), Speak("r2")]


def test_noise_alone_is_no_turn(room: Room) -> None:
    commands = room.says("", 0, 400)
    assert commands == [Listen("ann", "s1", 0), Transcribe("ann", "s1", 0)]
    assert room.at(1000) == [Forget("ann", "s1", "empty")]
    assert room.turns.floor == Open()


def test_two_callers_share_one_turn_and_one_answer(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(300, Onset("bob", 300))
    room.at(500, Offset("ann", 500))
    assert room.at(700) == [Transcribe("ann", "s1", 0)]
    assert room.at(750, Transcribed("s1", 0, "What time is it?")) == []
    room.at(1500, Offset("bob", 1500))
    room.at(1700)
    assert room.at(1750, Transcribed("s2", 0, "And the weather?")) == [
        Think("r3", 1, (("ann", "What time is it?"), ("bob", "And the weather?")))
    ]
    assert room.at(2100) == [
        Accept("ann", "s1", "What time is it?"),
        Accept("bob", "s2", "And the weather?"),
        Speak("r3"),
    ]


def test_typed_text_is_answered_at_once(room: Room) -> None:
    assert room.at(0, Typed("ann", "hi")) == [
        Think("r2", 1, (("ann", "hi"),)),
        Accept("ann", "s1", "hi"),
        Speak("r2"),
    ]


def test_typed_text_cuts_a_reply_that_sounds(answering: Room) -> None:
    commands = answering.at(1000, Typed("bob", "shorter please"))
    assert commands[0] == Cancel("r2")
    assert commands[-1] == Speak("r4")


def test_text_typed_while_somebody_speaks_waits_for_them(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    assert room.at(100, Typed("bob", "hello")) == []
    room.at(500, Offset("ann", 500))
    room.at(700)
    room.at(750, Transcribed("s1", 0, "good morning"))
    assert Speak("r3") in room.at(1100)


def test_an_announcement_waits_for_nobody_and_interrupts_nobody(room: Room) -> None:
    assert room.at(0, Announce("greeting")) == [Say("r1", "greeting"), Speak("r1")]
    room.at(50, ReplyAudible("r1"))
    assert room.at(60, Announce("greeting")) == []


def test_a_cough_before_the_greeting_sounds_does_not_lose_it(room: Room) -> None:
    room.at(0, Announce("greeting"))
    assert room.at(10, Onset("ann", 10)) == [Hold("r1"), Listen("ann", "s2", 10)]
    room.at(60, Offset("ann", 60))
    room.at(300, Transcribed("s2", 0, ""))
    assert room.at(660) == [Forget("ann", "s2", "empty"), Speak("r1")]


def test_a_failed_recogniser_makes_the_agent_say_so(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(500, Offset("ann", 500))
    room.at(700)
    room.at(750, NotTranscribed("s1", 0))
    assert room.at(1100) == [Transcribe("ann", "s1", 1, decisive=True)], "tried once more now that it counts"
    failed = room.at(1150, NotTranscribed("s1", 1))
    assert failed == [Forget("ann", "s1", "failed"), Say("r2", NOT_UNDERSTOOD), Speak("r2")]


def test_a_recogniser_that_was_busy_is_forgiven(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(500, Offset("ann", 500))
    room.at(750, NotTranscribed("s1", 0))
    room.at(1100)
    answer = room.at(1150, Transcribed("s1", 1, "hello"))
    assert answer == [Think("r2", 1, (("ann", "hello"),)), Accept("ann", "s1", "hello"), Speak("r2")]


def test_who_goes_on_after_the_recogniser_failed_goes_on_in_the_same_segment(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(500, Offset("ann", 500))
    room.at(700)
    room.at(750, NotTranscribed("s1", 0))
    assert room.at(800, Onset("ann", 800)) == []
    room.at(1500, Offset("ann", 1500))
    assert room.at(1700) == [Transcribe("ann", "s1", 1)], "all of it, once more"
    room.at(1750, Transcribed("s1", 1, "what time is it"))
    assert Accept("ann", "s1", "what time is it") in room.at(2100)


def test_the_first_words_count_where_the_rest_is_not_understood(room: Room) -> None:
    room.says("what time is it", 0, 500)
    room.at(800, Onset("ann", 800))
    room.at(1200, Offset("ann", 1200))
    room.at(1400)
    room.at(1450, NotTranscribed("s1", 1))
    room.at(1800)
    assert room.at(1850, NotTranscribed("s1", 2)) == [Accept("ann", "s1", "what time is it"), Speak("r2")]


def test_an_answer_that_ended_without_a_sound_is_not_waited_for_again(room: Room) -> None:
    room.says("what time is it", 0, 500)
    assert Speak("r2") in room.at(1100)
    room.at(1110, Onset("ann", 1110))
    assert room.at(1120, ReplyDone("r2")) == []
    room.at(1200, Offset("ann", 1200))
    room.at(1400)
    assert room.at(1450, Transcribed("s3", 0, "")) == [Think("r4", 1, ())]
    assert room.at(1800) == [Forget("ann", "s3", "empty"), Speak("r4")]


def test_a_long_monologue_is_cut_into_segments_of_one_turn() -> None:
    room = Room(OPTIONS.model_copy(update={"max_segment_ms": 3000}))
    room.at(0, Onset("ann", 0))
    assert room.at(1500) == [Transcribe("ann", "s1", 0)]
    room.at(1600, Transcribed("s1", 0, "once upon"))
    assert room.at(3000) == [Transcribe("ann", "s1", 1), Listen("ann", "s2", 3000, continues=True)]
    room.at(3100, Transcribed("s1", 1, "once upon a time"))
    room.at(3500, Offset("ann", 3500))
    room.at(3700)
    assert room.at(3750, Transcribed("s2", 0, "there was")) == [
        Think("r3", 1, (("ann", "once upon a time"), ("ann", "there was")))
    ]


def test_when_the_last_caller_leaves_everything_stops(answering: Room) -> None:
    answering.at(900, Onset("ann", 900))
    assert answering.at(950, CallerLeft("ann", alone=True)) == [Forget("ann", "s3", "left"), Cancel("r2")]
    assert answering.turns.floor == Open()


def test_when_one_of_two_leaves_mid_sentence_the_other_is_answered(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(10, Onset("bob", 10))
    assert room.at(100, CallerLeft("ann", alone=False)) == [Forget("ann", "s1", "left")]
    room.at(500, Offset("bob", 500))
    room.at(750, Transcribed("s2", 0, "hello"))
    assert room.at(1100)[-1] == Speak("r3")


def test_what_was_written_outlives_the_microphone(room: Room) -> None:
    room.at(0, Onset("ann", 0))
    room.at(100, Typed("ann", "what time is it"))
    assert room.at(200, CallerLeft("ann", alone=False, is_here=True)) == [
        Forget("ann", "s1", "left"),
        Think("r3", 1, (("ann", "what time is it"),)),
        Accept("ann", "s2", "what time is it"),
        Speak("r3"),
    ]


def test_what_was_written_goes_with_the_writer(room: Room) -> None:
    room.at(0, Onset("bob", 0))
    room.at(100, Typed("ann", "what time is it"))
    assert room.at(200, CallerLeft("ann", alone=False)) == [Forget("ann", "s2", "left")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Hello, world!", "hello world", True), ("It's four.", "its four", False), ("", " … ", True)],
)
def test_normalise(one: str, other: str, same: bool) -> None:
    assert (normalise(one) == normalise(other)) is same
