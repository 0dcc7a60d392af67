"""How many requests a client may make: token buckets in a table of bounded size."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket for each client: `burst` at once, `per_minute` in the long run."""

    per_minute: float = 30
    burst: int = 10
    #: Clients remembered. Beyond it the one heard from least recently is forgotten, which gives it a
    #: full bucket again: memory stays bounded, and a flood of addresses never locks anybody out.
    max_clients: int = 4096


class TokenBucket:
    """Allows `burst` at once and `rate_per_s` in the long run. Pure; `now_s` is any monotonic clock."""

    __slots__ = ("_burst", "_level", "_rate_per_s", "_updated_s")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = burst
        self._updated_s = now_s

    def wait_s(self, now_s: float) -> float:
        """How long until there is one to take; 0 when there is."""
        self._level = min(self._burst, self._level + (now_s - self._updated_s) * self._rate_per_s)
        self._updated_s = now_s
        return max(0.0, 1 - self._level) / self._rate_per_s

    def take(self, now_s: float, count: float = 1) -> bool:
        """Take `count`; False when there is not even one left. What is taken beyond that is owed."""
        if self.wait_s(now_s) > 0:
            return False
        self._level -= count
        return True


class RateLimiter:
    """Token buckets in a table of bounded size."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, client: str, *, take: bool = True) -> float:
        """0 and, with `take`, one token less; or how long until the client has one."""
        limit, now_s = self._limit, self._clock()
        bucket = self._buckets.pop(client, None) or TokenBucket(limit.per_minute / 60, limit.burst, now_s)
        self._buckets[client] = bucket
        while len(self._buckets) > limit.max_clients:
            self._buckets.popitem(last=False)
        wait_s = bucket.wait_s(now_s)
        if take and not wait_s:
            bucket.take(now_s)
        return wait_s


def client_key(host: str) -> str:
    """Who a client is for rate limits: an IPv4 address, or the /64 an IPv6 address comes from."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        # How a socket for both families names the callers of IPv4: one /64 would be all of them.
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network(f"{host}/64", strict=False))
