"""A loop whose time jumps, and who listens to a source on it."""

from __future__ import annotations

import asyncio
import selectors

import numpy as np
from aiortc.mediastreams import MediaStreamError

from agent.realtime.sending.encoding import Sound
from agent.realtime.sending.playout import FRAME_SAMPLES
from agent.realtime.sending.source import AudioSource
from pipelines.audio import Pcm


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves its clock to the moment waited for."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits and nothing is scheduled")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now_s

    def stall(self, seconds):
        self._jumping.now_s += seconds


def virtual(test):
    """Run an async test on a loop whose time jumps; fails if it leaves a task behind."""

    def run():
        async def checked():
            await test()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())

    run.__name__ = test.__name__
    return run


def tone(duration_ms: float, rate_hz: int = 48_000, level: int = 10_000) -> Pcm:
    return Pcm(np.full(int(rate_hz * duration_ms / 1000), level, np.int16), rate_hz)


class Listener:
    """Reads a track as an RTP sender does and keeps everything."""

    def __init__(self, source: AudioSource):
        self.track = source.new_track()
        self.frames: list[np.ndarray] = []
        self.pts: list[int] = []
        self.times_s: list[float] = []
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self):
        try:
            while True:
                frame = await self.track.recv()
                assert (frame.sample_rate, frame.samples, frame.layout.name) == (
                    48_000,
                    FRAME_SAMPLES,
                    "mono",
                )
                self.frames.append(frame.to_ndarray()[0])
                self.pts.append(frame.pts)
                self.times_s.append(asyncio.get_running_loop().time())
                self._more.set()
        except MediaStreamError:
            return

    async def heard(self, frames: int):
        while len(self.frames) < frames:
            self._more.clear()
            await self._more.wait()

    async def ended(self):
        await self._task

    @property
    def audio(self) -> np.ndarray:
        return np.concatenate(self.frames)


class Fed:
    """Is handed the sound at once, as a connection is that sends it."""

    def __init__(self, source: AudioSource, *, goes_out: bool = True):
        self.sounds: list[Sound] = []
        self.times_s: list[float] = []
        self._goes_out = goes_out
        self.track = source.new_track()
        self.track.feed(self._take)

    def _take(self, sound: Sound) -> bool:
        self.sounds.append(sound)
        self.times_s.append(asyncio.get_running_loop().time())
        return self._goes_out
