"""One answer on its way to the loudspeaker: text from the model, clauses, audio, through the gate.

Everything is prepared ahead (`pipelines.speech`); the gate decides when it may sound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

from prometheus_client import Counter

from pipelines.base import EngineError, guarded_stream
from pipelines.filler import Fillers
from pipelines.gate import opened
from pipelines.playout import Playout
from pipelines.speakable import speakable
from pipelines.speech import TTS_TIMEOUT_S, Piece, Speech, TextSource, voice_language
from pipelines.spoken import SpokenText
from pipelines.tts.base import TextToSpeech

_log = logging.getLogger(__name__)
_FILLERS = Counter("voice_agent_fillers_total", "Fillers said because an answer was not ready")


class Reply:
    """Prepared by `run`, released by `gate`, stopped by closing that and cancelling `run`.

    `on_audible` is called right before the first sound is pushed, `on_text` with the text spoken so far,
    `on_first_clause` and `on_first_audio` when the first of each is there, `on_problem` with plain words for
    the people in the room. `language` is the tag of what the model writes; None: what the voice speaks.

    With `fillers`, a released reply that has no audio in time says one first: `on_filler` is called right
    before it, it is part of neither the text nor what was heard, and the answer plays behind it.
    """

    def __init__(
        self,
        reply_id: str,
        text: TextSource,
        voice: TextToSpeech,
        playout: Playout,
        *,
        gate: asyncio.Event,
        on_audible: Callable[[str], None],
        on_text: Callable[[str, str], None],
        on_first_clause: Callable[[], None],
        on_first_audio: Callable[[], None],
        on_problem: Callable[[str], None],
        language: str | None = None,
        fillers: Fillers | None = None,
        on_filler: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.id = reply_id
        self.gate = gate
        #: Whether anything has sounded, be it a filler.
        self.audible = False
        self._answering = False
        self._ended = False
        self._fillers = fillers
        self._on_filler = on_filler
        self._mouth = asyncio.Lock()
        self._voice = voice
        self._language = language or voice_language(voice)
        self._text = text
        self._playout = playout
        self._on_audible = on_audible
        self._on_text = on_text
        self._speech = Speech(
            voice,
            playout,
            gate=gate,
            language=language,
            on_first_clause=on_first_clause,
            on_first_audio=on_first_audio,
            on_problem=on_problem,
        )
        self._spoken = SpokenText()
        self._from_ms = 0.0

    @property
    def text(self) -> str:
        """What was spoken so far, heard or still queued."""
        return self._spoken.text

    def heard(self) -> str:
        """The words that have been played, as they are written."""
        return self._spoken.heard(self._playout.played_ms - self._from_ms) if self._answering else ""

    @property
    def cut(self) -> bool:
        """Whether, if it ended now, anything of it would be left unsaid."""
        return not self._ended or self.heard() != self.text

    async def run(self) -> None:
        """Returns when the last sample was played, or when there was nothing to say."""
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._speech.write(self._text))
            stages.create_task(self._speech.speak())
            filling = stages.create_task(self._fill(self._fillers)) if self._fillers else None
            async with aclosing(self._speech.pieces()) as pieces:
                async for piece in pieces:
                    await self._play(piece)
            self._spoken.end()
            self._ended = True
            if filling:
                filling.cancel()
        await opened(self.gate)
        await self._playout.flush()
        await self._playout.drained()

    async def _play(self, piece: Piece) -> None:
        async with self._mouth:
            await opened(self.gate)
            if not self._answering:
                self._answering = self.audible = True
                self._from_ms = self._playout.played_ms + self._playout.queued_ms
                self._on_audible(self.id)
                # Whoever heard of it may have stopped it: nothing of it sounds then.
                await opened(self.gate)
            if piece.first:
                self._spoken.add(piece.clause, piece.spoken)
                self._on_text(self.id, self.text)
            self._speech.taken(piece)
            if piece.pcm:
                self._spoken.extend(piece.pcm)
                await self._playout.push(piece.pcm)

    async def _fill(self, fillers: Fillers) -> None:
        await opened(self.gate)
        await asyncio.sleep(fillers.after_ms / 1000)
        if self._speech.audible or (phrase := fillers.take()) is None:
            return
        try:
            async with asyncio.timeout(TTS_TIMEOUT_S):
                stream = partial(self._voice.synthesize, speakable(phrase, self._language))
                async with aclosing(guarded_stream("the voice", stream)) as audio:
                    pieces = [pcm async for pcm in audio]
        except (EngineError, TimeoutError) as error:
            # If the voice is broken the answer will say so.
            _log.info("no filler: %s", type(error).__name__)
            return
        async with self._mouth:
            if self._speech.audible or not self.gate.is_set() or not pieces:
                return
            self.audible = True
            _FILLERS.inc()
            self._on_filler(self.id)
            for pcm in pieces:
                await opened(self.gate)
                await self._playout.push(pcm)


async def fixed_text(text: str) -> TextSource:
    """An announcement."""
    yield text
