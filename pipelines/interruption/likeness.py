"""How alike two courses of levels are: what is heard, and what was played at each delay an echo can have."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.interruption.spectrum import BANDS, Levels

Sums: TypeAlias = NDArray[np.float64]

#: What is louder than this (dB) sounds.
SOUNDING_DB = -25.0
#: No room scatters an echo by so much, no loudspeaker colours it so much (standard deviations, dB). Echoes in
#: rooms scatter by 4 dB in the median (95 % by less than 6.5) and are coloured by 2 (4); other speech that is
#: alike by chance has 10 and 7.
_MOST_SCATTER_DB, _MOST_COLOUR_DB = 7.0, 8.0
#: A band this much louder than the predicted echo is somebody else's: so many standard deviations of what an
#: echo scatters by, within bounds (dB).
_ABOVE, _LEAST_ABOVE_DB, _MOST_ABOVE_DB = 1.65, 5.0, 14.0


def correlation(heard: Levels, played: Levels) -> Levels:
    """Of the courses of levels in `heard` (frames, BANDS) with each of `played` (lags, frames, BANDS)."""
    heard = heard - heard.mean(axis=0)
    mean = played.mean(axis=1)
    power = np.einsum("ltb,ltb->l", played, played) - played.shape[1] * np.einsum("lb,lb->l", mean, mean)
    # What is heard has no mean, so that of what was played takes no part.
    alike = np.tensordot(played, heard, axes=2)
    return np.asarray(alike / np.sqrt(np.maximum(power, 0) * np.vdot(heard, heard) + 1e-3), np.float32)


@dataclass(frozen=True, slots=True)
class Gains:
    """From what was played to what is heard of it: dB for each band, and what is beyond scatter."""

    gain_db: Levels
    scatter_db: float

    @classmethod
    def of(cls, heard: Levels, played: Levels) -> Gains:
        """In the median over frames; a band in which nothing was played gets the gain of the others."""
        sounds = played > SOUNDING_DB
        over = np.where(sounds, heard - played, np.nan)
        over[:, ~sounds.any(axis=0)] = np.nanmedian(over) if sounds.any() else 0.0
        gain_db = np.asarray(np.nanmedian(over, axis=0), np.float32)
        return cls(gain_db, float(np.nanstd(over - gain_db)))

    @property
    def above_db(self) -> float:
        """Louder than predicted by so much, it is somebody else's."""
        return min(max(_ABOVE * self.scatter_db, _LEAST_ABOVE_DB), _MOST_ABOVE_DB)

    @property
    def plausible(self) -> bool:
        """Whether a room can have made this: what is alike by chance is seldom alike in loudness."""
        return self.scatter_db < _MOST_SCATTER_DB and float(self.gain_db.std()) < _MOST_COLOUR_DB

    def towards(self, fresh: Gains, share: float) -> Gains:
        return Gains(
            self.gain_db + share * (fresh.gain_db - self.gain_db),
            self.scatter_db + share * (fresh.scatter_db - self.scatter_db),
        )


class Evidence:
    """Several runs of sound in succession, each compared at every delay; `lags` is how many there are.

    One run of a third of a second is alike at some delay by chance once in fifteen times; four of them are
    not, at the same one. A run may have gaps in it: only frames that sound are fed.
    """

    def __init__(self, lags: int, *, runs: int, run_frames: int) -> None:
        self._lags, self._run_frames = lags, run_frames
        #: For each run, at each delay: covariance, and the power of what was played; and of what was heard.
        self._runs: deque[tuple[Sums, Sums, float]] = deque(maxlen=runs)
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._heard = np.zeros(BANDS)
        self._heard_power = 0.0
        self._played = np.zeros((self._lags, BANDS))
        self._played_power = np.zeros(self._lags)
        self._both = np.zeros(self._lags)

    def clear(self) -> None:
        self._runs.clear()
        self._begin()

    def feed(self, heard: Levels, played: Levels) -> bool:
        """Frames that sound (frames, BANDS), what was played (lags, frames, BANDS); True: a run is full."""
        self._count += len(heard)
        self._heard += heard.sum(axis=0)
        self._heard_power += float(np.vdot(heard, heard))
        self._played += played.sum(axis=1)
        self._played_power += np.einsum("ltb,ltb->l", played, played)
        self._both += np.tensordot(played, heard, axes=2)
        if self._count < self._run_frames:
            return False
        covariance = self._both - self._played @ self._heard / self._count
        played_power = self._played_power - np.einsum("lb,lb->l", self._played, self._played) / self._count
        heard_power = self._heard_power - float(np.vdot(self._heard, self._heard)) / self._count
        self._runs.append((covariance, np.maximum(played_power, 0.0), max(heard_power, 0.0)))
        self._begin()
        return True

    def __len__(self) -> int:
        """How many runs are full."""
        return len(self._runs)

    @property
    def together(self) -> Levels:
        """The correlation at each delay of the latest runs, as if they were one."""
        covariance = np.sum([run[0] for run in self._runs], axis=0)
        played = np.sum([run[1] for run in self._runs], axis=0)
        heard = sum(run[2] for run in self._runs)
        return np.asarray(covariance / np.sqrt(played * heard + 1e-3), np.float32)

    def least(self, lag: int) -> float:
        """The correlation at this delay of that run which has the least."""
        return min(float(c[lag] / np.sqrt(p[lag] * h + 1e-3)) for c, p, h in self._runs)
