from __future__ import annotations

import pytest

from benchmarks.recognition_docs import ALONE, FULL_WINDOW, PAUSE_MS, SAME_SAMPLES, Errors, bars

#: Three hundred recordings of four words, each heard at two places.
RECORDINGS = 300
HEARD = {"sentences": {"n": RECORDINGS, "words": 4.0 * RECORDINGS}}


def judged(ours: list[list[int]], peer: list[list[int]]) -> dict[str, tuple[float, float]]:
    errors: Errors = {"ours": ours, "ours, live": ours}
    errors |= dict.fromkeys((FULL_WINDOW, SAME_SAMPLES, ALONE), peer)
    return {what: (value, limit) for what, value, limit in bars(HEARD, errors, {})}


def test_other_places_that_are_misheard_are_no_difference() -> None:
    ours = [[3, 0]] * 10 + [[0, 0]] * (RECORDINGS - 10)
    peer = [[0, 3]] * 10 + [[0, 0]] * (RECORDINGS - 10)
    found = judged(ours, peer)
    assert len(found) == 12
    assert [value for value, _ in found.values()] == [0.0] * 12


def test_worse_than_any_peer_is_above_the_limit() -> None:
    ours = [[1, 1]] * 30 + [[0, 0]] * (RECORDINGS - 30)
    found = judged(ours, [[0, 0]] * RECORDINGS)
    assert all(value > limit for value, limit in found.values())
    assert found[f"ours: share misheard above that of {ALONE}"][0] == pytest.approx(0.1)


def test_what_a_few_recordings_do_may_be_chance() -> None:
    ours = [[4, 4], [4, 4]] + [[0, 0]] * (RECORDINGS - 2)
    peer = [[0, 0]] * (RECORDINGS - 2) + [[1, 1], [1, 1]]
    assert all(value <= limit for value, limit in judged(ours, peer).values())


def test_the_head_start_counts_for_no_less_than_the_wait_for_the_pause() -> None:
    """A guess that is there when it is asked for has still taken the time since the last sound."""
    cost = {"a sentence": {"guess_ms": 0.0, "after_last_sound_ms": 150.0, "faster_whisper_ms": 1000.0}}
    ((_, share, limit),) = bars({}, {}, cost)
    assert share == pytest.approx(150 / (PAUSE_MS + 1000))
    assert share < limit
