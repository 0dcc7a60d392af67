"""Who offers, who yields, when to wait, when to start over: the rules between two peers, as a value machine.

There is no caller: either side offers when it has something to send. Whose offer yields when both do is
decided by comparing the peer ids, so both sides come to opposite answers alone. aiortc cannot restart ICE;
instead a new connection is built, which the other side sees as a remote restart.

     want                offer sent              answer               transport up
IDLE ───► WAITING ──2 s──► OFFERED ────────────► CONNECTING ────────────► CONNECTED ◄─┐
   │        (impolite 0.3 s)  │ 10 s no answer        │ 15 s                 │ lost    │ healed
   └── remote offer ──────────┼──────────────────────►│                      │         │
                              ▼                       ▼                      ▼         │
                           BACKOFF (then a new connection and an offer, for as long as the peer is there)

Pure: time comes in as seconds on a monotonic clock, what to do comes out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum, auto

#: How long the polite side gives the other to make the first offer, so that it rarely has one to give up.
POLITE_WAIT_S = 2.0
#: How long the impolite side does: a browser with a microphone offers within a few milliseconds, and one that
#: has to take its offer back may never gather an address again (Chromium 156, one time in some twenty).
IMPOLITE_WAIT_S = 0.3
#: An offer not answered by then is lost: the other side missed it, or is a ghost.
#: More than the 5 s that a remote aiortc may need to gather when its STUN server does not answer.
ANSWER_S = 10.0
#: Our offer, sent so long ago, would have been seen by whoever offers now; the one that yields would have.
RESEND_S = 1.0
#: From exchanged descriptions to a working transport; many calls that begin at once on a small machine
#: take long. Later ones are given less: when the network comes back, what was tried without it is in the way.
CONNECT_S = 15.0
RECONNECT_S = 8.0
#: Without one address of the other side within this time there is nothing to wait for: a browser that took an
#: offer back sometimes gathers none for its answer, and does for the next.
NO_ADDRESS_S = 4.0
#: Between two connections thrown away because the other side wanted it; a hostile one could do so for ever.
COOLDOWN_S = 2.0
#: Both sides notice a dead path at about the same time: how long the polite one lets the other begin.
COURTESY_S = 0.5
#: Who leaves closes the connection too, and the news of both may come in either order.
HANG_UP_S = 1.0
#: From the beginning of one attempt to the beginning of the next, the last one for ever: whatever was in the
#: way, the peer is in the room, and a few seconds after the obstacle is gone there should be sound again.
GAPS_S = (0.0, 1.0, 2.0, 4.0)
#: For a peer that never was connected, after FAILED_AFTER attempts: it may be no WebRTC peer at all.
SLOW_GAP_S = 30.0
#: Attempts after which the owner should know. It is tried further on.
FAILED_AFTER = 9
#: Rooms full of peers that lost the same server do not all come back in the same moment.
JITTER_RATIO = 0.25


class Phase(Enum):
    IDLE = auto()
    WAITING = auto()
    OFFERED = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    BACKOFF = auto()


class Do(Enum):
    """What the owner of the connection has to do now."""

    NOTHING = auto()
    OFFER = auto()
    REBUILD_AND_OFFER = auto()
    ANSWER = auto()
    REBUILD_AND_ANSWER = auto()
    #: Take our own offer back first, on the same connection.
    ROLL_BACK_AND_ANSWER = auto()
    #: Send the offer once more: it did not arrive.
    RESEND = auto()
    #: Present the same offer again after the cool-down.
    HOLD = auto()
    IGNORE = auto()


class Negotiation:
    """The state of one pair of peers, across all connections it goes through.

    `jitter` says where in the jitter of a wait to end, from 0 to 1.
    """

    def __init__(self, *, polite: bool, jitter: Callable[[], float] = random.random) -> None:
        self.polite = polite
        self.phase = Phase.IDLE
        #: When `expired` is due; None when nothing is waited for.
        self.deadline_s: float | None = None
        self.attempts = 0
        #: Something to send is not negotiated yet.
        self.wanted = False
        self._followed_up = False
        self._ever = False
        self._was_connected = False
        self._jitter = jitter
        self._attempt_s = 0.0
        self._offered_s = 0.0
        self._connect_by_s = 0.0
        self._yielded_s: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether so many attempts came to nothing that the owner should know."""
        return self.attempts > FAILED_AFTER

    def want(self, now_s: float) -> Do:
        """There is something to send that has not been negotiated."""
        self.wanted = True
        self._followed_up = False
        match self.phase:
            case Phase.IDLE if not self._ever:
                self._go(Phase.WAITING, now_s + (POLITE_WAIT_S if self.polite else IMPOLITE_WAIT_S))
            case Phase.IDLE | Phase.CONNECTED:
                return Do.OFFER
        return Do.NOTHING

    def offered(self, now_s: float) -> None:
        """Our offer, with all there is to send, is on its way."""
        self.wanted = False
        self._ever = True
        self._offered_s = now_s
        self._go(Phase.OFFERED, now_s + ANSWER_S)

    def left_late(self, late_s: float) -> None:
        """Our offer had to wait for its turn so long: the other side's time begins when it is on its way."""
        self._offered_s += late_s
        if self.phase is Phase.OFFERED and self.deadline_s is not None:
            self.deadline_s += late_s

    def offer_arrived(self, now_s: float, *, restarted: bool) -> Do:
        """The other side offers; `restarted` if with other ICE credentials than before."""
        if self.phase is Phase.OFFERED and not self.polite:
            if now_s - self._offered_s < RESEND_S:
                return Do.IGNORE
            self._offered_s = now_s
            return Do.RESEND
        if not restarted and self.phase is not Phase.BACKOFF:
            return Do.ROLL_BACK_AND_ANSWER if self.phase is Phase.OFFERED else Do.ANSWER
        if self.cooldown_s(now_s) > 0:
            return Do.HOLD
        self._yielded_s = now_s
        return Do.REBUILD_AND_ANSWER

    def cooldown_s(self, now_s: float) -> float:
        """How long until the other side may make us start over again."""
        return 0.0 if self._yielded_s is None else max(0.0, self._yielded_s + COOLDOWN_S - now_s)

    def expects_answer(self) -> bool:
        """Whether an answer arriving now belongs to our offer."""
        return self.phase is Phase.OFFERED

    def agreed(self, now_s: float, *, connected: bool, unsatisfied: bool) -> Do:
        """Our answer is on its way, or the other side's is in force.

        `unsatisfied`: there was no place for something we want to send; one offer of our own follows, never
        more than one in a row.
        """
        self._ever = True
        self.wanted = unsatisfied and not self._followed_up
        self._followed_up = unsatisfied
        self._connect_by_s = now_s + (RECONNECT_S if self._was_connected else CONNECT_S)
        self._go(Phase.CONNECTING, now_s + NO_ADDRESS_S)
        return self.connected() if connected else Do.NOTHING

    def connected(self) -> Do:
        """The transport works, or works again before anything was done about it."""
        if self.phase not in (Phase.CONNECTING, Phase.BACKOFF):
            return Do.NOTHING
        self._go(Phase.CONNECTED, None)
        self._was_connected = True
        self.attempts = 0
        return Do.OFFER if self.wanted else Do.NOTHING

    def lost(self, now_s: float, *, at_least_s: float = 0.0) -> Do:
        """The transport broke, or a description could not be sent or applied.

        `at_least_s` is waited in any case before a new attempt.
        """
        if self.phase in (Phase.IDLE, Phase.WAITING, Phase.BACKOFF):
            return Do.NOTHING
        if self.phase is Phase.OFFERED:
            self.wanted = True
        due_s = now_s + at_least_s
        if self.attempts:
            gap_s = GAPS_S[min(self.attempts, len(GAPS_S) - 1)]
            if self.has_failed and not self._was_connected:
                gap_s = SLOW_GAP_S
            due_s = max(due_s, self._attempt_s + gap_s * (1 + JITTER_RATIO * self._jitter()))
        elif self.polite:
            due_s = max(due_s, now_s + COURTESY_S)
        self.attempts += 1
        self._go(Phase.BACKOFF, due_s)
        return self.expired(now_s)

    def resumed(self, now_s: float) -> Do:
        """Messages get through again: start over what was under way, leave a working connection alone."""
        if self.phase in (Phase.OFFERED, Phase.BACKOFF):
            self.attempts = 1
            self._go(Phase.BACKOFF, now_s + (COURTESY_S if self.polite else 0.0))
            return self.expired(now_s)
        return self.want(now_s) if self.wanted else Do.NOTHING

    def expired(self, now_s: float, *, has_address: bool = False) -> Do:
        """Time has passed. Does nothing before `deadline_s`.

        `has_address`: there is at least one address to reach the other side at.
        """
        if self.deadline_s is None or now_s < self.deadline_s:
            return Do.NOTHING
        match self.phase:
            case Phase.CONNECTING if has_address and now_s < self._connect_by_s:
                self._go(Phase.CONNECTING, self._connect_by_s)
                return Do.NOTHING
            case Phase.WAITING:
                return Do.OFFER
            case Phase.BACKOFF:
                self._attempt_s = now_s
                return Do.REBUILD_AND_OFFER
        return self.lost(now_s)

    def _go(self, phase: Phase, deadline_s: float | None) -> None:
        self.phase = phase
        self.deadline_s = deadline_s
