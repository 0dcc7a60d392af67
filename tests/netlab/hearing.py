"""What somebody heard, over time: gaps, what is missing, and when sound came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.netlab.tones import BLOCK_MS, TONE_MS

#: Sound is back when this much of so long a stretch was heard: on a lossy path some of it is always missing.
STRETCH_S = 0.5
ENOUGH_MS = 250
#: What is shorter may be a burst of losses.
GAP_S = 0.5


class Heard:
    """Blocks of 20 ms as they came out of the other side's track: (when in s, which tone)."""

    def __init__(self) -> None:
        self._blocks: list[tuple[float, int]] = []

    def add(self, blocks: Iterable[tuple[float, int]]) -> None:
        self._blocks.extend((at_s, tone) for at_s, tone in blocks)

    def heard_ms(self, start_s: float, end_s: float) -> float:
        """How much of what was said between `start_s` and `end_s` was heard then.

        Blocks of one tone without a pause are one tone, and count for no more than it lasts.
        """
        total, run_ms, last_s, last_tone = 0.0, 0.0, 0.0, -1
        for at_s, tone in self._between(start_s, end_s):
            if tone != last_tone or at_s - last_s > 0.5:
                total, run_ms = total + min(run_ms, TONE_MS), 0.0
            run_ms, last_s, last_tone = run_ms + BLOCK_MS, at_s, tone
        return total + min(run_ms, TONE_MS)

    def missed_ms(self, start_s: float, end_s: float) -> float:
        return max(0.0, (end_s - start_s) * 1000 - self.heard_ms(start_s, end_s))

    def longest_gap_s(self, start_s: float, end_s: float) -> float:
        """The longest time without any sound."""
        moments = [start_s, *(at_s for at_s, _ in self._between(start_s, end_s)), end_s]
        return max(later - sooner for sooner, later in pairwise(moments))

    def gap_ends_s(self, start_s: float, end_s: float) -> float:
        """When the last gap reaching into that time ended: `start_s` if none did, `end_s` if it goes on."""
        moments = [0.0, *(at_s for at_s, _ in self._between(0.0, end_s)), end_s]
        gaps = ((sooner, later) for sooner, later in pairwise(moments) if later - sooner > GAP_S)
        return max((later for _, later in gaps if later > start_s), default=start_s)

    def back_s(self, after_s: float) -> float | None:
        """When, at or after `after_s`, sound began to flow; None if it has not by now."""
        blocks = [at_s for at_s, _ in self._blocks if at_s >= after_s]
        needed = ENOUGH_MS // BLOCK_MS
        for first, last in zip(blocks, blocks[needed - 1 :], strict=False):
            if last - first <= STRETCH_S:
                return first
        return None

    def _between(self, start_s: float, end_s: float) -> Iterator[tuple[float, int]]:
        return ((at_s, tone) for at_s, tone in self._blocks if start_s <= at_s < end_s)
