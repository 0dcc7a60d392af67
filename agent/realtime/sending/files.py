"""Sound and pictures out of files and network streams, to be sent as tracks."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from os import PathLike, fspath
from typing import Any
from urllib.parse import urlsplit

import av
from prometheus_client import Counter

from agent.realtime.sending.relay import MAX_LATE_S, Frame, RelayFanout, Shaper

logger = logging.getLogger(__name__)

FAILURES = Counter("voice_agent_media_reading_failures_total", "Files and streams that broke off while read")
ABANDONED = Counter(
    "voice_agent_media_reader_threads_abandoned_total",
    "Reading threads that did not end in time and were left to their own timeout",
)

#: For a network stream to open, and for each read of it afterwards.
OPEN_S = 10.0
READ_S = 5.0
#: How long closing waits for the reading thread; it may be in the middle of a read.
CLOSE_S = 1.0


class MediaError(Exception):
    """A file or stream cannot be read. The text says why, and never holds a credential."""


class Media:
    """An open file or stream. `audio` and `video` can be given to `Peer.add_track`; None if there is none.

    It plays from the moment the first peer receives it, once for all, whether or not anybody still listens.
    """

    def __init__(self, container: Any, name: str, *, loop: bool, is_live: bool) -> None:
        streams = container.streams
        self.audio = RelayFanout("audio", self._start) if streams.audio else None
        self.video = RelayFanout("video", self._start) if streams.video else None
        self.name = name
        self._container = container
        self._loops = loop
        self._is_live = is_live
        self._event_loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._quit = threading.Event()
        self._thread: threading.Thread | None = None

    async def ended(self) -> None:
        """Return when everything has been played, or reading broke off."""
        await self._ended.wait()

    async def close(self) -> None:
        """Stop playing, end the tracks and the reading thread. Idempotent."""
        self._quit.set()
        self._end()
        thread = self._thread
        if thread is None:
            # Nobody ever listened.
            await asyncio.to_thread(self._container.close)
        elif thread.is_alive():
            await asyncio.to_thread(thread.join, CLOSE_S)
            if thread.is_alive():
                ABANDONED.inc()
                logger.warning("reading %s did not stop at once; it ends at its own timeout", self.name)

    def _start(self) -> None:
        if self._thread is None and not self._quit.is_set():
            self._thread = threading.Thread(target=self._run, name="media-reader", daemon=True)
            self._thread.start()

    def _end(self) -> None:
        for fanout in (self.audio, self.video):
            if fanout is not None:
                fanout.close()
        self._ended.set()

    # ---- in the thread

    def _run(self) -> None:
        try:
            self._play()
        except (av.FFmpegError, OSError, ValueError) as error:
            if not self._quit.is_set():
                FAILURES.inc()
                logger.warning("reading %s broke off: %s", self.name, _reason(error))
        finally:
            self._container.close()
            self._call(self._end)

    def _play(self) -> None:
        shape = Shaper()
        begin_s: float | None = None
        for media_s, frame in self._frames():
            if not self._is_live:
                now_s = time.monotonic()
                # Far behind, playing goes on from now instead of catching up.
                if begin_s is None or begin_s + media_s < now_s - MAX_LATE_S:
                    begin_s = now_s - media_s
                if self._quit.wait(max(0.0, begin_s + media_s - now_s)):
                    return
            fanout: Any = self.audio if isinstance(frame, av.AudioFrame) else self.video
            for shaped in shape(frame):
                self._call(fanout.send, shaped)

    def _frames(self) -> Iterator[tuple[float, Any]]:
        """Frames with their place in time, in seconds that go on through repetitions."""
        streams = [*self._container.streams.audio[:1], *self._container.streams.video[:1]]
        offset_s = end_s = 0.0
        while not self._quit.is_set():
            for frame in self._container.decode(*streams):
                if self._quit.is_set():
                    return
                media_s = offset_s + (frame.time or 0.0)
                end_s = max(end_s, media_s + _duration_s(frame))
                yield media_s, frame
            if not self._loops or end_s <= offset_s:
                return
            offset_s = end_s
            self._container.seek(0)

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            self._event_loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The event loop is closed, and everybody who listened is gone.
            self._quit.set()


@asynccontextmanager
async def from_file(path: str | PathLike[str], *, loop: bool = False) -> AsyncIterator[Media]:
    """Open a file, or an http(s) address of one, to be sent at the pace it was recorded at.

        async with from_file("welcome.wav") as media:
            peer.add_track(media.audio, stream_id="announcement")
            await media.ended()

    With `loop` it plays again and again. Leaving the block stops it. Whatever the file has becomes 48 kHz
    mono, and pictures of even size. Raises `MediaError`.
    """
    name = _safe_name(fspath(path))
    is_remote = "://" in fspath(path)
    async with _opened(fspath(path), name, {}, loop=loop, is_live=False, is_remote=is_remote) as media:
        yield media


@asynccontextmanager
async def from_rtsp(url: str) -> AsyncIterator[Media]:
    """Open a camera or another RTSP stream, over TCP; what it sends is passed on as it comes.

    The stream counts as broken off when nothing comes for 5 s; its tracks end then. Raises `ValueError` for
    an address that is not rtsp or rtsps, `MediaError` when it cannot be opened within 10 s.
    """
    if urlsplit(url).scheme not in ("rtsp", "rtsps"):
        raise ValueError("an RTSP address begins with rtsp:// or rtsps://")
    options = {"rtsp_transport": "tcp"}
    async with _opened(url, _safe_name(url), options, loop=False, is_live=True, is_remote=True) as media:
        yield media


@asynccontextmanager
async def _opened(
    path: str, name: str, options: dict[str, str], *, loop: bool, is_live: bool, is_remote: bool
) -> AsyncIterator[Media]:
    timeout = (OPEN_S, READ_S) if is_remote else None
    try:
        container = await asyncio.to_thread(av.open, path, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"cannot read {name}: {_reason(error)}") from None
    media = Media(container, name, loop=loop, is_live=is_live)
    try:
        if media.audio is None and media.video is None:
            raise MediaError(f"cannot read {name}: there is neither sound nor picture in it")
        yield media
    finally:
        await media.close()


def _duration_s(frame: Frame) -> float:
    if isinstance(frame, av.AudioFrame):
        return frame.samples / frame.sample_rate
    return 1 / 30


def _safe_name(path: str) -> str:
    """What may be told to anybody: of an address only where it leads, of a file its name."""
    if "://" not in path:
        return path
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.hostname or ''}"


def _reason(error: Exception) -> str:
    # The text of these errors may hold the whole address.
    number = getattr(error, "errno", None)
    if isinstance(error, av.FFmpegError) and error.strerror:
        return error.strerror
    return errno.errorcode.get(number or 0, type(error).__name__)
