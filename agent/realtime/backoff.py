"""When to try again, and when to look whether the line is still alive. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from .codes import TERMINAL_CLOSE_CODES, CloseCode

#: A full plan does not empty within seconds.
OVER_LIMIT_FLOOR_S = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a lost connection is won back: 0.5, 1, 2, 4 … 30 s, each ±20 %, a hundred times (~50 minutes)."""

    initial_s: float = 0.5
    multiplier: float = 2.0
    max_s: float = 30.0
    jitter_ratio: float = 0.2
    #: None: for ever.
    max_attempts: int | None = 100

    def delay_s(self, attempt: int, *, floor_s: float, spread: float) -> float:
        """The wait before `attempt` (from 1). `spread` in [-1, 1] is where in the jitter it falls."""
        # The exponent is bounded, because a float overflows after a thousand attempts.
        base_s = min(self.initial_s * self.multiplier ** min(attempt - 1, 64), self.max_s)
        delay_s = max(base_s, floor_s)
        return delay_s + delay_s * self.jitter_ratio * spread

    def allows(self, attempts_made: int, code: int) -> bool:
        """Whether to try once more after a close with `code`."""
        if code in TERMINAL_CLOSE_CODES:
            return False
        return self.max_attempts is None or attempts_made < self.max_attempts


def floor_s(code: int, retry_after_ms: int | None) -> float:
    """The least wait after a close with `code`, and after a going_away that asked for `retry_after_ms`."""
    asked_s = 0.0 if retry_after_ms is None else retry_after_ms / 1000
    return max(asked_s, OVER_LIMIT_FLOOR_S if code == CloseCode.OVER_CONNECTION_LIMIT else 0.0)


def ping_after_s(inactivity_timeout_s: float) -> float:
    """How long a line is left quiet before it is asked for a sign of life."""
    return max(1.0, inactivity_timeout_s / 3)
