"""How long a missing packet is worth waiting for. Pure."""

from __future__ import annotations

#: What is remembered is counted in steps of this size; a packet later than the last is taken for lost.
STEP_MS = 5.0
MAX_WAIT_MS = 200.0
_STEPS = int(MAX_WAIT_MS / STEP_MS)

#: Making up a packet that was only late costs as much as holding everything back for so long. At this price a
#: packet 10 ms late is waited for where at least one missing packet in twenty does come.
LATE_COST_MS = 200.0
#: What one more missing packet leaves of the weight of those before: some thirty of them are remembered.
MEMORY = 0.97
#: Before anything is known: four missing packets in ten come within 20 ms, the others never.
_PRIOR = (0.1, 0.1, 0.1, 0.1)


class ReorderingWait:
    """Learns from what became of missing packets: how late they came, or that they never did.

    A histogram with forgetting, and of all waits the one with the least expected cost: the trade between
    delay and loss that WebRTC's NetEq makes for reordered packets
    (`modules/audio_coding/neteq/reorder_optimizer.cc`). Where packets are lost but not reordered, waiting is
    in vain and the wait becomes 0.
    """

    def __init__(self) -> None:
        self._late = [*_PRIOR, *[0.0] * (_STEPS - len(_PRIOR))]
        self._never = 1.0 - sum(_PRIOR)
        self.wait_ms = self._best()

    def came(self, late_ms: float) -> None:
        """A packet came `late_ms` after its absence was noticed."""
        step = int(late_ms / STEP_MS)
        if step >= _STEPS:
            self.never_came()
            return
        self._forget()
        self._late[step] += 1.0 - MEMORY
        self.wait_ms = self._best()

    def never_came(self) -> None:
        self._forget()
        self._never += 1.0 - MEMORY
        self.wait_ms = self._best()

    def _forget(self) -> None:
        self._late = [weight * MEMORY for weight in self._late]
        self._never *= MEMORY

    def _best(self) -> float:
        """The wait of least cost; the weights sum up to 1."""
        best_ms, least, waited = 0.0, LATE_COST_MS * sum(self._late), 0.0
        coming = sum(self._late)
        for step, weight in enumerate(self._late):
            until_ms = (step + 1) * STEP_MS
            coming -= weight
            waited += weight * until_ms
            cost = waited + (coming + self._never) * until_ms + LATE_COST_MS * coming
            if cost < least:
                best_ms, least = until_ms, cost
        return best_ms
