"""When a voice that is heard grows quiet, by the level of each packet. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from agent.recording import RATE_HZ
from benchmarks.common.ears import Heard
from benchmarks.common.sound import SOUND_DBFS

#: When a packet came, in seconds, and how loud it was, in dBFS.
Level: TypeAlias = tuple[float, float]

#: Quiet that lasts so long is no gap between two words.
STAYS_S = 0.15
#: A system that stops sending is silent from when its next packet was due.
_PACKET_S = 0.02


def packet_levels(heard: Iterable[Heard], from_s: float) -> list[Level]:
    return [(one.at_s, _dbfs(one)) for one in heard if one.at_s >= from_s]


def sounding_s(heard: Iterable[Heard], from_s: float) -> float:
    """How much of what came from `from_s` on is sound."""
    return sum(
        len(one.samples) / RATE_HZ
        for one in heard
        if one.at_s >= from_s - _PACKET_S and _dbfs(one) > SOUND_DBFS
    )


def _dbfs(heard: Heard) -> float:
    return float(10 * np.log10(np.mean(heard.samples.astype(np.float64) ** 2) / 32768**2 + 1e-12))


def usual_dbfs(levels: Sequence[Level], before_s: float) -> float:
    """The median of the last half second of sound before."""
    loud = [level for at_s, level in levels if at_s < before_s and level > SOUND_DBFS]
    return float(np.median(loud[-25:])) if loud else 0.0


def falls_ms(levels: Sequence[Level], began_s: float, under_db: float) -> float | None:
    """From `began_s` to the packet from which on all are quieter than `under_db` for `STAYS_S`, in ms.

    A system that sends nothing at all is silent from when its next packet was due.
    """
    since_s: float | None = None
    last_s = began_s
    for at_s, level in levels:
        if at_s < began_s:
            continue
        if level < under_db or at_s - last_s > STAYS_S:
            since_s = since_s or min(at_s, last_s + _PACKET_S)
            if at_s - since_s >= STAYS_S:
                return 1000 * (since_s - began_s)
        else:
            since_s = None
        last_s = at_s
    return 1000 * (since_s - began_s) if since_s else None


def longest_gap_ms(levels: Sequence[Level], began_s: float) -> float:
    """The longest time without sound between sounds, in ms."""
    sounds = [at_s for at_s, level in levels if level > SOUND_DBFS and at_s > began_s]
    return 1000 * max((b - a for a, b in itertools.pairwise(sounds)), default=0.0)
