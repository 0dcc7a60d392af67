"""One voice, many connections: every track gets the same 20 ms, and what was fetched counts once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av
from aiortc.mediastreams import MediaStreamError
from prometheus_client import Counter

from agent.realtime.sending.encoding import FedTrack, Sink, SoundStream
from agent.realtime.sending.playout import FRAME_SAMPLES, RATE_HZ, Block

DROPPED_FRAMES = Counter(
    "voice_agent_sent_frames_dropped_total",
    "20 ms frames of the agent's voice that a connection fetched too late to be sent",
)

#: Frames that wait for one reader: what the clock catches up on after it was held up (`Pacer`), and some for
#: a busy encoder. Whoever keeps up never has more than one waiting.
MAX_TRACK_FRAMES = 8


class _Frame:
    """One block on its way to the tracks. It counts as played when the first track takes it."""

    __slots__ = ("block", "holders", "pts", "taken")

    def __init__(self, block: Block, pts: int) -> None:
        self.block = block
        self.pts = pts
        self.holders = 0
        self.taken = False


class Fanout:
    """Hands blocks to the tracks that are fed, at once, and to those that are read.

    `played_samples` counts pushed audio that at least one track has sent or taken (or was too late to take),
    `in_flight_samples` what waits in a track. `on_change` is called when either changes.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.played_samples = 0
        self.in_flight_samples = 0
        self._on_change = on_change
        self._pts = 0
        self._stream = SoundStream()
        self._tracks: set[SourceTrack] = set()
        self._closed = False

    def new_track(self) -> SourceTrack:
        """A track of its own for one connection; already ended when the fan-out is closed."""
        track = SourceTrack(self)
        if self._closed:
            track.stop()
        else:
            self._tracks.add(track)
        return track

    @property
    def content_rate_hz(self) -> int:
        """What the blocks to come were recorded or made at; see `SoundStream`."""
        return self._stream.content_rate_hz

    @content_rate_hz.setter
    def content_rate_hz(self, rate_hz: int) -> None:
        self._stream.content_rate_hz = rate_hz

    def send(self, block: Block) -> None:
        """Hand `block` to every listening track; one that is MAX_TRACK_FRAMES behind loses its oldest."""
        frame = _Frame(block, self._pts)
        self._pts += FRAME_SAMPLES
        sinks = [track.sink for track in self._tracks if track.sink is not None]
        if sinks:
            sound = self._stream.sound(block.samples, frame.pts)
            for sink in sinks:
                frame.taken |= sink(sound)
            if frame.taken:
                self.played_samples += block.audio_samples
                self._on_change()
        listening = [track for track in self._tracks if track.listening]
        if listening:
            self._queue(frame, listening)

    def skip(self, frames: int) -> None:
        """So many frames' time passed in which nothing was sent."""
        self._pts += frames * FRAME_SAMPLES

    def _queue(self, frame: _Frame, listening: list[SourceTrack]) -> None:
        if not frame.taken:
            self.in_flight_samples += frame.block.audio_samples
        frame.holders = len(listening)
        for track in listening:
            if len(track.frames) >= MAX_TRACK_FRAMES:
                DROPPED_FRAMES.inc()
                # Its moment has passed: what the person at the other end missed is a gap of 20 ms, not the
                # end of the sentence.
                self.take(track)
            track.frames.append(frame)
            track.wake.set()

    def purge(self) -> None:
        """Drop what no track has fetched yet."""
        for track in self._tracks:
            self._drop_all(track)

    def close(self) -> None:
        """End every track and refuse new ones."""
        self._closed = True
        for track in list(self._tracks):
            track.stop()

    def forget(self, track: SourceTrack) -> None:
        """`track` has ended."""
        self._tracks.discard(track)
        self._drop_all(track)

    def take(self, track: SourceTrack) -> _Frame:
        """The oldest frame waiting for `track`, counted as played when it is the first to let go of it."""
        frame = track.frames.popleft()
        frame.holders -= 1
        if not frame.taken:
            frame.taken = True
            self.played_samples += frame.block.audio_samples
            self._landed(frame)
        return frame

    def _drop_all(self, track: SourceTrack) -> None:
        while track.frames:
            self._drop(track.frames.popleft())

    def _drop(self, frame: _Frame) -> None:
        frame.holders -= 1
        if frame.holders == 0 and not frame.taken:
            self._landed(frame)

    def _landed(self, frame: _Frame) -> None:
        self.in_flight_samples -= frame.block.audio_samples
        self._on_change()


class SourceTrack(FedTrack):
    """One connection's view of the voice. It plays from `feed` or the first `recv` on, never old audio."""

    kind = "audio"

    def __init__(self, fanout: Fanout) -> None:
        super().__init__()
        self.listening = False
        self.frames: deque[_Frame] = deque()
        self.wake = asyncio.Event()
        self._fanout = fanout

    def feed(self, sink: Sink | None) -> None:
        if self.readyState == "live":
            super().feed(sink)
            self.listening = False

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms: 48 kHz mono s16. Raises `MediaStreamError` once stopped, also to a pending call."""
        self.listening = True
        while not self.frames and self.readyState == "live":
            self.wake.clear()
            await self.wake.wait()
        if self.readyState != "live":
            raise MediaStreamError
        frame = self._fanout.take(self)
        out = av.AudioFrame.from_ndarray(frame.block.samples[None], format="s16", layout="mono")
        out.sample_rate = RATE_HZ
        out.pts = frame.pts
        out.time_base = Fraction(1, RATE_HZ)
        return out

    def stop(self) -> None:
        super().stop()
        self.sink = None
        self._fanout.forget(self)
        self.wake.set()
