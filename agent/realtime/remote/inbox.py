"""What one remote peer has to work through: what it said, and what happened to its connections."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from prometheus_client import Counter

from agent.ratelimit import TokenBucket
from agent.realtime.connections.connection import Connection
from agent.realtime.negotiation import sdp
from agent.realtime.negotiation.signals import Candidate, Description

DROPPED_SIGNALS = Counter(
    "voice_agent_signals_dropped_total", "Signals of a remote peer dropped because too many waited"
)
DROPPED_OFFERS = Counter(
    "voice_agent_offers_dropped_total", "Offers of a remote peer that had to wait and gave way to newer ones"
)

#: Signals that wait while one is being worked on; candidates come in dozens.
MAX_WAITING_SIGNALS = 512
#: Each offer costs us an answer, milliseconds of this machine. A peer that changes what it sends makes one
#: for each change, and gets an answer to it before it makes the next.
OFFERS_PER_S = 1.0
OFFER_BURST = 10


class Ask(Enum):
    SEND = auto()
    RESUME = auto()


class _Release(Enum):
    #: What was held is due.
    HELD = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """The state of `connection` changed, or whether anything arrives on it."""

    connection: Connection


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One more address of our own, for `connection`."""

    connection: Connection
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A description that did not get through, as far as the server says."""

    sdp: str


@dataclass(frozen=True, slots=True)
class StartOver:
    """Our own id is another now: to the other side we are somebody else."""

    polite: bool


Item: TypeAlias = Description | Candidate | Ask | Moved | Found | Undelivered | StartOver


class Inbox:
    """Items in order, except that an offer may have to wait.

    Offers beyond OFFER_BURST are given out once in 1 / OFFERS_PER_S seconds, each with the candidates that
    came behind it. Of several that wait the newest is kept: what it says holds, and the older ones are
    dropped and counted. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item | _Release] = asyncio.Queue()
        self._offers = TokenBucket(OFFERS_PER_S, OFFER_BURST, asyncio.get_running_loop().time())
        #: An offer, and the candidates behind it.
        self._held: list[Description | Candidate] = []
        self._due: deque[Description | Candidate] = deque()

    def put(self, item: Item) -> None:
        # Only what strangers send is bounded; what happens here is little, and must not be lost.
        if isinstance(item, Description | Candidate) and self._queue.qsize() >= MAX_WAITING_SIGNALS:
            DROPPED_SIGNALS.inc()
        else:
            self._queue.put_nowait(item)

    async def get(self, deadline_s: float | None) -> Item | None:
        """The next item, or None when `deadline_s` on the loop's clock has passed."""
        try:
            async with asyncio.timeout_at(deadline_s):
                while not self._due:
                    item = await self._queue.get()
                    if item is _Release.HELD:
                        self._release()
                    elif not isinstance(item, _Release) and not self._waits(item):
                        return item
        except TimeoutError:
            return None
        return self._due.popleft()

    def hold(self, offer: Description, wait_s: float) -> None:
        """Give `offer` out again in `wait_s`, unless a newer one comes first."""
        if self._held:
            DROPPED_OFFERS.inc()
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(wait_s, self._queue.put_nowait, _Release.HELD)
        self._held = [offer]

    def _release(self) -> None:
        self._due.extend(self._held)
        self._held = []
        self._offers.take(asyncio.get_running_loop().time())

    def _waits(self, item: Item) -> bool:
        match item:
            case Description("offer"):
                now_s = asyncio.get_running_loop().time()
                wait_s = self._offers.wait_s(now_s)
                if self._held or wait_s > 0:
                    self.hold(item, wait_s)
                    return True
                self._offers.take(now_s)
            case Candidate() if self._held:
                if len(self._held) <= sdp.MAX_CANDIDATES:
                    self._held.append(item)
                return True
        return False
