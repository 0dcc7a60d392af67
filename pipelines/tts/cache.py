"""Keeps the audio of short phrases: what an agent says often costs its synthesis once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from weakref import WeakValueDictionary

from prometheus_client import Counter, Gauge

from pipelines.audio import Pcm
from pipelines.base import EngineInfo
from pipelines.jobs import when
from pipelines.tts.base import TextToSpeech

_LOOKUPS = Counter(
    "voice_agent_tts_cache_total",
    "Phrases asked of a voice: hit (kept), miss (synthesised and kept), long (never kept)",
    ["outcome"],
)
_BYTES = Gauge("voice_agent_tts_cache_bytes", "Audio of phrases kept in memory")

#: Longer texts are said once: not worth the memory, and better streamed.
MAX_CHARS = 80
#: Of one voice: about eight minutes of speech at 16 kHz.
MAX_BYTES = 16 * 1024 * 1024


class _Making:
    """A phrase that one call synthesises, for itself and for whoever asks meanwhile."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        #: Set as soon as one of them waits to hear it.
        self.wanted = asyncio.Event()


class PhraseCache:
    """A voice whose short phrases are kept, the least recently said dropped first.

    One cache belongs to one voice in one style and is shared by all calls. A phrase is kept whole, as the
    voice gave it, once it was synthesised to its end; two calls that want the same one synthesise it once.
    """

    def __init__(
        self, voice: TextToSpeech, *, max_bytes: int = MAX_BYTES, max_chars: int = MAX_CHARS
    ) -> None:
        self._voice = voice
        self._max_bytes = max_bytes
        self._max_chars = max_chars
        self._kept: OrderedDict[str, tuple[Pcm, ...]] = OrderedDict()
        self._bytes = 0
        #: The phrases that are being synthesised.
        self._making: WeakValueDictionary[str, _Making] = WeakValueDictionary()

    @property
    def info(self) -> EngineInfo:
        return self._voice.info

    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        """See `TextToSpeech.synthesize`."""
        if len(text) > self._max_chars and text not in self:
            _LOOKUPS.labels("long").inc()
            async with aclosing(self._voice.synthesize(text, wanted=wanted)) as audio:
                async for pcm in audio:
                    yield pcm
            return
        for pcm in await self._phrase(text, wanted):
            yield pcm

    def __contains__(self, text: str) -> bool:
        """Whether `text` is kept."""
        return text in self._kept

    async def prepare(self, text: str) -> float:
        """Keep `text`, however long it is, before somebody waits for it; returns its length in ms."""
        return sum(pcm.duration_ms for pcm in await self._phrase(text, asyncio.Event()))

    async def close(self) -> None:
        """Drop everything and close the voice. Idempotent."""
        self._kept.clear()
        self._count(-self._bytes)
        await self._voice.close()

    async def _phrase(self, text: str, wanted: asyncio.Event | None) -> tuple[Pcm, ...]:
        if (kept := self._find(text)) is not None:
            return kept
        making = self._making.setdefault(text, _Making())
        if wanted is None or wanted.is_set():
            making.wanted.set()
            return await self._make(text, making)
        async with when(wanted, making.wanted.set):
            return await self._make(text, making)

    async def _make(self, text: str, making: _Making) -> tuple[Pcm, ...]:
        async with making.lock:
            if (kept := self._find(text)) is not None:
                return kept
            _LOOKUPS.labels("miss").inc()
            async with aclosing(self._voice.synthesize(text, wanted=making.wanted)) as audio:
                made = tuple([pcm async for pcm in audio])
            self._keep(text, made)
            return made

    def _find(self, text: str) -> tuple[Pcm, ...] | None:
        if (kept := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
            _LOOKUPS.labels("hit").inc()
        return kept

    def _keep(self, text: str, made: tuple[Pcm, ...]) -> None:
        size = _size(made)
        if not 0 < size <= self._max_bytes:
            return
        self._kept[text] = made
        self._count(size)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._count(-_size(oldest))

    def _count(self, change: int) -> None:
        self._bytes += change
        _BYTES.inc(change)


def _size(pieces: tuple[Pcm, ...]) -> int:
    return sum(pcm.samples.nbytes for pcm in pieces)
