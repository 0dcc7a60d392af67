"""pocketsphinx: the recogniser that needs no download, the default where no better one can be had.

Its wheel carries a model of US English. Captions come from a streaming pass while people speak, the
transcript from one more decoding of the whole utterance, which is far better than the end of the stream.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from functools import partial
from typing import Any

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineBusyError, EngineInfo
from pipelines.jobs import JobQueue
from pipelines.models import ModelStore
from pipelines.options import SttOptions
from pipelines.stt.base import Transcript
from pipelines.stt.segment import SegmentRecognition
from pipelines.stt.sphinx_process import SphinxProcess

#: A caption is renewed when this much audio has come since the last one.
CAPTION_SAMPLES = SPEECH_RATE_HZ * 320 // 1000
#: Segments that get captions side by side, each with about 100 MB of decoder; one more goes without.
MAX_CAPTIONERS = 4
#: More speech than this is not decoded anew for its first words while it goes on.
MAX_ROUGH_SAMPLES = SPEECH_RATE_HZ * 1500 // 1000


class SphinxEngine:
    """US English. One process a worker, and one for captions, which starts with the first of them."""

    def __init__(self, options: SttOptions, *, reason: str) -> None:
        self._info = EngineInfo("stt", "pocketsphinx", "en-us (in the package)", reason, ("en",))
        self._jobs = JobQueue("pocketsphinx", workers=options.workers, max_waiting=options.max_queue)
        self._captions = JobQueue("pocketsphinx-captions", workers=1, max_waiting=MAX_CAPTIONERS)
        self._processes = [SphinxProcess() for _ in range(options.workers)]
        self._idle: queue.SimpleQueue[SphinxProcess] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._captioning = SphinxProcess()
        self._free_captioners = list(range(MAX_CAPTIONERS))

    @classmethod
    async def load(cls, options: SttOptions, *, models: ModelStore, reason: str) -> SphinxEngine:  # noqa: ARG003
        """Start the processes; `models` is not needed."""
        engine = cls(options, reason=reason)
        try:
            loads = (asyncio.to_thread(process.call, "load") for process in engine._processes)
            for failure in await asyncio.gather(*loads, return_exceptions=True):
                if failure is not None:
                    raise failure
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._info

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> SphinxRecognition:  # noqa: ARG002
        """See `SpeechToText.recognise`; any `language` is heard as English."""
        return SphinxRecognition(self, phrases)

    async def close(self) -> None:
        await self._jobs.close()
        await self._captions.close()
        for process in (*self._processes, self._captioning):
            await asyncio.to_thread(process.close)

    def _call_idle(self, method: str, *args: Any) -> Any:
        process = self._idle.get()
        try:
            return process.call(method, *args)
        finally:
            self._idle.put(process)


class SphinxRecognition(SegmentRecognition):
    """One segment."""

    def __init__(self, engine: SphinxEngine, phrases: tuple[str, ...]) -> None:
        super().__init__(engine._jobs)
        self._engine = engine
        self._phrases = phrases
        #: Number of the captioner that follows this segment; kept until the segment is closed.
        self._captioner: int | None = None
        self._captioning = False
        self._captioned = 0
        self._caption = ""

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        """See `Recognition`. In the middle of long speech what the stream has is there at no cost."""
        if rough and len(self._audio) > MAX_ROUGH_SAMPLES:
            return Transcript(await self.partial(), None, "en")
        return await super().transcribe(decisive=decisive)

    async def partial(self) -> str:
        """The caption so far. While no captioner is free, the previous one."""
        if self._closed or self._captioning or len(self._audio) - self._captioned < CAPTION_SAMPLES:
            return self._caption
        self._captioning = True
        try:
            await self._follow()
        finally:
            self._captioning = False
            if self._closed:
                self._give_back()
        return self._caption

    def close(self) -> None:
        super().close()
        if not self._captioning:
            self._give_back()

    def _hear(self, audio: Samples, go_on: Callable[[], None]) -> Transcript:  # noqa: ARG002
        text, confidence = self._engine._call_idle("hear", audio, self._phrases)
        return Transcript(text, confidence, "en") if text else Transcript("")

    async def _follow(self) -> None:
        engine, start = self._engine, self._captioned
        method = "follow"
        if self._captioner is None:
            if not engine._free_captioners:
                return
            self._captioner = engine._free_captioners.pop()
            method = "begin"
        audio = self._audio.since(start)
        self._captioned = len(self._audio)
        job = partial(engine._captioning.call, method, self._captioner, audio)
        try:
            self._caption = await engine._captions.run(job, decisive=False)
        except EngineBusyError:
            # A caption is not worth a refusal: the one that is there stays, the audio waits for the next.
            self._captioned = start
            if method == "begin":
                self._give_back()

    def _give_back(self) -> None:
        if self._captioner is not None:
            self._engine._free_captioners.append(self._captioner)
            self._captioner = None
