"""What comes before its time: messages of peers not announced yet, candidates of descriptions to come."""

from __future__ import annotations

from collections import deque

from agent.realtime.frames import Direct
from agent.realtime.negotiation.signals import Candidate

MAX_AGE_S = 2.0
MAX_MESSAGES = 64
MAX_CANDIDATE_AGE_S = 10.0
MAX_EARLY_CANDIDATES = 64


class EarlyMessages:
    """Presence and direct messages race, and an offer must not be lost.

    Keeps at most MAX_MESSAGES for at most MAX_AGE_S; when full, the oldest goes. Pure: time comes in.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Direct]] = deque(maxlen=MAX_MESSAGES)

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, message: Direct, now_s: float) -> None:
        """Hold `message` until its sender is announced."""
        self._forget_old(now_s)
        self._waiting.append((now_s, message))

    def take(self, sender: str, now_s: float) -> list[Direct]:
        """What `sender` said shortly before it was announced, in order."""
        self._forget_old(now_s)
        found = [message for _, message in self._waiting if message.sender == sender]
        rest = [entry for entry in self._waiting if entry[1].sender != sender]
        self._waiting = deque(rest, maxlen=MAX_MESSAGES)
        return found

    def _forget_old(self, now_s: float) -> None:
        while self._waiting and now_s - self._waiting[0][0] > MAX_AGE_S:
            self._waiting.popleft()


class EarlyCandidates:
    """Candidates of one peer that arrive before the description they belong to.

    Keeps at most MAX_EARLY_CANDIDATES for at most MAX_CANDIDATE_AGE_S; when full, the oldest goes. Pure.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Candidate]] = deque(maxlen=MAX_EARLY_CANDIDATES)

    def keep(self, candidate: Candidate, now_s: float) -> None:
        """Hold `candidate` until its description comes.

        One that does not name it may belong to an offer that was given up in a collision. The end of
        candidates never does, and taken for that of the next description it would shut out all that follow.
        """
        if candidate.text is not None and candidate.ufrag is not None:
            self._waiting.append((now_s, candidate))

    def take(self, ufrag: str | None, now_s: float) -> list[Candidate]:
        """What belongs to the description with `ufrag`, in order."""
        young = [entry for entry in self._waiting if now_s - entry[0] <= MAX_CANDIDATE_AGE_S]
        found = [candidate for _, candidate in young if candidate.ufrag == ufrag]
        rest = [entry for entry in young if entry[1].ufrag != ufrag]
        self._waiting = deque(rest, maxlen=MAX_EARLY_CANDIDATES)
        return found
