"""Sending no faster than a server allows."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Counter

from agent.ratelimit import TokenBucket

#: Servers close a connection that makes more than 100 publishes and sends a second, or 200 at once. What left
#: here evenly may arrive in a heap, so ours are fewer.
MESSAGES_PER_S = 80.0
MESSAGE_BURST = 100

PACED = Counter("voice_agent_signalling_paced", "Messages that waited because many had been sent.")


class Pacer:
    """A token bucket to wait at, first come, first served. Belongs to one event loop."""

    def __init__(self, rate_per_s: float = MESSAGES_PER_S, burst: float = MESSAGE_BURST) -> None:
        self._bucket = TokenBucket(rate_per_s, burst, time.monotonic())
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Return when one more message may be sent; at once as long as there are few."""
        async with self._turn:
            if self._bucket.take(time.monotonic()):
                return
            PACED.inc()
            while not self._bucket.take(time.monotonic()):  # noqa: ASYNC110 (time is the only event)
                await asyncio.sleep(self._bucket.wait_s(time.monotonic()))
