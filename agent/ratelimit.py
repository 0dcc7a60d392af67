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


class RateLimiter:
    """Token buckets in a table of bounded size."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, client: str, *, take: bool = True) -> float:
        """0 and, with `take`, one token less; or how long until the client has one."""
        limit, now = self._limit, self._clock()
        tokens, since = self._buckets.pop(client, (float(limit.burst), now))
        tokens = min(float(limit.burst), tokens + (now - since) * limit.per_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed and take else tokens, now)
        while len(self._buckets) > limit.max_clients:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / limit.per_minute


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
