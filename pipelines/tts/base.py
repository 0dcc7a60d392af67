"""The small protocol every voice speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from pipelines.audio import Pcm
from pipelines.base import EngineInfo


class TextToSpeech(Protocol):
    """A loaded voice, shared by all calls of the process."""

    @property
    def info(self) -> EngineInfo: ...

    def synthesize(self, text: str) -> AsyncGenerator[Pcm, None]:
        """Speak one clause; yields audio as soon as there is some.

        Text with nothing to say (empty, punctuation only) yields nothing. Closing the iterator cancels the
        rest. Raises `EngineError` when the voice fails, `EngineBusyError` when its queue is full.
        """

    async def close(self) -> None: ...
