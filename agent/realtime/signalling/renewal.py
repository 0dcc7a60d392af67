"""A new connection before the token of the old one runs out: first the new one, then the end of the old."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from prometheus_client import Counter

from agent.realtime.codes import CloseCode
from agent.realtime.errors import DisconnectedError, SignallingError
from agent.realtime.frames import Presence, Welcome
from agent.realtime.signalling.link import Incoming, Link, Loss
from agent.realtime.signalling.overlap import Overlap, Rosters
from agent.realtime.signalling.subscriptions import Subscriptions

logger = logging.getLogger(__name__)

#: ``failed`` may be tried again.
Outcome: TypeAlias = Literal["renewed", "another_identity", "failed"]

RENEWALS = Counter(
    "voice_agent_signalling_renewals", "Attempts to replace a token in time, by how they ended.", ["result"]
)

#: A connection is not replaced sooner than this after its welcome, nor its replacement tried more often.
MIN_AGE_S = 3.0
#: Time for another attempt or two, if the token lives long enough to have it.
LEAD_S = 30.0
#: Half a lifetime may be spent before a short token is replaced, a fifth is left of a long one.
LEAD_SHARE = 0.2
MAX_LEAD_SHARE = 0.5
#: Who joined at the same time is spread over this share of the lifetime.
SPREAD_SHARE = 0.05
#: Servers round their clock down to a second.
CLOCK_ERROR_S = 1.0
#: How long the switch may hold up requests. It takes two round trips.
SWITCH_S = 3.0
#: How long the rosters of channels where somebody is are waited for; some servers may send none.
ROSTERS_S = 1.0
#: Longer waits are cut short: the event loop's clock does not go on for ever.
MAX_WAIT_S = 30 * 86_400.0


def renew_after_s(welcome: Welcome, spread: float) -> float | None:
    """How long after `welcome` its token should be replaced; None when it need not be, or cannot in time.

    By the server's own clock, which need not agree with ours. `spread` in [-1, 1] is where in the jitter it
    falls.
    """
    if welcome.expires_at is None:
        return None
    lifetime_s = welcome.expires_at - welcome.server_time - CLOCK_ERROR_S
    lead_s = max(LEAD_SHARE * lifetime_s, min(LEAD_S, MAX_LEAD_SHARE * lifetime_s))
    after_s = lifetime_s - lead_s - SPREAD_SHARE * lifetime_s * (spread + 1) / 2
    after_s = max(after_s, MIN_AGE_S)
    return min(after_s, MAX_WAIT_S) if after_s < lifetime_s else None


class Line:
    """A link that is read in a task of its own. Where its frames go can be changed meanwhile."""

    def __init__(
        self, link: Link, deliver: Callable[[Incoming], bool], *, is_successor: bool = False
    ) -> None:
        self.link = link
        self.deliver = deliver
        #: Who is there, as far as was delivered.
        self.rosters = Rosters()
        self._is_successor = is_successor
        #: Whether the server took the end of the line before for our own.
        self.is_taken_for_gone = False

    def start(self, tasks: asyncio.TaskGroup) -> asyncio.Task[Loss]:
        """Read it; the task ends when the link is lost."""
        self.lost = tasks.create_task(self.link.serve(self._take))
        return self.lost

    def _take(self, frame: Incoming) -> bool:
        if isinstance(frame, Presence):
            if self._is_successor and any(m.peer_id == self.link.welcome.peer_id for m in frame.left):
                # It counts connections instead of peers: to the others we have to join again, visibly.
                logger.warning("signalling: the server takes the end of one connection for the peer's")
                self.is_taken_for_gone = True
                self.link.drop("taken for gone")
                return True
            self.rosters.apply(frame)
        return self.deliver(frame)


async def renew_in_time(line: Line, spread: float, attempt: Callable[[], Awaitable[Outcome]]) -> None:
    """Wait until the token of `line` should be replaced, and make attempts until one is final.

    When no time is left it is given up: the server will close the connection, and the client reconnects.
    """
    loop = asyncio.get_running_loop()
    welcome = line.link.welcome
    wait_s = renew_after_s(welcome, spread)
    if wait_s is None or welcome.expires_at is None:
        return
    dead_s = loop.time() + welcome.expires_at - welcome.server_time - CLOCK_ERROR_S
    while loop.time() + wait_s < dead_s:
        await asyncio.sleep(wait_s)
        outcome = await attempt()
        RENEWALS.labels(outcome).inc()
        if outcome != "failed":
            return
        wait_s = min(max(MIN_AGE_S, (dead_s - loop.time()) / 3), MAX_WAIT_S)


class Renewal:
    """One attempt to put another connection in the place of `old`.

    What the server has for us goes to both in between; `Overlap` makes one stream of it. To the others in a
    room nothing happens, since we are there with one connection or the other all the time.
    """

    def __init__(self, old: Line, subscriptions: Subscriptions, gate: asyncio.Lock) -> None:
        """`gate` is held while requests have to wait."""
        self._old = old
        self._deliver = old.deliver
        self._subscriptions = subscriptions
        self._gate = gate
        self._overlap = Overlap()
        self._heard = asyncio.Event()

    async def run(
        self,
        tasks: asyncio.TaskGroup,
        open_link: Callable[[], Awaitable[Link]],
        switch: Callable[[Line], None],
    ) -> Outcome:
        """Requests are to use the line that `switch` is called with; it is read in `tasks`."""
        try:
            link = await open_link()
        except SignallingError as error:
            return _failed(type(error).__name__)
        if link.welcome.peer_id != self._old.link.welcome.peer_id:
            # To the others this would be somebody else. The reconnect that comes is prepared for that.
            await link.close(CloseCode.NORMAL, "another identity")
            return "another_identity"
        self._old.deliver = self._deliver_and_remember
        new = Line(link, self._hold, is_successor=True)
        new.start(tasks)
        try:
            async with self._gate:
                async with asyncio.timeout(SWITCH_S):
                    await self._catch_up(new)
                switch(new)
        except (SignallingError, TimeoutError) as error:
            self._old.deliver = self._deliver
            await link.close(CloseCode.NORMAL, "not taken")
            return _failed(type(error).__name__)
        except asyncio.CancelledError:
            new.lost.cancel()
            raise
        await self._take_over(new)
        return "renewed"

    async def _catch_up(self, new: Line) -> None:
        """Bring `new` to where the old line is: everything asked for was answered, every channel joined."""
        await self._old.link.idle()
        await self._subscriptions.copy_to(new.link)
        with suppress(TimeoutError):
            async with asyncio.timeout(ROSTERS_S):
                while self._old.rosters.inhabited() - new.rosters.known():
                    self._heard.clear()
                    await self._heard.wait()
        if new.lost.done():
            raise DisconnectedError("the new connection was lost at once")

    async def _take_over(self, new: Line) -> None:
        """End the old line, reading it to its last frame, and go on with what only the new one brought."""
        await self._old.link.close(CloseCode.NORMAL, "renewed")
        await asyncio.wait([self._old.lost])
        new.rosters.inherit(self._old.rosters)
        joined, left = new.rosters.news(self._old.rosters, new.link.welcome.peer_id)
        # Who came is told before what they said, who went after it.
        for frame in (*joined, *self._overlap.unseen(), *left):
            if not self._deliver(frame):
                new.link.drop("event queue full")
                break
        new.deliver = self._deliver

    def _deliver_and_remember(self, frame: Incoming) -> bool:
        self._overlap.was_delivered(frame)
        return self._deliver(frame)

    def _hold(self, frame: Incoming) -> bool:
        self._heard.set()
        return self._overlap.hold(frame)


def _failed(why: str) -> Outcome:
    logger.warning("signalling: a token could not be replaced in time: %s", why)
    return "failed"
