"""When a turn is over, as evidence comes in: under a virtual clock, with the true function of it."""

from __future__ import annotations

import pytest
from floor_room import Room

from pipelines.events import (
    Cancel,
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
    Typed,
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


def cuts_in(room: Room, from_ms: float, pause_ms: float) -> float:
    """Ann is answered, goes on after `pause_ms` of silence as the answer sounds, and is answered again."""
    room.says("tell me about it", from_ms, from_ms + 400)
    plays(room, done=False)
    again_ms = from_ms + 400 + pause_ms
    assert room.now_ms <= again_ms
    room.at(again_ms, Onset("ann", again_ms))
    room.at(again_ms + 300)
    for asked in [c for _, c in room.log if isinstance(c, Transcribe)][-1:]:
        room.at(room.now_ms, Transcribed(asked.segment, asked.revision, "wait, tell me all of it"))
    assert room.when(Cancel), "it took the floor"
    room.says("wait, tell me all of it", again_ms, again_ms + 600)
    plays(room, done=True)
    return room.now_ms + 1000


def plays(room: Room, *, done: bool) -> None:
    while not (spoken := [c for _, c in room.log if isinstance(c, Speak)]):
        room.at(room.now_ms + 10)
    room.at(room.now_ms, ReplyAudible(spoken[-1].reply))
    if done:
        room.at(room.now_ms, ReplyDone(spoken[-1].reply))
    room.log = [one for one in room.log if not isinstance(one[1], Speak | TurnEnded)]


def test_who_goes_on_over_an_answer_that_came_too_soon_is_given_longer() -> None:
    first = silence_ms(paused("tell me about it"))
    room = Room(OPTIONS)
    now_ms = 0.0
    for _ in range(6):
        now_ms = cuts_in(room, now_ms, pause_ms=first + 150)
    room.says("tell me about it", now_ms, now_ms + 1000)
    assert silence_ms(room) > first


def test_who_speaks_over_the_answer_to_somebody_else_did_not_pause() -> None:
    """Ann was answered before; what she says now is not the rest of it."""
    first = silence_ms(paused("tell me about it"))
    room = Room(OPTIONS)
    for n in range(6):
        from_ms = 10_000.0 * n
        room.says("What time is it?", from_ms, from_ms + 400)
        plays(room, done=True)
        room.at(room.now_ms, Typed("bob", "shorter please"))
        plays(room, done=False)
        again_ms = room.now_ms + 10
        room.says("stop that now please", again_ms, again_ms + 1500)
        plays(room, done=True)
    assert silence_ms_of(room, 100_000) == first


def silence_ms_of(room: Room, from_ms: float) -> float:
    room.says("tell me about it", from_ms, from_ms + 1000)
    return silence_ms(room)


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
