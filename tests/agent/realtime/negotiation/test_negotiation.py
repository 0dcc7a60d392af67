"""The rules between two peers, without peers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.negotiation.rules import (
    ANSWER_S,
    CONNECT_S,
    COOLDOWN_S,
    COURTESY_S,
    FAILED_AFTER,
    GAPS_S,
    HANG_UP_S,
    IMPOLITE_WAIT_S,
    JITTER_RATIO,
    NO_ADDRESS_S,
    POLITE_WAIT_S,
    RECONNECT_S,
    RESEND_S,
    SLOW_GAP_S,
    Do,
    Negotiation,
    Phase,
)


def fresh(*, polite: bool) -> Negotiation:
    return Negotiation(polite=polite, jitter=lambda: 0.0)


def connected(*, polite: bool, now_s: float = 0.0) -> Negotiation:
    side = fresh(polite=polite)
    side.offered(now_s)
    side.agreed(now_s, connected=False, unsatisfied=False)
    assert side.connected() is Do.NOTHING
    assert side.phase is Phase.CONNECTED
    return side


def test_the_impolite_side_waits_a_moment_for_an_offer_that_is_on_its_way():
    side = Negotiation(polite=False)
    assert side.want(10.0) is Do.NOTHING
    assert side.expired(10.0 + IMPOLITE_WAIT_S - 0.01) is Do.NOTHING
    assert side.expired(10.0 + IMPOLITE_WAIT_S) is Do.OFFER


def test_an_offer_that_comes_in_that_moment_is_answered():
    side = Negotiation(polite=False)
    side.want(10.0)
    assert side.offer_arrived(10.1, restarted=False) is Do.ANSWER


def test_the_polite_side_waits_two_seconds_for_the_other():
    side = Negotiation(polite=True)
    assert side.want(10.0) is Do.NOTHING
    assert side.expired(10.0 + POLITE_WAIT_S - 0.01) is Do.NOTHING
    assert side.expired(10.0 + POLITE_WAIT_S) is Do.OFFER


def test_the_polite_side_answers_what_comes_while_it_waits():
    side = Negotiation(polite=True)
    side.want(0.0)
    assert side.offer_arrived(1.0, restarted=False) is Do.ANSWER
    assert side.agreed(1.1, connected=False, unsatisfied=False) is Do.NOTHING
    assert side.connected() is Do.NOTHING
    assert side.deadline_s is None


def test_the_polite_side_waits_only_before_the_first_negotiation():
    assert connected(polite=True).want(5.0) is Do.OFFER


def test_in_a_collision_exactly_one_side_yields():
    impolite, polite = Negotiation(polite=False), Negotiation(polite=True)
    impolite.offered(0.0)
    polite.offered(0.0)
    assert impolite.offer_arrived(0.1, restarted=False) is Do.IGNORE
    assert impolite.expects_answer()
    assert polite.offer_arrived(0.1, restarted=False) is Do.ROLL_BACK_AND_ANSWER


def test_an_offer_that_was_not_seen_is_sent_again_when_the_other_side_offers():
    impolite = fresh(polite=False)
    impolite.offered(0.0)
    assert impolite.offer_arrived(RESEND_S - 0.01, restarted=False) is Do.IGNORE
    assert impolite.offer_arrived(RESEND_S, restarted=False) is Do.RESEND
    assert impolite.offer_arrived(RESEND_S + 0.1, restarted=False) is Do.IGNORE, "once a second at most"
    assert impolite.deadline_s == ANSWER_S, "and not for ever"


@pytest.mark.parametrize("polite", [True, False])
def test_a_remote_restart_is_answered_from_a_new_connection(polite):
    assert connected(polite=polite).offer_arrived(5.0, restarted=True) is Do.REBUILD_AND_ANSWER


@pytest.mark.parametrize("polite", [True, False])
def test_a_further_offer_on_a_working_connection_is_just_answered(polite):
    assert connected(polite=polite).offer_arrived(5.0, restarted=False) is Do.ANSWER


def test_a_peer_that_restarts_all_the_time_is_held_off():
    side = connected(polite=True)
    assert side.offer_arrived(5.0, restarted=True) is Do.REBUILD_AND_ANSWER
    side.agreed(5.0, connected=True, unsatisfied=False)
    assert side.offer_arrived(6.5, restarted=True) is Do.HOLD
    assert side.cooldown_s(6.5) == pytest.approx(COOLDOWN_S - 1.5)
    assert side.offer_arrived(5.0 + COOLDOWN_S, restarted=True) is Do.REBUILD_AND_ANSWER


def test_an_answer_nobody_waits_for_is_not_expected():
    side = Negotiation(polite=False)
    assert not side.expects_answer()
    assert not connected(polite=False).expects_answer()


def test_an_offer_that_stays_unanswered_starts_the_ladder():
    side = Negotiation(polite=False)
    side.offered(0.0)
    assert side.expired(ANSWER_S - 0.01) is Do.NOTHING
    assert side.expired(ANSWER_S) is Do.REBUILD_AND_OFFER


def test_an_offer_that_left_late_is_given_its_time():
    side = fresh(polite=False)
    side.want(0.0)
    side.offered(0.0)
    side.left_late(3.0)
    assert side.offer_arrived(3.0 + RESEND_S / 2, restarted=False) is Do.IGNORE
    assert side.expired(ANSWER_S) is Do.NOTHING
    assert side.phase is Phase.OFFERED
    side.expired(ANSWER_S + 3.0)
    assert side.phase is not Phase.OFFERED


def test_a_connection_that_does_not_come_up_starts_the_ladder():
    side = Negotiation(polite=False)
    side.offered(0.0)
    side.agreed(1.0, connected=False, unsatisfied=False)
    assert side.expired(1.0 + NO_ADDRESS_S, has_address=True) is Do.NOTHING
    assert side.expired(1.0 + CONNECT_S - 0.01, has_address=True) is Do.NOTHING
    assert side.expired(1.0 + CONNECT_S, has_address=True) is Do.REBUILD_AND_OFFER


def test_an_answer_without_an_address_behind_it_is_not_waited_for():
    side = Negotiation(polite=False)
    side.offered(0.0)
    side.agreed(1.0, connected=False, unsatisfied=False)
    assert side.expired(1.0 + NO_ADDRESS_S - 0.01) is Do.NOTHING
    assert side.expired(1.0 + NO_ADDRESS_S) is Do.REBUILD_AND_OFFER


def climb(side: Negotiation, now_s: float, attempts: int, lasting_s: float = 0.0) -> list[float]:
    """The times from the beginning of one failed attempt to the next, or from the loss to the first."""
    gaps, began_s = [], now_s
    do = side.lost(now_s)
    for _ in range(attempts):
        if do is Do.NOTHING:
            assert side.phase is Phase.BACKOFF
            now_s = side.deadline_s
            do = side.expired(now_s)
        assert do is Do.REBUILD_AND_OFFER
        gaps.append(now_s - began_s)
        began_s = now_s
        side.offered(now_s)
        now_s += lasting_s
        do = side.lost(now_s)
    return gaps


def test_attempts_that_fail_at_once_are_a_few_seconds_apart_for_ever():
    side = connected(polite=False)
    gaps = climb(side, 100.0, attempts=30)
    assert gaps[: len(GAPS_S)] == pytest.approx(list(GAPS_S))
    assert gaps[len(GAPS_S) :] == pytest.approx([GAPS_S[-1]] * (30 - len(GAPS_S)))


def test_after_an_attempt_that_took_long_the_next_one_follows_at_once():
    assert climb(connected(polite=False), 100.0, attempts=9, lasting_s=9.0)[1:] == pytest.approx([9.0] * 8)


def test_attempts_to_reach_whoever_never_answered_become_rare():
    side = fresh(polite=False)
    side.offered(0.0)
    gaps = climb(side, 0.0, attempts=FAILED_AFTER + 3)
    assert gaps[-1] == pytest.approx(SLOW_GAP_S)


def test_after_many_attempts_the_owner_is_told_and_it_goes_on():
    side = connected(polite=False)
    climb(side, 0.0, attempts=FAILED_AFTER - 1)
    assert not side.has_failed
    side.offered(100.0)
    side.lost(100.0)
    assert side.has_failed
    assert side.phase is Phase.BACKOFF
    side.expired(side.deadline_s)
    side.offered(200.0)
    side.agreed(200.0, connected=True, unsatisfied=False)
    assert not side.has_failed


def test_waits_are_spread():
    side = Negotiation(polite=False, jitter=lambda: 1.0)
    side.offered(0.0)
    assert climb(side, 0.0, attempts=3)[1:] == pytest.approx([g * (1 + JITTER_RATIO) for g in GAPS_S[1:3]])


def test_the_polite_side_leaves_the_first_attempt_to_the_other():
    assert climb(connected(polite=True), 100.0, attempts=1) == pytest.approx([COURTESY_S])


def test_whoever_hung_up_gets_a_moment_to_leave():
    side = connected(polite=False)
    assert side.lost(100.0, at_least_s=HANG_UP_S) is Do.NOTHING
    assert side.expired(100.0 + HANG_UP_S - 0.01) is Do.NOTHING
    assert side.expired(100.0 + HANG_UP_S) is Do.REBUILD_AND_OFFER


def test_a_path_that_opens_again_needs_no_new_connection():
    side = connected(polite=True)
    assert side.lost(100.0) is Do.NOTHING
    assert side.connected() is Do.NOTHING
    assert side.phase is Phase.CONNECTED
    assert side.deadline_s is None


def test_an_offer_that_was_under_way_when_the_path_died_is_still_owed_when_it_is_back():
    side = connected(polite=True)
    side.offered(99.0)
    assert side.lost(100.0) is Do.NOTHING
    assert side.connected() is Do.OFFER


def test_a_connection_that_worked_once_is_given_less_time_to_come_back():
    side = connected(polite=False)
    side.lost(100.0)
    side.offered(100.0)
    side.agreed(100.0, connected=False, unsatisfied=False)
    side.expired(100.0 + NO_ADDRESS_S, has_address=True)
    assert side.deadline_s == pytest.approx(100.0 + RECONNECT_S)


def test_success_resets_the_ladder():
    side = connected(polite=False)
    for _ in range(20):
        assert side.lost(0.0) is Do.REBUILD_AND_OFFER
        side.offered(0.0)
        side.agreed(0.0, connected=True, unsatisfied=False)
        assert side.attempts == 0


@pytest.mark.parametrize("polite", [True, False])
def test_after_many_attempts_the_other_side_can_still_come_back(polite):
    side = connected(polite=polite)
    climb(side, 0.0, attempts=FAILED_AFTER + 1)
    assert side.offer_arrived(500.0, restarted=False) is Do.REBUILD_AND_ANSWER


def test_an_offer_during_backoff_is_answered_from_a_new_connection():
    side = connected(polite=True)
    side.lost(0.0)
    assert side.offer_arrived(0.5, restarted=False) is Do.REBUILD_AND_ANSWER


def test_signalling_coming_back_leaves_a_working_connection_alone():
    assert connected(polite=False).resumed(50.0) is Do.NOTHING


def test_signalling_coming_back_starts_a_fresh_ladder():
    side = connected(polite=False)
    climb(side, 0.0, attempts=FAILED_AFTER + 1)
    assert side.resumed(50.0) is Do.REBUILD_AND_OFFER
    assert not side.has_failed


def test_what_was_wanted_meanwhile_is_offered_when_signalling_is_back():
    side = connected(polite=False)
    assert side.want(1.0) is Do.OFFER
    assert side.resumed(50.0) is Do.OFFER, "the offer could not be made, so it is still owed"


def test_what_found_no_place_is_offered_once_and_never_twice_in_a_row():
    side = Negotiation(polite=True)
    side.want(0.0)
    assert side.agreed(1.0, connected=True, unsatisfied=True) is Do.OFFER
    side.offered(1.0)
    assert side.agreed(2.0, connected=True, unsatisfied=True) is Do.NOTHING


def test_a_follow_up_waits_until_the_connection_stands():
    side = Negotiation(polite=True)
    assert side.agreed(1.0, connected=False, unsatisfied=True) is Do.NOTHING
    assert side.connected() is Do.OFFER


def test_losing_what_never_was_changes_nothing():
    side = Negotiation(polite=True)
    assert side.lost(0.0) is Do.NOTHING
    assert side.phase is Phase.IDLE


class Wire:
    """Two sides under a virtual clock, with messages that take time and may be lost."""

    def __init__(self, latency_s: float, losses: list[bool]):
        self.sides = (Negotiation(polite=True), Negotiation(polite=False))
        self.ufrags = [0, 0]
        self.seen: list[int | None] = [None, None]
        self.now_s = 0.0
        self._latency_s = latency_s
        self._losses = iter(losses)
        self._flying: list[tuple[float, int, str, int]] = []
        self._ids = 0

    def perform(self, me: int, do: Do) -> None:
        if do in (Do.REBUILD_AND_OFFER, Do.REBUILD_AND_ANSWER):
            self._ids += 1
            self.ufrags[me] = self._ids * 2 + me
            self.seen[me] = None
        if do is Do.RESEND:
            self._send(me, "offer")
        if do in (Do.OFFER, Do.REBUILD_AND_OFFER):
            self.sides[me].offered(self.now_s)
            self._send(me, "offer")

    def _send(self, me: int, kind: str) -> None:
        if not next(self._losses, False):
            self._flying.append((self.now_s + self._latency_s, 1 - me, kind, self.ufrags[me]))

    def _deliver(self, me: int, kind: str, ufrag: int) -> None:
        side = self.sides[me]
        if kind == "answer":
            if side.expects_answer():
                self.seen[me] = ufrag
                self.perform(me, side.agreed(self.now_s, connected=False, unsatisfied=False))
            return
        restarted = self.seen[me] not in (None, ufrag)
        do = side.offer_arrived(self.now_s, restarted=restarted)
        if do is Do.HOLD:
            self._flying.append((self.now_s + side.cooldown_s(self.now_s), me, kind, ufrag))
        elif do is Do.RESEND:
            self.perform(me, do)
        elif do is not Do.IGNORE:
            self.perform(me, do)
            self.seen[me] = ufrag
            self._send(me, "answer")
            self.perform(me, side.agreed(self.now_s, connected=False, unsatisfied=False))

    def run(self, until_s: float) -> None:
        while self.now_s < until_s and not self.is_up():
            times = [entry[0] for entry in self._flying]
            times += [side.deadline_s for side in self.sides if side.deadline_s is not None]
            if not times:
                return
            self.now_s = max(self.now_s, min(times))
            for entry in [entry for entry in self._flying if entry[0] <= self.now_s]:
                self._flying.remove(entry)
                self._deliver(*entry[1:])
            for me, side in enumerate(self.sides):
                self.perform(me, side.expired(self.now_s))

    def is_up(self) -> bool:
        """Both hold descriptions of each other's present connection."""
        agreed = all(side.phase is Phase.CONNECTING for side in self.sides)
        return agreed and self.seen == [self.ufrags[1], self.ufrags[0]]


@given(
    latency_s=st.floats(0.001, 1.5),
    losses=st.lists(st.booleans(), max_size=8),
    wanting=st.sampled_from([(0,), (1,), (0, 1), (1, 0)]),
    polite_starts_s=st.floats(0.0, 4.0),
)
def test_two_sides_always_agree_in_the_end(latency_s, losses, wanting, polite_starts_s):
    wire = Wire(latency_s, losses)
    for me in wanting:
        wire.now_s = polite_starts_s if me == 0 else 0.0
        wire.perform(me, wire.sides[me].want(wire.now_s))
    wire.run(until_s=600.0)
    assert wire.is_up()
