"""When a turn is over, as evidence comes in: under a virtual clock, with the true function of it."""

from __future__ import annotations

import pytest
from floor_room import Room

from pipelines.events import (
    Judged,
    Offset,
    Onset,
    Quiet,
    ReplyAudible,
    ReplyDone,
    Speak,
    Transcribe,
    Transcribed,
    TurnEnded,
)
from pipelines.floor import Thinking
from pipelines.options import TurnOptions

OPTIONS = TurnOptions()


def silence_ms(room: Room) -> float:
    """The silence that ended the turn, waited out."""
    latest_ms = room.now_ms + 5000
    while not room.when(Speak):
        room.at(room.now_ms + 10)
        assert room.now_ms < latest_ms, "a turn ends"
    (record, *_) = [command for _, command in room.log if isinstance(command, TurnEnded)]
    return record.silence_ms


def paused(text: str, *, room: Room | None = None) -> Room:
    """A room in which ann has said `text`, until 1000 ms."""
    room = room or Room(OPTIONS)
    room.says(text, 0, 1000)
    return room


def test_what_is_plainly_over_ends_soon_and_what_is_plainly_not_is_waited_for() -> None:
    question, open_end = (
        silence_ms(paused("What time is it?")),
        silence_ms(paused("I would like to go to the")),
    )
    assert OPTIONS.end_of_turn_min_ms <= question < open_end <= OPTIONS.end_of_turn_max_ms
    assert question <= 300
    assert open_end >= 900


def test_words_count_in_the_language_the_recogniser_heard() -> None:
    def waited_ms(heard: str | None) -> float:
        room = Room(OPTIONS, language=None)
        room.at(0, Onset("ann", 0))
        room.at(1000, Offset("ann", 1000))
        room.at(1150, Transcribed("s1", 0, "Ich möchte nach Berlin und", heard))
        return silence_ms(room)

    assert waited_ms(None) < waited_ms("de-AT")
    assert waited_ms(None) == waited_ms("xx")


def test_before_the_words_are_known_nothing_is_over() -> None:
    room = Room(OPTIONS)
    room.at(0, Onset("ann", 0))
    room.at(1000, Offset("ann", 1000))
    room.at(1900)
    assert not isinstance(room.turns.floor, Thinking)
    room.at(1900, Transcribed("s1", 0, "What time is it?"))
    assert room.when(Speak) == [1900], "and then at once, the silence having been long enough"


def test_late_words_that_are_not_over_are_waited_for() -> None:
    room = Room(OPTIONS)
    room.at(0, Onset("ann", 0))
    room.at(1000, Offset("ann", 1000))
    room.at(1700, Transcribed("s1", 0, "I would like to go to the"))
    assert room.when(Speak) == []
    assert silence_ms(room) > 700


@pytest.mark.parametrize("sure", [True, False])
def test_the_model_is_heard(sure: bool) -> None:
    room = paused("tell me about it")
    room.at(room.now_ms, Judged("s1", 0, 0.98 if sure else 0.02))
    without = silence_ms(paused("tell me about it"))
    assert (silence_ms(room) < without) if sure else (silence_ms(room) > without)


def test_a_judgement_of_an_earlier_pause_is_stale() -> None:
    room = paused("tell me about it")
    room.at(room.now_ms, Judged("s1", -1, 0.01))
    assert silence_ms(room) == silence_ms(paused("tell me about it"))


def test_a_silence_that_is_not_quite_one_is_waited_for_longer() -> None:
    room = paused("tell me about it")
    room.at(room.now_ms, Quiet("ann", 0.3))
    assert silence_ms(room) > silence_ms(paused("tell me about it"))


def test_who_pauses_for_long_is_given_longer() -> None:
    """Ann pauses for 800 ms before every second half of a sentence; after a few the machine waits for it."""
    first = silence_ms(paused("tell me about it"))
    room = Room(OPTIONS)
    now_ms = 0.0
    for _ in range(6):
        room.says("I would like to", now_ms, now_ms + 400)
        room.says("I would like to know what time it is.", now_ms + 1200, now_ms + 1600)
        while not (spoken := [c for _, c in room.log if isinstance(c, Speak)]):
            room.at(room.now_ms + 10)
        room.at(room.now_ms, ReplyAudible(spoken[0].reply))
        room.at(room.now_ms, ReplyDone(spoken[0].reply))
        room.log.clear()
        now_ms = room.now_ms + 1000
    room.says("tell me about it", now_ms, now_ms + 1000)
    assert silence_ms(room) > first


def test_a_breath_is_no_pause_inside_the_turn() -> None:
    """More sound without more words teaches nothing about how ann pauses."""
    room = paused("tell me about it")
    room.says("tell me about it", 1400, 1500)
    assert silence_ms(room) == silence_ms(paused("tell me about it"))


def test_of_two_callers_the_one_who_is_not_done_is_waited_for() -> None:
    """
    ::

        ann  What time is it?│
        bob  I would like to go to the│ …
    """
    room = Room(OPTIONS)
    room.at(0, Onset("ann", 0))
    room.at(10, Onset("bob", 10))
    room.at(1000, Offset("ann", 1000))
    room.at(1000, Offset("bob", 1000))
    texts = {"ann": "What time is it?", "bob": "I would like to go to the"}
    for asked in room.at(1150):
        assert isinstance(asked, Transcribe)
        room.at(1160, Transcribed(asked.segment, asked.revision, texts[asked.peer]))
    assert silence_ms(room) >= 900


def test_every_decision_names_its_evidence() -> None:
    room = paused("What time is it?")
    silence_ms(room)
    (record,) = [command for _, command in room.log if isinstance(command, TurnEnded)]
    assert record.reasons
    assert all("time" not in name for name, _ in record.reasons), "never the words themselves"
