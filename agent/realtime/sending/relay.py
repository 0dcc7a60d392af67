"""One track of the application's, many connections: read once, and every connection gets the newest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from fractions import Fraction
from typing import Any, TypeAlias

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from prometheus_client import Counter

from agent.realtime.sending.encoding import FedTrack, Sink, SoundStream
from agent.realtime.sending.playout import FRAME_SAMPLES, RATE_HZ

logger = logging.getLogger(__name__)

DROPPED_FRAMES = Counter(
    "voice_agent_relayed_frames_dropped_total",
    "Frames of a track being sent that a connection fetched too late",
    ["kind"],
)
EARLY = Counter(
    "voice_agent_relayed_early_seconds_total",
    "Sound of tracks being sent that was left out because it ran ahead of time, as behind a stall",
)
FAILURES = Counter("voice_agent_relayed_track_failures_total", "Tracks being sent that raised when read")

#: Frames that wait for one connection. A little old sound catches up; an old picture is worth nothing.
MAX_WAITING = {"audio": 8, "video": 1}

TIME_BASE = Fraction(1, RATE_HZ)
#: Sound that comes later than this follows a pause.
MAX_LATE_S = 0.2
MAX_LATE_SAMPLES = int(MAX_LATE_S * RATE_HZ)
#: What runs ahead of time by more is left out: at the other end as much would be in store from then on.
MAX_EARLY_SAMPLES = RATE_HZ // 5

Frame: TypeAlias = av.AudioFrame | av.VideoFrame
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Relay:
    """Reads `track` from the first listener on until `close`, whether or not anybody listens still.

    So a connection that comes late gets the present. Audio arrives as 48 kHz mono s16 in 20 ms, whatever the
    track yields, because an encoder in the middle of a stream takes nothing else; video as yuv420p of even
    size. When the track ends or fails, so do all tracks made here. The track itself is never stopped.
    """

    def __init__(self, track: MediaStreamTrack, spawn: Spawn) -> None:
        self.kind: str = track.kind
        self._track = track
        self._spawn = spawn
        self._fanout = RelayFanout(track.kind, on_listener=self._start)
        self._shape = Shaper()
        self._task: asyncio.Task[None] | None = None

    def new_track(self) -> MediaStreamTrack:
        """A track for one connection; already ended after `close`."""
        return self._fanout.new_track()

    def close(self) -> None:
        """End every track and stop reading."""
        self._fanout.close()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        if self._task is None:
            self._task = self._spawn(self._read())

    async def _read(self) -> None:
        try:
            while True:
                for frame in self._shape(await self._track.recv()):
                    self._fanout.send(frame)
        except MediaStreamError:
            pass
        except Exception as error:
            # The track is the application's, and so is what it raises.
            FAILURES.inc()
            logger.warning("a track being sent failed with %s", type(error).__name__)
        finally:
            self._fanout.close()


class Shaper:
    """Makes of any frames those that an encoder in the middle of a stream takes, at their places in time.

    Of what a track that stood still hands out at once afterwards, `MAX_EARLY_SAMPLES` are sent; the rest is
    counted in ``voice_agent_relayed_early_seconds_total``.
    """

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        #: Where the next sound lies unless it comes later; the first one always does.
        self._samples = 0

    def __call__(self, frame: Any) -> Iterator[Frame]:
        if isinstance(frame, av.AudioFrame):
            yield from self._audio(frame)
        elif isinstance(frame, av.VideoFrame) and frame.width > 1 and frame.height > 1:
            pts, time_base = frame.pts, frame.time_base
            if pts is not None and time_base is not None:
                frame = frame.reformat(frame.width & ~1, frame.height & ~1, "yuv420p")
                frame.pts, frame.time_base = pts, time_base
                yield frame

    def _audio(self, frame: av.AudioFrame) -> Iterator[Frame]:
        # A frame may be long, and is taken as a whole.
        if self._samples > int(time.monotonic() * RATE_HZ) + MAX_EARLY_SAMPLES:
            EARLY.inc(frame.samples / frame.sample_rate)
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or kind != self._format:
            self._format = kind
            self._resampler = av.AudioResampler("s16", "mono", RATE_HZ, frame_size=FRAME_SAMPLES)
        frame.pts = None
        for out in self._resampler.resample(frame):
            # A pause is one for the listener, too; the timestamps of a track that was cut say nothing of it.
            now = int(time.monotonic() * RATE_HZ)
            if now > self._samples + MAX_LATE_SAMPLES:
                self._samples = now
            out.pts, out.time_base = self._samples, TIME_BASE
            self._samples += out.samples
            yield out


class RelayFanout:
    """Hands frames to all tracks that are being read. `on_listener` is called at the first read of each."""

    def __init__(self, kind: str, on_listener: Callable[[], None]) -> None:
        self.kind = kind
        self.on_listener = on_listener
        self._stream = SoundStream()
        self._tracks: set[RelayTrack] = set()
        self._closed = False

    def new_track(self) -> RelayTrack:
        track = RelayTrack(self)
        if self._closed:
            track.stop()
        else:
            self._tracks.add(track)
        return track

    def send(self, frame: Frame) -> None:
        """Who reads gets a frame of its own: where it lies in time is written into it."""
        sinks = [track.sink for track in self._tracks if track.sink is not None]
        if sinks and isinstance(frame, av.AudioFrame):
            sound = self._stream.sound(frame.to_ndarray()[0], frame.pts or 0)
            for sink in sinks:
                sink(sound)
        for track in self._tracks:
            if track.listening:
                track.put(_copy(frame))

    def close(self) -> None:
        self._closed = True
        for track in list(self._tracks):
            track.stop()

    def forget(self, track: RelayTrack) -> None:
        self._tracks.discard(track)


class RelayTrack(FedTrack):
    """One connection's view of a relayed track."""

    def __init__(self, fanout: RelayFanout) -> None:
        super().__init__()
        self.kind = fanout.kind
        self.listening = False
        self._fanout = fanout
        self._frames: deque[Frame] = deque()
        self._wake = asyncio.Event()

    def feed(self, sink: Sink | None) -> None:
        if self.readyState != "live":
            return
        super().feed(sink)
        self.listening = False
        if sink is not None:
            self._fanout.on_listener()

    def put(self, frame: Frame) -> None:
        if len(self._frames) >= MAX_WAITING[self.kind]:
            DROPPED_FRAMES.labels(self.kind).inc()
            self._frames.popleft()
        self._frames.append(frame)
        self._wake.set()

    async def recv(self) -> Frame:
        """The next frame. Raises `MediaStreamError` once stopped, also to a pending call."""
        if not self.listening and self.readyState == "live":
            self.listening = True
            self._fanout.on_listener()
        while not self._frames and self.readyState == "live":
            self._wake.clear()
            await self._wake.wait()
        if not self._frames:
            raise MediaStreamError
        return self._frames.popleft()

    def stop(self) -> None:
        super().stop()
        self.sink = None
        self._fanout.forget(self)
        self._wake.set()


def _copy(frame: Frame) -> Frame:
    copy: Frame
    if isinstance(frame, av.AudioFrame):
        copy = av.AudioFrame.from_ndarray(frame.to_ndarray(), format="s16", layout="mono")
        copy.sample_rate = frame.sample_rate
    else:
        copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
    copy.pts, copy.time_base = frame.pts, frame.time_base
    return copy
