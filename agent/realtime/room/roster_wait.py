"""After a reconnect the server says who is in the room: until then, and if it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prometheus_client import Counter

logger = logging.getLogger(__name__)

MISSING = Counter("voice_agent_rosters_missing_total", "Reconnects after which no roster of the room came")

#: How long the roster is waited for before asking for it, and how often it is asked for.
ROSTER_S = 5.0
ROSTER_RETRIES = 2


class RosterWait:
    """`ask` asks for the roster, `give_up` is called when it has not come for all that."""

    def __init__(self, *, ask: Callable[[], object], give_up: Callable[[], object]) -> None:
        self._ask = ask
        self._give_up = give_up
        self._timer: asyncio.TimerHandle | None = None
        self._is_on = False

    def begin(self, *, insist: bool) -> None:
        """The next presence is the roster. Without `insist` it may also never come."""
        self.over()
        self._is_on = True
        if insist:
            self._arm(0)

    def over(self) -> bool:
        """There is presence, or nobody cares any more; returns whether the roster was waited for."""
        was_on, self._is_on = self._is_on, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return was_on

    def _arm(self, attempt: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(ROSTER_S, self._late, attempt)

    def _late(self, attempt: int) -> None:
        if attempt < ROSTER_RETRIES:
            self._arm(attempt + 1)
            self._ask()
            return
        self.over()
        MISSING.inc()
        logger.warning("no roster came after a reconnect; who is connected is taken for present")
        self._give_up()
