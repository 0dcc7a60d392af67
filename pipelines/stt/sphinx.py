"""pocketsphinx: the recogniser that needs no download, the default where no better one can be had.

Its wheel carries a model of US English. Captions come from a streaming pass while people speak, the
transcript from one more decoding of the whole utterance, which is far better than the end of the stream.
"""

from __future__ import annotations

import queue
from functools import partial

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineBusyError, EngineError, EngineInfo
from pipelines.jobs import JobQueue
from pipelines.models import ModelStore
from pipelines.options import SttOptions
from pipelines.stt.base import Transcript
from pipelines.stt.buffer import SegmentBuffer
from pipelines.stt.sphinx_decoder import SphinxCaptioner, SphinxDecoder

#: A caption is renewed when this much audio has come since the last one.
CAPTION_SAMPLES = SPEECH_RATE_HZ * 320 // 1000
#: Segments that get captions side by side; one more waits for a free captioner. Each takes about 100 MB.
MAX_CAPTIONERS = 4
#: Shorter than this holds no word.
MIN_SAMPLES = SPEECH_RATE_HZ // 10


class SphinxEngine:
    """US English. One decoder a worker; recognitions share them."""

    def __init__(self, options: SttOptions, *, reason: str) -> None:
        self._info = EngineInfo("stt", "pocketsphinx", "en-us (in the package)", reason, ("en",))
        self._jobs = JobQueue("pocketsphinx", workers=options.workers, max_waiting=options.max_queue)
        self._workers = options.workers
        self._decoders: queue.SimpleQueue[SphinxDecoder] = queue.SimpleQueue()
        self._captioners: list[SphinxCaptioner] = []
        self._captioners_made = 0

    @classmethod
    async def load(cls, options: SttOptions, *, models: ModelStore, reason: str) -> SphinxEngine:  # noqa: ARG003
        """Load the decoders; `models` is not needed."""
        engine = cls(options, reason=reason)
        await engine._jobs.run(engine._load)
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._info

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> SphinxRecognition:  # noqa: ARG002
        """See `SpeechToText.recognise`; any `language` is heard as English."""
        return SphinxRecognition(self, phrases)

    async def prepare(self, phrases: tuple[str, ...]) -> None:
        """Build the language model of `phrases` on every decoder."""
        await self._jobs.run(partial(self._learn, phrases))

    async def close(self) -> None:
        await self._jobs.close()

    def _load(self) -> None:
        for _ in range(self._workers):
            self._decoders.put(SphinxDecoder())

    def _learn(self, phrases: tuple[str, ...]) -> None:
        # Whoever learns holds at most one decoder, so that learners and listeners never wait for each other.
        taught: set[int] = set()
        for _ in range(2 * self._workers):
            decoder = self._decoders.get()
            try:
                decoder.learn(phrases)
            finally:
                self._decoders.put(decoder)
            taught.add(id(decoder))
            if len(taught) == self._workers:
                return

    def _hear(self, audio: Samples, phrases: tuple[str, ...]) -> Transcript:
        decoder = self._decoders.get()
        try:
            heard = decoder.hear(audio, phrases)
        finally:
            self._decoders.put(decoder)
        return Transcript(heard.text, heard.confidence, "en") if heard.text else Transcript("", None, None)

    async def _lease_captioner(self) -> SphinxCaptioner | None:
        if self._captioners:
            return self._captioners.pop()
        if self._captioners_made >= MAX_CAPTIONERS:
            return None
        self._captioners_made += 1
        made = False
        try:
            captioner = await self._jobs.run(SphinxCaptioner, decisive=False)
            made = True
            return captioner
        finally:
            if not made:
                self._captioners_made -= 1

    def _return_captioner(self, captioner: SphinxCaptioner) -> None:
        self._captioners.append(captioner)


class SphinxRecognition:
    """One segment."""

    def __init__(self, engine: SphinxEngine, phrases: tuple[str, ...]) -> None:
        self._engine = engine
        self._phrases = phrases
        self._audio = SegmentBuffer()
        self._closed = False
        self._captioner: SphinxCaptioner | None = None
        self._captioning = False
        self._captioned = 0
        self._caption = ""
        self._last: tuple[int, Transcript] | None = None

    def feed(self, samples: Samples) -> None:
        self._audio.append(samples)

    async def partial(self) -> str:
        """The caption so far. While no captioner or thread is free, the previous one."""
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

    async def transcribe(self, *, decisive: bool) -> Transcript:
        if self._closed:
            raise EngineError("this recognition is closed")
        length = len(self._audio)
        if length < MIN_SAMPLES:
            return Transcript("")
        if self._last is None or self._last[0] != length:
            job = partial(self._engine._hear, self._audio.since(0), self._phrases)
            self._last = (length, await self._engine._jobs.run(job, decisive=decisive))
        return self._last[1]

    def close(self) -> None:
        self._closed = True
        self._audio.clear()
        if not self._captioning:
            self._give_back()

    async def _follow(self) -> None:
        engine, first = self._engine, self._captioner is None
        before, self._captioned = self._captioned, len(self._audio)
        try:
            if self._captioner is None:
                self._captioner = await engine._lease_captioner()
            if self._captioner is None:
                self._captioned = before
                return
            follow = self._captioner.begin if first else self._captioner.follow
            job = partial(follow, self._audio.since(before))
            self._caption = await engine._jobs.run(job, decisive=False)
        except EngineBusyError:
            # A caption is not worth a refusal: the one that is there stays, the audio waits for the next.
            self._captioned = before

    def _give_back(self) -> None:
        if self._captioner is not None:
            self._engine._return_captioner(self._captioner)
            self._captioner = None
