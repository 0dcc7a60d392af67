"""What is played next, and when: the parts of the audio source that need no event loop."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The rate and frame size that WebRTC's Opus works at here: 20 ms of 48 kHz mono.
RATE_HZ = 48_000
FRAME_SAMPLES = 960
FRAME_S = FRAME_SAMPLES / RATE_HZ

#: Clocks begin at multiples of it. Whenever one wakes the process up, those of all other voices in the same
#: place are served as well: 200 times a second for any number of voices. Four places, because they wait for
#: each other: with so many voices that a core is busy, all at one moment would be a queue of 20 ms.
GRID_S = FRAME_S / 4

#: How long a change of gain takes. Shorter is heard as a click, longer as a fade.
GAIN_RAMP_SAMPLES = RATE_HZ * 10 // 1000

#: How long the last sample takes to reach zero when sound stops in the middle of a wave.
FADE_SAMPLES = RATE_HZ * 5 // 1000

_FADE = np.linspace(1.0, 0.0, FADE_SAMPLES + 1)[1:]
_SILENCE: NDArray[np.int16] = np.zeros(FRAME_SAMPLES, np.int16)
_SILENCE.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """20 ms to be sent: `samples` is int16, FRAME_SAMPLES long, and its first `audio_samples` were pushed.

    The rest is silence, after a fade from the last pushed sample where there was one.
    """

    samples: NDArray[np.int16]
    audio_samples: int


class PlayoutBuffer:
    """Mono int16 samples at RATE_HZ, in the order pushed, taken 20 ms at a time.

    While `paused` silence is taken and what is queued stays; it goes on with the next sample, ramped over
    10 ms. At any time ``pushed_samples == taken_samples + cleared_samples + queued_samples``.
    """

    def __init__(self) -> None:
        self._queue: deque[NDArray[np.int16]] = deque()
        self._last = 0
        #: What is left of the fade from `_last`; None if none has been needed yet.
        self._fade: NDArray[np.int16] | None = None
        self._gain_db = 0.0
        self._gain = self._target_gain = 1.0
        self._paused = False
        self.queued_samples = 0
        self.taken_samples = 0
        self.cleared_samples = 0

    @property
    def pushed_samples(self) -> int:
        return self.queued_samples + self.taken_samples + self.cleared_samples

    @property
    def gain_db(self) -> float:
        """Attenuation of what is taken next, 0 or less; minus infinity is mute. A change ramps over 10 ms."""
        return self._gain_db

    @gain_db.setter
    def gain_db(self, gain_db: float) -> None:
        if math.isnan(gain_db) or gain_db > 0:
            raise ValueError(f"gain_db must be 0 or less (0 is full volume), got {gain_db}")
        self._gain_db = gain_db
        self._target_gain = 10.0 ** (gain_db / 20.0)

    @property
    def paused(self) -> bool:
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        if self._paused and not paused:
            # Sound goes on in the middle of a wave: ramped like any change of gain.
            self._gain = 0.0
        self._paused = paused

    def push(self, samples: NDArray[np.int16]) -> None:
        """Append `samples`; the array is kept, so the caller must not change it afterwards."""
        if len(samples):
            self._queue.append(samples)
            self.queued_samples += len(samples)

    def clear(self) -> None:
        """Forget everything queued. What was taken last still fades out, which needs nothing queued.

        Ends a pause: what is pushed next plays.
        """
        # Nothing goes on where it stopped, so nothing is ramped.
        self._paused = False
        self.cleared_samples += self.queued_samples
        self.queued_samples = 0
        self._queue.clear()

    def take(self) -> Block:
        """The next 20 ms, filled up with silence."""
        if self._last == 0 and (self._paused or not self._queue):
            self._gain = self._target_gain
            return Block(_SILENCE, 0)
        if self._is_as_pushed and self._queue and len(self._queue[0]) > FRAME_SAMPLES:
            return self._whole()
        out = np.zeros(FRAME_SAMPLES, np.int16)
        filled = 0
        while self._queue and filled < FRAME_SAMPLES and not self._paused:
            head = self._queue[0]
            room = FRAME_SAMPLES - filled
            out[filled : filled + len(head)] = head[:room]
            filled += min(len(head), room)
            if len(head) > room:
                self._queue[0] = head[room:]
            else:
                self._queue.popleft()
        self.queued_samples -= filled
        self.taken_samples += filled
        self._apply_gain(out[:filled])
        if filled:
            self._last, self._fade = int(out[filled - 1]), None
        if filled < FRAME_SAMPLES:
            self._fade_out(out[filled:])
        return Block(out, filled)

    @property
    def _is_as_pushed(self) -> bool:
        return self._gain == self._target_gain == 1.0 and not self._paused

    def _whole(self) -> Block:
        """20 ms of the first chunk as they are."""
        head = self._queue[0]
        self._queue[0] = head[FRAME_SAMPLES:]
        self.queued_samples -= FRAME_SAMPLES
        self.taken_samples += FRAME_SAMPLES
        self._last, self._fade = int(head[FRAME_SAMPLES - 1]), None
        return Block(head[:FRAME_SAMPLES], FRAME_SAMPLES)

    def _fade_out(self, rest: NDArray[np.int16]) -> None:
        fade = (self._last * _FADE).astype(np.int16) if self._fade is None else self._fade
        rest[: len(fade)] = fade[: len(rest)]
        self._fade = fade[len(rest) :]
        if not len(self._fade):
            self._last = 0

    def _apply_gain(self, audio: NDArray[np.int16]) -> None:
        target = self._target_gain
        if self._gain == target == 1.0:
            return
        envelope = np.full(len(audio), target)
        ramp = np.linspace(self._gain, target, GAIN_RAMP_SAMPLES + 1)[1 : len(audio) + 1]
        envelope[: len(ramp)] = ramp
        audio[:] = np.rint(audio * envelope).astype(np.int16)
        # Where the audio is shorter than the ramp, silence follows and nobody hears the step.
        self._gain = target


class Pacer:
    """A grid of 20 ms on a monotonic clock; after a stall no more than `max_late_s` of it comes at once.

    So much is caught up, so that a slow moment does not shift the stream: receivers that
    adapt to what they get hold as much in store once that has happened. Further behind, the frames whose time
    has passed are left out: what was to be said waits, and the grid stays where it is. It lies on multiples
    of `GRID_S`, so the second frame may come up to that much early.
    """

    def __init__(self, *, period_s: float = FRAME_S, max_late_s: float = 0.1) -> None:
        self._period_s = period_s
        self._max_late_s = max_late_s
        self._start_s: float | None = None
        self._frames = 0
        #: How many frames were left out so far.
        self.skipped = 0

    def due_s(self, now_s: float) -> float:
        """When the next frame is due, a frame having been produced at `now_s`; it may be past."""
        if self._start_s is None:
            self._start_s = math.floor(now_s / GRID_S) * GRID_S
        self._frames += 1
        behind = (now_s - self._start_s) / self._period_s - self._frames
        if behind * self._period_s > self._max_late_s:
            self._frames += math.ceil(behind)
            self.skipped += math.ceil(behind)
        return self._start_s + self._frames * self._period_s
