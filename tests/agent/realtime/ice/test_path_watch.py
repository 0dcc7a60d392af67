"""When a path counts as dead, in virtual time."""

from __future__ import annotations

from agent.realtime.ice.path_watch import ASK_AFTER_TICKS, LOST_AFTER_TICKS, TICK_S, PathWatch, Verdict


def verdicts(watch: PathWatch, *heard: int) -> list[Verdict]:
    return [watch.tick(count) for count in heard]


def test_a_path_that_carries_is_never_asked():
    watch = PathWatch()
    assert set(verdicts(watch, *range(1, 100))) == {Verdict.NOTHING}
    assert not watch.is_silent


def test_a_quiet_path_is_asked_after_a_second_and_dead_after_four():
    watch = PathWatch()
    watch.tick(10)
    quiet = verdicts(watch, *[10] * (LOST_AFTER_TICKS + 3))
    assert quiet.index(Verdict.ASK) == ASK_AFTER_TICKS - 1
    assert quiet.index(Verdict.LOST) == LOST_AFTER_TICKS - 1
    assert quiet.count(Verdict.LOST) == 1
    assert quiet[LOST_AFTER_TICKS:] == [Verdict.ASK] * 3
    assert watch.is_silent
    assert (ASK_AFTER_TICKS * TICK_S, LOST_AFTER_TICKS * TICK_S) == (1.0, 4.0)


def test_one_datagram_in_time_is_enough():
    watch = PathWatch()
    for heard in range(20):
        assert Verdict.LOST not in verdicts(watch, *[heard] * (LOST_AFTER_TICKS - 1))


def test_a_dead_path_that_carries_again_is_reported_once():
    watch = PathWatch()
    verdicts(watch, *[0] * (LOST_AFTER_TICKS + 1))
    assert verdicts(watch, 1, 2, 2) == [Verdict.BACK, Verdict.NOTHING, Verdict.NOTHING]
    assert not watch.is_silent
