"""The agent's voice: PCM in at any rate and size, out as 20 ms frames on one clock to every connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from agent.realtime.sending.fanout import Fanout, SourceTrack
from agent.realtime.sending.playout import FRAME_S, FRAME_SAMPLES, RATE_HZ, Pacer, PlayoutBuffer
from agent.realtime.sending.resample import ToPlayoutRate
from agent.realtime.sending.tap import ToSpeechRate
from pipelines.audio import Pcm, Samples

logger = logging.getLogger(__name__)

CLOCK_RESYNCS = Counter(
    "voice_agent_playout_resyncs_total",
    "Times the playout clock fell more than 100 ms behind and left out what it had missed",
)

#: A machine that is held up is so again and again; the log hears of it from each source no more often.
WARN_EVERY_S = 10.0
#: Of the time that was left out, how much is told as silence.
MAX_SKIPPED_FRAMES = 50

#: How much is resampled between two looks at the buffer's limit, so that one huge push respects it: a tenth
#: of what may wait. In one call 100 ms take little longer than 20 ms.
MIN_SLICE_S, MAX_SLICE_S = 0.02, 0.1


class AudioSource:
    """One voice for any number of connections: push PCM, and every track plays it at the same moment.

    Time passes whether or not anybody listens, as on the radio: who connects late hears the present, and
    what was played to nobody is gone and does not count as played. Use as ``async with AudioSource() as
    source`` or with `start` and `close`; it belongs to the event loop it was started on.

    `max_buffered_ms` bounds what waits to be played: `push` suspends once it is reached, a tenth (or 20 ms)
    beyond it at most.
    """

    kind = "audio"

    def __init__(self, *, max_buffered_ms: float = 2000.0) -> None:
        if max_buffered_ms <= 0:
            raise ValueError(f"max_buffered_ms must be positive, got {max_buffered_ms}")
        self._max_samples = int(max_buffered_ms * RATE_HZ / 1000)
        self._slice_s = min(MAX_SLICE_S, max(MIN_SLICE_S, max_buffered_ms / 10_000))
        self._buffer = PlayoutBuffer()
        self._resampler = ToPlayoutRate()
        self._tap = ToSpeechRate()
        #: Called with every 20 ms handed out in order, silence and what a stall left out included: 16 kHz
        #: mono, and when its first sample was handed out, on `time.monotonic` in ms. On the event loop; must
        #: not block.
        self.on_played: Callable[[Samples, float], None] | None = None
        #: Set when there is; nobody is woken up for nothing. Cleared by who waits.
        self._has_room, self._is_drained = asyncio.Event(), asyncio.Event()
        self._fanout = Fanout(on_change=self._tell)
        self._push_lock = asyncio.Lock()
        self._epoch = 0
        self._pacer = Pacer()
        self._timer: asyncio.TimerHandle | None = None
        self._warned_s = -WARN_EVERY_S
        self._closed = False

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Start the playout clock."""
        if self._timer is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(loop.time(), self._tick, loop)

    async def close(self) -> None:
        """Drop what waits, end every track, release every caller. Later pushes are dropped."""
        self._closed = True
        self.clear()
        self._fanout.close()
        if self._timer is not None:
            self._timer.cancel()
        # Who was released ends before this does.
        await asyncio.sleep(0)

    async def push(self, pcm: Pcm) -> None:
        """Queue `pcm` behind what is there; concurrent pushes play one after the other, in order.

        Suspends while more than `max_buffered_ms` waits. A `clear` in the meantime releases it, and what had
        not been queued yet is dropped. `ValueError` for a rate outside 4 to 192 kHz.
        """
        epoch = self._epoch
        async with self._push_lock:
            if epoch == self._epoch and pcm.rate_hz != self._resampler.rate_hz:
                await self._enqueue(self._resampler.switch(pcm.rate_hz), epoch)
            # What waits may have been made at a higher rate.
            waiting_hz = self._fanout.content_rate_hz if self._buffer.queued_samples else 0
            self._fanout.content_rate_hz = max(waiting_hz, pcm.rate_hz)
            step = max(1, int(pcm.rate_hz * self._slice_s))
            for start in range(0, len(pcm.samples), step):
                if epoch != self._epoch:
                    return
                await self._enqueue(self._resampler.convert(pcm.samples[start : start + step]), epoch)

    async def flush(self) -> None:
        """End of an utterance: queue the last millisecond, which the resampler keeps back."""
        epoch = self._epoch
        async with self._push_lock:
            if epoch == self._epoch:
                await self._enqueue(self._resampler.finish(), epoch)

    def clear(self) -> None:
        """Be silent from the next frame on: drop what waits and release suspended pushes and `drained`."""
        self._epoch += 1
        self._resampler = ToPlayoutRate()
        self._buffer.clear()
        self._fanout.purge()
        self._tell()

    async def drained(self) -> None:
        """Return when everything queued has been handed out, or dropped by `clear` or `close`."""
        while self._waiting_samples:
            self._is_drained.clear()
            await self._is_drained.wait()

    @property
    def played_ms(self) -> float:
        """How much pushed audio went out on at least one connection; silence does not count."""
        return 1000.0 * self._fanout.played_samples / RATE_HZ

    @property
    def queued_ms(self) -> float:
        """How much pushed audio waits."""
        return 1000.0 * self._waiting_samples / RATE_HZ

    @property
    def gain_db(self) -> float:
        """Volume from the next frame on: 0 or less, ramped over 10 ms. `ValueError` above 0."""
        return self._buffer.gain_db

    @gain_db.setter
    def gain_db(self, gain_db: float) -> None:
        self._buffer.gain_db = gain_db

    @property
    def paused(self) -> bool:
        """Silent from the next frame on while true, and nothing is lost: it goes on where it stopped.

        Meanwhile `push` and `drained` wait as they do for any audio not played yet. `clear` ends it.
        """
        return self._buffer.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._buffer.paused = paused

    def new_track(self) -> SourceTrack:
        """A track for one connection. It plays from its first read on; stopping it ends only itself."""
        return self._fanout.new_track()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Play 20 ms. A callback rather than a task, which is one turn of the event loop less for each."""
        skipped = self._pacer.skipped
        self._timer = loop.call_at(self._pacer.due_s(loop.time()), self._tick, loop)
        if self._pacer.skipped != skipped:
            self._skip(self._pacer.skipped - skipped)
        block = self._buffer.take()
        self._fanout.send(block)
        if self.on_played is not None:
            self.on_played(self._tap.convert(block.samples), time.monotonic() * 1000)
        self._tell()

    def _skip(self, frames: int) -> None:
        CLOCK_RESYNCS.inc()
        now_s = time.monotonic()
        if now_s - self._warned_s > WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning("playout was held up for more than 100 ms; the voice was interrupted")
        self._fanout.skip(frames)
        if self.on_played is not None:
            told = min(frames, MAX_SKIPPED_FRAMES)
            silence = np.zeros(told * FRAME_SAMPLES, np.int16)
            self.on_played(self._tap.convert(silence), 1000 * (now_s - told * FRAME_S))

    async def _enqueue(self, samples: NDArray[np.int16], epoch: int) -> None:
        while epoch == self._epoch and self._buffer.queued_samples >= self._max_samples:
            self._has_room.clear()
            await self._has_room.wait()
        if epoch == self._epoch and not self._closed:
            self._buffer.push(samples)

    @property
    def _waiting_samples(self) -> int:
        return self._buffer.queued_samples + self._fanout.in_flight_samples

    def _tell(self) -> None:
        if self._buffer.queued_samples < self._max_samples:
            self._has_room.set()
        if not self._waiting_samples:
            self._is_drained.set()
