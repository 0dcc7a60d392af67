"""The small protocol every speech recogniser speaks.

A recognition lives as long as one segment: samples are fed as they arrive, the text so far can be asked
for at any time, and a segment that goes on after a pause is simply fed further and transcribed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipelines.audio import Samples
from pipelines.base import EngineInfo


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was understood of a segment so far. Empty text: nothing was said (noise, breath, music)."""

    text: str
    #: How sure the engine is, 0..1; None when it cannot tell.
    confidence: float | None = None
    #: The code of the language it heard; None when it cannot tell.
    language: str | None = None


class Recognition(Protocol):
    """The recognition of one segment."""

    def feed(self, samples: Samples) -> None:
        """Append 16 kHz mono audio. Never blocks; bounded by the engine's longest segment."""

    async def partial(self) -> str:
        """The best text so far for a live caption, cheaply; may be empty, may change later."""

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        """Recognise everything fed so far. May be called at any time, while people speak too, and again.

        Returns at once when nothing was said since the last result, and shares a job that is at work on the
        same words. `decisive` ones go before speculative ones in the engine's queue; a `rough` one, in the
        middle of speech, may be what the caption has. Raises `EngineError` when the engine fails and
        `EngineBusyError` when its queue is full. Cancelling the caller drops what nobody else waits for.
        """

    def close(self) -> None:
        """Drop the audio and whatever the engine holds for it. Idempotent."""


class SpeechToText(Protocol):
    """A loaded model, shared by all calls of the process."""

    @property
    def info(self) -> EngineInfo: ...

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> Recognition:
        """Open the recognition of one segment.

        `language` is a tag or None to detect it; `phrases` are sentences the persona expects.
        """

    async def close(self) -> None: ...
