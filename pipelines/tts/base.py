"""The small protocol every voice speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from pipelines.audio import Pcm
from pipelines.base import EngineInfo


@dataclass(frozen=True, slots=True, eq=False)
class SpokenPcm(Pcm):
    """Audio of which the voice knows where its words are.

    `word_ends_ms`: when the next white-space separated words of the text end, in ms from the start of this
    piece; a clause of several pieces goes on counting. Words beyond the last one are in later pieces.
    """

    word_ends_ms: tuple[float, ...] = ()


class TextToSpeech(Protocol):
    """A loaded voice, shared by all calls of the process."""

    @property
    def info(self) -> EngineInfo: ...

    def synthesize(self, text: str, *, wanted: asyncio.Event | None = None) -> AsyncGenerator[Pcm, None]:
        """Speak one clause; yields audio, `SpokenPcm` where it can, as soon as there is some.

        With `wanted`, whatever is waited for elsewhere goes first until that is set.

        Text with nothing to say (empty, punctuation only) yields nothing. Closing the iterator cancels the
        rest. Raises `EngineError` when the voice fails, `EngineBusyError` when its queue is full.
        """

    async def close(self) -> None: ...
