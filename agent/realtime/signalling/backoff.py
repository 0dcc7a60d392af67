"""When to try again. Pure; time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from agent.realtime.codes import HTTP_TOO_MANY_REQUESTS, TERMINAL_CLOSE_CODES, CloseCode

#: A full plan does not empty within seconds, nor does the minute over which a server counts attempts.
OVER_LIMIT_FLOOR_S = 30.0

#: A connection that lasted this long was a good one; the count of attempts starts afresh after it. Otherwise
#: a server that welcomes and closes at once would be asked twice a second for ever.
STABLE_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a lost connection is won back: 0.5, 1, 2, 3, 3 … s, each ±20 %, a thousand times (50 minutes).

    The greatest delay is how long a network may be back without being noticed. Somebody in a call who waits
    for the connection waits for just that, so it is short: after an outage of any length the way back takes
    at most 3.6 s and one connection attempt. It is long enough that two clients behind one address together
    make fewer than the 60 attempts a minute that servers allow.
    """

    initial_s: float = 0.5
    multiplier: float = 2.0
    max_s: float = 3.0
    jitter_ratio: float = 0.2
    #: None: for ever.
    max_attempts: int | None = 1000

    def delay_s(self, attempt: int, *, floor_s: float, spread: float) -> float:
        """The wait before `attempt` (from 1). `spread` in [-1, 1] is where in the jitter it falls.

        Never less than `floor_s`: those who were told the same time to wait are spread out behind it.
        """
        # The exponent is bounded, because a float overflows after a thousand attempts.
        base_s = min(self.initial_s * self.multiplier ** min(attempt - 1, 64), self.max_s)
        delay_s = base_s + base_s * self.jitter_ratio * spread
        return max(delay_s, floor_s + floor_s * self.jitter_ratio * (spread + 1) / 2)

    def allows(self, attempts_made: int, code: int) -> bool:
        """Whether to try once more after a close with `code`."""
        if code in TERMINAL_CLOSE_CODES:
            return False
        return self.max_attempts is None or attempts_made < self.max_attempts


def floor_s(code: int, retry_after_ms: int | None) -> float:
    """The least wait after a close or a refused upgrade with `code`, when `retry_after_ms` was asked for."""
    asked_s = 0.0 if retry_after_ms is None else retry_after_ms / 1000
    is_over_limit = code in (CloseCode.OVER_CONNECTION_LIMIT, HTTP_TOO_MANY_REQUESTS)
    return max(asked_s, OVER_LIMIT_FLOOR_S if is_over_limit else 0.0)
