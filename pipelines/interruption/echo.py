"""Is what a microphone hears our own voice? For callers without headphones and without echo cancellation.

The course of levels in bands (`spectrum`) of the microphone is compared with that of what was played, at
every delay an echo can have. Where both run alike the delay is known, and from then on what we play predicts
how loud each band of its echo is: sound above that is somebody's own. Levels bear what a waveform filter does
not: codecs on both ways, clocks that drift, jitter buffers that stretch, loudspeakers that distort. Nothing
but levels of the last second and a half is kept.

The numbers below were chosen on simulated rooms (0.15-0.5 s of reverberation, echoes of 0.05-0.7 of what
was played, 20-600 ms later, Opus on both ways). What they come to says `benchmarks/echo.py`: of 148 onsets in
260 s of echo 17 are left; of 36 sentences spoken over it 24 are heard where they are 6 dB quieter than the
echo, 33 where they are as loud and 35 where they are 6 dB louder, 20 to 80 ms later in the median. Nobody
with headphones is taken for an echo in 672 times of speaking over a reply, 15 are where they speak into the
first words of a call. When headphones come off, that is known after 1.7 s of our own speech, in the median.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.audio import Samples
from pipelines.interruption.likeness import SOUNDING_DB, Evidence, Gains, correlation
from pipelines.interruption.spectrum import BANDS, HOP_MS, HOP_SAMPLES, SILENCE_DB, Levels, Spectrum

Numbers: TypeAlias = NDArray[np.int64]

#: See `EchoGate.is_echo`.
ECHO = 0.7
#: The same for somebody who is speaking already: what they say is not cut to pieces by every loud sound of
#: ours. Of echoes no more onsets come of it, of what is said over them half as much again is heard.
ECHO_IN_SPEECH = 0.9
#: From being handed out to coming back: the network twice, jitter buffers, loudspeaker and microphone.
MAX_DELAY_MS = 680.0
_LAGS = np.arange(int(MAX_DELAY_MS / HOP_MS))
#: What was played is kept this long, in frames.
_PLAYED_FRAMES = int(1500 / HOP_MS)
#: How much of the microphone is compared at a time, and how little will do: shorter runs of two people's
#: speech are too often alike at some delay.
_MOST_FRAMES, _LEAST_FRAMES = int(640 / HOP_MS), int(320 / HOP_MS)
#: Correlation of the levels from which on it is an echo. An echo has 0.85 in the median (95 % over 0.72),
#: other speech 0.45 (95 % under 0.7), which is why it must be plausible, too.
_ALIKE = 0.66
#: Who proved not to hear us must prove the opposite by so many runs in succession, together as alike as that,
#: each of them by so much, and at no other delay nearly as much. Other speech has 0.25 together, and 0.63 at
#: most; 99 of 100 echoes have more than 0.67.
_RUNS, _RUN_FRAMES, _EACH_ALIKE, _ELSEWHERE = 4, int(160 / HOP_MS), 0.45, 0.15
#: What was taken for an echo in so many runs is none when it was no more alike than this together.
_DOUBT_RUNS, _DOUBTFUL = 2, 0.4
#: Delays this near to each other, in frames, are the same.
_NEAR = 8
#: Another delay has to be so much better.
_BETTER = 0.1
#: In windows, once it is known whether there is an echo.
_SEARCH_EVERY = 4
#: How fast what is known of the loudness of the echo follows what is heard, eight times a second.
_LEARNING = 0.3
#: How fast a room falls silent; an echo is never predicted to end sooner. RT60 of 0.5 s.
_DECAY_DB = 60 * HOP_MS / 500
#: How much of the verdict is made by the newest window: somebody's own sound lasts, what scatters does not.
_NEWEST = 0.5
#: Sound is withheld so long while it is not known yet whether this caller's microphone hears us at all …
_WITHHELD_MS = 320.0
#: … which it does not when it is silent for so long after an echo had to come.
_SILENT_MS = 120.0
#: An echo that does not come for so long while we speak will not come any more.
_GONE_MS = 1500.0


class PlayedLevels:
    """The levels of what was played lately, by frame number; what microphones are compared with."""

    def __init__(self) -> None:
        self._spectrum = Spectrum()
        self._levels: Levels = np.full((_PLAYED_FRAMES, BANDS), SILENCE_DB, np.float32)
        #: The number of the newest frame, and when its last sample was handed out.
        self._newest = 0
        self._newest_ms = 0.0
        self._sounded = -_PLAYED_FRAMES

    def feed(self, samples: Samples, at_ms: float) -> None:
        """`samples` (16 kHz mono, silence included) were handed out from `at_ms` on."""
        frames = self._spectrum.feed(samples)
        for frame in frames:
            self._newest += 1
            last = self._levels[(self._newest - 1) % _PLAYED_FRAMES]
            np.maximum(frame, last - np.float32(_DECAY_DB), out=frame)
            self._levels[self._newest % _PLAYED_FRAMES] = frame
            if frame.max() > SOUNDING_DB:
                self._sounded = self._newest
        self._newest_ms += HOP_MS * len(frames)
        end_ms = at_ms + len(samples) * HOP_MS / HOP_SAMPLES - self._spectrum.rest_ms
        late_ms = end_ms - self._newest_ms
        # The clock that hands out runs evenly; when it is asked for the time is a matter of the event loop.
        self._newest_ms += late_ms if abs(late_ms) > 80 else late_ms / 20

    @property
    def sounding(self) -> bool:
        """Whether an echo may be heard now."""
        return self._newest - self._sounded <= len(_LAGS)

    def number_at(self, time_ms: float) -> int:
        """Of the frame whose last sample was handed out at `time_ms`."""
        return self._newest + round((time_ms - self._newest_ms) / HOP_MS)

    def levels(self, numbers: Numbers) -> Levels:
        """(..., BANDS) of the frames with these numbers; silence where they are too old, or yet to come."""
        found = self._levels[numbers % _PLAYED_FRAMES]
        found[(numbers > self._newest) | (numbers <= self._newest - _PLAYED_FRAMES)] = SILENCE_DB
        return found


class _Path(Enum):
    UNKNOWN = "unknown"
    #: The microphone does not hear us: headphones, or a caller's own echo cancellation.
    NONE = "none"
    FOUND = "found"


class EchoGate:
    """One caller's microphone against what is `played` to everybody.

    ::

        UNKNOWN ── a run is alike at some delay ──▶ FOUND ── silent where an echo must be, ──▶ NONE
           │                                         ▲        or what was taken for it       │  ▲
           │                                         │        is not alike                   │  │
           │                                         └── several runs are, at one delay ─────┘  │
           └── silent where an echo must be, or too much sound to withhold any longer ──────────┘

    Only while nothing is known is sound withheld that may not be echo.
    """

    def __init__(self, played: PlayedLevels) -> None:
        self._played = played
        self._spectrum = Spectrum()
        self._heard: Levels = np.full((_MOST_FRAMES, BANDS), SILENCE_DB, np.float32)
        #: For each heard frame the number of the played frame that was handed out at the same time.
        self._at: Numbers = np.zeros(_MOST_FRAMES, np.int64)
        self._path = _Path.UNKNOWN
        self._lag = 0
        self._gains = Gains(np.zeros(BANDS, np.float32), 0.0)
        self._evidence = Evidence(len(_LAGS), runs=_RUNS, run_frames=_RUN_FRAMES)
        #: How much of the latest sound was somebody's own.
        self._own = 1.0
        self._withheld_ms = self._silent_ms = 0.0
        self._windows = 0

    @property
    def delay_ms(self) -> float | None:
        """From handing out to hearing the echo; None while there is none."""
        return self._lag * HOP_MS if self._path is _Path.FOUND else None

    def is_echo(self, window: Samples, end_ms: float) -> float:
        """How much of `window` (16 kHz mono) is our own voice, 0 to 1; from `ECHO` on it is nothing else.

        Its last sample was heard at `end_ms`, on the clock of `PlayedLevels.feed`. Windows come in order.
        """
        frames = self._spectrum.feed(window)
        count = len(frames)
        at = self._played.number_at(end_ms - self._spectrum.rest_ms) - np.arange(count)[::-1]
        self._heard = np.concatenate([self._heard, frames])[-_MOST_FRAMES:]
        self._at = np.concatenate([self._at, at])[-_MOST_FRAMES:]
        if not count or not self._played.sounding:
            # What was said while nothing was played is part of no echo.
            self._heard[:] = SILENCE_DB
            self._own = 1.0
            return 0.0
        sounds = bool(frames.max() > SOUNDING_DB)
        self._windows += 1
        match self._path:
            case _Path.UNKNOWN if sounds:
                self._search()
            case _Path.FOUND if sounds and self._windows % _SEARCH_EVERY == 0:
                self._search()
            case _Path.NONE if sounds and self._gather(frames, at):
                self._believe()
        if self._path is _Path.UNKNOWN:
            self._withhold(HOP_MS * count, sounds=sounds)
        if self._path is _Path.NONE:
            self._own = 1.0
            return 0.0
        is_found = self._path is _Path.FOUND
        own = self._own_share(frames, at, sounds=sounds) if is_found else 0.0
        self._own += _NEWEST * (own - self._own)
        if is_found and sounds and self._own <= 1.0 - ECHO and self._gather(frames, at):
            self._doubt()
        return 1.0 - self._own

    def _withhold(self, duration_ms: float, *, sounds: bool) -> None:
        self._withheld_ms += duration_ms if sounds else 0.0
        self._silent_ms += 0.0 if sounds else duration_ms
        if self._silent_ms >= MAX_DELAY_MS + _SILENT_MS or self._withheld_ms > _WITHHELD_MS:
            self._lose()

    def _search(self) -> None:
        """Find the delay at which what is heard runs like what was played, and how loud it is then."""
        heard, at = self._run()
        if 2 * len(heard) < _LEAST_FRAMES:
            return
        played = self._played.levels(at[None, :] - _LAGS[:, None])
        alike = correlation(heard, played)
        best = int(alike.argmax())
        known = self._path is _Path.FOUND
        if known and alike[best] < alike[self._lag] + _BETTER:
            best = self._lag
        if alike[best] < _ALIKE:
            return
        gains = Gains.of(heard, played[best])
        if known and best == self._lag:
            # Only on what runs like the echo: who speaks over it must not be taken for it.
            self._gains = self._gains.towards(gains, _LEARNING)
        elif gains.plausible:
            self._find(best, gains)

    def _run(self) -> tuple[Levels, Numbers]:
        """What was heard lately, from its first sound on: every other frame will do, neighbours overlap."""
        sounding = np.flatnonzero(self._heard.max(axis=1) > SOUNDING_DB)
        count = _MOST_FRAMES - int(sounding[0])
        return self._heard[-count::2], self._at[-count::2]

    def _gather(self, frames: Levels, at: Numbers) -> bool:
        return self._evidence.feed(frames[::2], self._played.levels(at[None, ::2] - _LAGS[:, None]))

    def _believe(self) -> None:
        """Headphones come off in the middle of a call; but two people's speech is alike by chance one day."""
        if len(self._evidence) < _RUNS:
            return
        alike = self._evidence.together
        best = int(alike.argmax())
        elsewhere = np.concatenate([alike[: max(0, best - _NEAR)], alike[best + _NEAR + 1 :]])
        if (
            alike[best] < _ALIKE
            or alike[best] < elsewhere.max() + _ELSEWHERE
            or self._evidence.least(best) < _EACH_ALIKE
        ):
            return
        heard, at = self._run()
        gains = Gains.of(heard, self._played.levels(at - best))
        if gains.plausible:
            self._find(best, gains)

    def _doubt(self) -> None:
        """What was found by chance is not alike for long."""
        if len(self._evidence) < _DOUBT_RUNS:
            return
        near = self._evidence.together[max(0, self._lag - 2) : self._lag + 3]
        if near.max() < _DOUBTFUL:
            self._lose()

    def _find(self, lag: int, gains: Gains) -> None:
        self._path, self._lag, self._gains = _Path.FOUND, lag, gains
        self._silent_ms = 0.0
        self._evidence.clear()

    def _lose(self) -> None:
        self._path = _Path.NONE
        self._evidence.clear()

    def _own_share(self, frames: Levels, at: Numbers, *, sounds: bool) -> float:
        """How much of the sound in `frames` is above the echo predicted for them."""
        # A frame earlier or later: the clocks of both sides are read in steps.
        lags = self._lag + np.array([[-1], [0], [1]])
        echo = self._played.levels(at[None, :] - lags).max(axis=0) + self._gains.gain_db
        if not sounds:
            self._silent_ms += HOP_MS * len(frames) if echo.max() > SOUNDING_DB + 10 else 0.0
            if self._silent_ms >= _GONE_MS:
                self._lose()
            return 0.0
        loud = (frames > frames.max() - 25) & (frames > SILENCE_DB + 6)
        weight = np.where(loud, np.float32(10) ** (frames / 20), 0)
        own = float(weight[frames - echo > self._gains.above_db].sum() / weight.sum())
        if own < 0.5:
            self._silent_ms = 0.0
        return own
