"""The clock of a conversation, and the alarm for the next deadline of its machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pipelines.turns import Turns

#: A deadline waits so long for the audio that makes it due before it passes without.
AUDIO_GRACE_MS = 150.0


def now_ms() -> float:
    return time.monotonic() * 1000


class Alarm:
    """Calls `ring` when a deadline of `turns` is due.

    That is told by what was heard, up to `heard_ms()`; where nothing is heard, by the clock a little later.
    """

    def __init__(self, turns: Turns, heard_ms: Callable[[], float], ring: Callable[[], None]) -> None:
        self._turns = turns
        self._heard_ms = heard_ms
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        """More has been heard; it may have made a deadline due."""
        if (deadline_ms := self._turns.deadline_ms) is not None and deadline_ms <= self._heard_ms():
            self._ring()

    def set(self) -> None:
        """The machine's deadline may be another one now."""
        self.stop()
        if (deadline_ms := self._turns.deadline_ms) is not None:
            self._wake_at(deadline_ms + AUDIO_GRACE_MS)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, wake_ms: float) -> None:
        delay_s = max(0.0, wake_ms - now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._overdue)

    def _overdue(self) -> None:
        """A deadline has passed and no audio has said so: the line is dead, or this process was held up."""
        self.heard()
        if self._turns.deadline_ms is not None and self._turns.deadline_ms > self._heard_ms():
            # If it was held up, the audio that came meanwhile is still to be heard.
            self._wake_at(max(self._turns.deadline_ms, now_ms()) + AUDIO_GRACE_MS)
