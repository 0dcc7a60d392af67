"""What is prepared before the turn is over, under a virtual clock: used, kept, thrown away, withheld."""

from __future__ import annotations

from floor_room import OPTIONS, Room

from pipelines.events import (
    Accept,
    Announce,
    CallerLeft,
    Cancel,
    Hold,
    Offset,
    Onset,
    ReplyAudible,
    ReplyDone,
    Speak,
    Speculated,
    Think,
    Transcribe,
    Transcribed,
    Typed,
)
from pipelines.floor import CallerHas, Open


def test_an_answer_prepared_early_is_used() -> None:
    room = Room()
    room.says("what time is it", 0, 1000)
    room.at(1700, ReplyAudible("r2"))
    assert room.speculations() == ["used"]


def test_more_sound_and_the_same_words_do_nothing_twice() -> None:
    """
    ::

        ann     what time is it ▒   (a breath)
        model                    ┌─ thinks ──────────────────▶ one answer
    """
    room = Room()
    room.says("What time is it?", 0, 1000)
    commands = room.says("what time is it", 1300, 1400)
    assert not [c for c in commands if isinstance(c, Think | Cancel)]
    assert room.at(2000)[-1] == Speak("r2")
    room.at(2050, ReplyAudible("r2"))
    assert room.speculations() == ["unchanged", "used"]


def test_other_words_throw_it_away() -> None:
    room = Room()
    room.says("what time", 0, 500)
    room.says("what time is it", 800, 1200)
    assert room.speculations() == ["wasted"]


def test_what_was_thrown_away_lately_bounds_what_is_prepared() -> None:
    """A caller who changes their sentence at every pause costs two answers; then the end is waited for."""
    room = Room(OPTIONS.model_copy(update={"max_wasted_per_min": 2}))
    text = "one"
    for n in range(6):
        room.says(text, n * 600, n * 600 + 100)
        text += " more"
    assert room.speculations() == ["wasted", "wasted", *["withheld"] * 4]
    assert len(room.when(Think)) == 2
    answer = room.at(3700)[-1]
    assert isinstance(answer, Speak), "the answer comes all the same"
    room.at(3750, ReplyAudible(answer.reply))
    assert room.speculations()[-1] == "withheld", "what waited for the end of the turn was no speculation"


def test_the_budget_fills_again() -> None:
    room = Room(OPTIONS.model_copy(update={"max_wasted_per_min": 2}))
    for n, text in enumerate(["one", "one two", "one two three"]):
        room.says(text, n * 600, n * 600 + 100)
    answer = room.at(2500)[-1]
    assert isinstance(answer, Speak)
    room.at(2500, ReplyAudible(answer.reply))
    room.at(2500, ReplyDone(answer.reply))
    room.at(100_000)
    room.says("four", 100_000, 100_100)
    room.says("four five", 100_600, 100_700)
    assert room.speculations() == ["wasted", "wasted", "withheld", "wasted"]


def test_what_is_thrown_away_in_a_minute_is_never_more_than_the_budget() -> None:
    room = Room(OPTIONS.model_copy(update={"max_wasted_per_min": 5}))
    for from_ms in range(0, 200_000, 20_000):
        for n in range(20):
            room.says("and " * (n + 1), from_ms + n * 700, from_ms + n * 700 + 200)
        answer = room.at(from_ms + 16_000)[-1]
        assert isinstance(answer, Speak)
        room.at(room.now_ms, ReplyAudible(answer.reply))
        room.at(room.now_ms, ReplyDone(answer.reply))
    wasted_ms = room.when(Cancel)
    assert len(wasted_ms) > 15, "in more than three minutes"
    assert all(after - before >= 60_000 for before, after in zip(wasted_ms, wasted_ms[5:], strict=False))


def test_what_is_thrown_away_after_the_end_of_the_turn_is_counted_and_not_capped() -> None:
    """A caller who goes on whenever the answer is about to sound: it has to be asked each time."""
    room = Room(OPTIONS.model_copy(update={"max_wasted_per_min": 0}))
    for n in range(10):
        room.says(f"word {n}", n * 1000, n * 1000 + 300)
        room.at(n * 1000 + 950)
    assert len(room.when(Think)) == 10
    assert len(room.when(Cancel)) == room.speculations().count("wasted") == 9


def test_an_announcement_that_nobody_heard_wasted_no_thinking() -> None:
    room = Room()
    room.at(0, Announce("greeting"))
    room.says("hello", 100, 500)
    assert len(room.when(Cancel)) == 1
    assert room.speculations() == []


def test_without_a_budget_nothing_is_prepared() -> None:
    room = Room(OPTIONS.model_copy(update={"max_wasted_per_min": 0}))
    commands = room.says("hello", 0, 500)
    assert not [c for c in commands if isinstance(c, Think)]
    assert room.at(1200) == [Think("r2", 1, (("ann", "hello"),)), Accept("ann", "s1", "hello"), Speak("r2")]


def test_nothing_of_a_draft_shows_when_the_caller_hangs_up() -> None:
    room = Room()
    room.says("hello", 0, 500)
    room.at(800, CallerLeft("ann", alone=True))
    assert room.turns.floor == Open()
    assert not room.when(Speak)
    assert room.speculations() == ["wasted"]


def test_typing_into_a_spoken_turn_changes_its_words() -> None:
    room = Room()
    room.says("what is the weather", 0, 1000)
    commands = room.at(1300, Typed("ann", "in Berlin"))
    assert commands[:2] == [
        Cancel("r2"),
        Think("r4", 1, (("ann", "what is the weather"), ("ann", "in Berlin"))),
    ]
    assert commands[-1] == Speak("r4"), "Enter ends the turn"


def test_the_recogniser_is_hurried_once_the_wait_is_a_long_one() -> None:
    room = Room(OPTIONS.model_copy(update={"end_of_turn_max_ms": 1800}))
    room.at(0, Onset("ann", 0))
    room.at(500, Offset("ann", 500))
    asked = [c for c in room.at(2200) if isinstance(c, Transcribe)]
    assert [(c.revision, c.decisive) for c in asked] == [(0, False), (0, True)], "the same words, once more"
    assert isinstance(room.turns.floor, CallerHas), "nothing is over while words are awaited"
    room.at(2250, Transcribed("s1", 0, "what time is it?"))
    assert room.when(Speak) == [2250]


def test_a_reply_that_was_released_is_held_until_it_is_clear_that_nothing_was_added() -> None:
    room = Room()
    room.says("hello", 0, 500)
    assert Speak("r2") in room.at(1150)
    assert Hold("r2") in room.at(1160, Onset("ann", 1160))
    room.at(1250, Offset("ann", 1250))
    (asked,) = [c for c in room.at(1500) if isinstance(c, Transcribe)]
    room.at(1550, Transcribed(asked.segment, asked.revision, ""))
    room.at(2000)
    room.at(2050, ReplyAudible("r2"))
    assert room.speculations() == ["unchanged", "used"]
    assert [c for _, c in room.log if isinstance(c, Speculated) and c.outcome == "wasted"] == []
