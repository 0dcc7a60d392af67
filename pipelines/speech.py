"""Text to audio, a bounded way ahead of the loudspeaker.

The voice asks for a clause when it is ready for one, and gets as much as the audio ahead leaves time for: a
word or two while somebody is waiting, a sentence once there is plenty. A model that runs ahead of the voice
waits, and so does a voice that runs ahead of the loudspeaker, instead of piling up what nobody may ever hear.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from prometheus_client import Counter

from pipelines.audio import Pcm
from pipelines.base import EngineError, guarded, guarded_stream
from pipelines.clauses import ClauseSplitter, loosens_in_ms
from pipelines.playout import Playout
from pipelines.speakable import Reader, speakable
from pipelines.tts.base import TextToSpeech
from pipelines.tts.cache import PhraseCache

_log = logging.getLogger(__name__)
ENGINE_FAILURES = Counter("voice_agent_engine_failures_total", "Engine failures met in a call", ["kind"])
_TIMEOUTS = Counter("voice_agent_tts_timeouts_total", "Clauses whose audio did not come in time")

#: A voice that gives no audio for so long has failed: somebody is waiting on the line.
TTS_TIMEOUT_S = 10.0
#: Audio that waits for the loudspeaker; more is not made.
MAX_AHEAD_MS = 5000.0
#: The same while the reply may not sound: most of a speculation that fails is never made.
MAX_HELD_MS = 2500.0
#: What is ahead of the loudspeaker changes in steps of a frame.
FRAME_MS = 20.0
#: Text the model may be ahead of the voice.
MAX_AHEAD_CHARS = 1000

_BROKEN = "The voice is broken at the moment; please read the captions."

TextSource: TypeAlias = AsyncGenerator[str, None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some audio of a clause; `first` of its pieces, `pcm` None where there is nothing to hear of it."""

    clause: str
    spoken: str
    pcm: Pcm | None
    first: bool


class Speech:
    """The words and the audio of one reply; `write` and `speak` run side by side, `pieces` gives the result.

    `language` is that of the text, where it is known. `on_first_clause` and `on_first_audio` are called when
    the first of each is there, `on_problem` with plain words for the people in the room, once the gate is
    open.
    """

    def __init__(
        self,
        voice: TextToSpeech,
        playout: Playout,
        *,
        gate: asyncio.Event,
        language: str | None,
        on_first_clause: Callable[[], None],
        on_first_audio: Callable[[], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._voice = voice
        self._playout = playout
        self._gate = gate
        self._on_first_clause = on_first_clause
        self._on_first_audio = on_first_audio
        self._on_problem = on_problem
        self._splitter = ClauseSplitter(language or voice_language(voice))
        self._read = Reader(language or voice_language(voice))
        self._changed = asyncio.Event()
        self._ready: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._ready_ms = 0.0
        self._clauses = 0
        self._broken = False
        self._untold = False
        self._mute = False
        #: Whether there has been any audio.
        self.audible = False

    async def write(self, text: TextSource) -> None:
        """Take what the model writes, at the pace of the voice."""
        async with aclosing(text) as parts:
            async for part in parts:
                self._splitter.feed(part)
                self._changed.set()
                while self._splitter.waiting_chars > MAX_AHEAD_CHARS:
                    await self._change()
        self._splitter.end()
        self._changed.set()

    async def speak(self) -> None:
        """Turn clauses into audio until the text has ended."""
        while (clause := await self._next_clause()) is not None:
            if not self._clauses:
                self._on_first_clause()
            self._clauses += 1
            await self._synthesise(clause)
        self._ready.put_nowait(None)

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """What `speak` made, in order, as it is made."""
        while (piece := await self._ready.get()) is not None:
            yield piece

    def taken(self, piece: Piece) -> None:
        """`piece` goes to the loudspeaker now: there is room for another."""
        self._tell()
        if piece.pcm:
            self._ready_ms -= piece.pcm.duration_ms
        self._changed.set()

    async def _next_clause(self) -> str | None:
        while True:
            ahead_ms = self._ready_ms + self._playout.queued_ms
            limit_ms = MAX_AHEAD_MS if self._gate.is_set() else MAX_HELD_MS
            if ahead_ms >= limit_ms:
                await self._change(ahead_ms - limit_ms)
                continue
            clause = self._splitter.take(ahead_ms, silent=self._gate.is_set() and not self._clauses)
            # Room for the model to write on.
            self._changed.set()
            if clause is not None or self._splitter.done:
                return clause
            await self._change(loosens_in_ms(ahead_ms))

    async def _change(self, within_ms: float | None = None) -> None:
        """Returns when something happened; after `within_ms`, too, if audio is playing."""
        self._changed.clear()
        limit_s: float | None = None
        if within_ms is not None and self._playout.queued_ms > 0:
            limit_s = max(FRAME_MS, within_ms) / 1000
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._changed.wait()

    async def _synthesise(self, clause: str) -> None:
        spoken = self._read(clause)
        if spoken[-1:].isalnum() and not self._splitter.done:
            # Broken off before a phrase: the voice stays up, as before a comma.
            spoken += ","
        first = True
        if not self._mute:
            try:
                stream = partial(self._voice.synthesize, spoken, wanted=self._gate)
                async with aclosing(guarded_stream("the voice", stream)) as audio:
                    while (pcm := await self._in_time(audio)) is not None:
                        if not self.audible:
                            self.audible = True
                            self._on_first_audio()
                        self._ready_ms += pcm.duration_ms
                        self._ready.put_nowait(Piece(clause, spoken, pcm, first))
                        first = False
            except EngineError as error:
                self._failed(str(error))
            except TimeoutError:
                # The next clause would wait as long: the rest of this reply is only written.
                self._mute = True
                _TIMEOUTS.inc()
                self._failed(f"no audio within {TTS_TIMEOUT_S:g} s")
        if first:
            # Nothing to hear (an emoji, a broken voice): the caption is all there is of it.
            self._ready.put_nowait(Piece(clause, spoken, None, first))

    async def _in_time(self, audio: AsyncGenerator[Pcm, None]) -> Pcm | None:
        async with asyncio.timeout(TTS_TIMEOUT_S):
            return await anext(audio, None)

    def _failed(self, why: str) -> None:
        _log.warning("the voice failed: %s", why)
        ENGINE_FAILURES.labels("tts").inc()
        if not self._broken:
            # On speculation it is nobody's concern yet.
            self._broken = self._untold = True
            if self._gate.is_set():
                self._tell()

    def _tell(self) -> None:
        if self._untold:
            self._untold = False
            self._on_problem(_BROKEN)


def voice_language(voice: TextToSpeech) -> str | None:
    """The language of what `voice` is given to say, where it can be told from the voice alone."""
    return voice.info.only_language


async def rehearse(voice: PhraseCache, texts: Iterable[str], language: str | None) -> None:
    """Synthesise `texts` clause by clause, as replies would, so that they are kept when they are wanted."""
    language = language or voice_language(voice)
    # As `Engines` does for the voice's language; the persona's may be another.
    await asyncio.to_thread(speakable, "1", language)
    try:
        for text in texts:
            splitter, read = ClauseSplitter(language), Reader(language)
            splitter.feed(text)
            splitter.end()
            ahead_ms = 0.0
            while (clause := splitter.take(ahead_ms)) is not None:
                with guarded("the voice"):
                    ahead_ms += await voice.prepare(read(clause))
    except EngineError as error:
        # Whoever needs the phrase will find out, too, and says so in the call.
        _log.info("phrases could not be prepared: %s", error)
