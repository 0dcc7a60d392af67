"""What an encoder is told of losses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.sending.reported_loss import STEPS, ReportedLoss


def after(*percents: float) -> list[int]:
    """What is expected after each report."""
    loss, expected = ReportedLoss(), []
    for percent in percents:
        loss.report(round(percent * 256 / 100))
        expected.append(loss.percent)
    return expected


def test_the_reports_of_the_picture_lead_to_what_it_shows():
    assert after(0, 3, 1, 0, 12, 9, 14, 0, 0, 0, 0, 0, 0, 0) == [0, 2, 2, 2, 5, 5, *[10] * 7, 5]


def test_a_path_that_loses_is_believed_within_two_reports_and_a_clean_one_after_several():
    assert after(10, 10)[-1] >= 5
    clean = after(*[20.0] * 5, *[0.0] * 40)
    assert clean[4] == 20
    assert clean[6] > 0
    assert clean[-1] == 0
    assert sorted(clean[4:], reverse=True) == clean[4:]


def test_a_figure_that_wavers_about_the_edge_of_a_step_changes_nothing():
    assert set(after(*[4.5] * 30, *[5.0, 3.4] * 30)[30:]) == {5}


@given(st.lists(st.integers(0, 255)))
def test_it_is_always_one_of_the_steps(fractions: list[int]):
    loss = ReportedLoss()
    for fraction in fractions:
        loss.report(fraction)
        assert loss.percent in dict(STEPS)
