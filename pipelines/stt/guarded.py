"""The boundary of a call to its recogniser, which may be anybody's code."""

from __future__ import annotations

from contextlib import suppress

from pipelines.audio import Samples
from pipelines.base import EngineError, guarded
from pipelines.stt.base import Recognition, SpeechToText, Transcript

_ENGINE = "speech recognition"


class GuardedRecognition:
    """A `Recognition` that raises nothing but `EngineError`, and only where it is asked for words.

    One that could not be opened or fed understands nothing from then on.
    """

    def __init__(self, stt: SpeechToText, *, language: str | None, phrases: tuple[str, ...]) -> None:
        self._inner: Recognition | None = None
        self._broken: EngineError | None = None
        try:
            with guarded(_ENGINE):
                self._inner = stt.recognise(language=language, phrases=phrases)
        except EngineError as error:
            self._broken = error

    def feed(self, samples: Samples) -> None:
        if self._inner is not None and self._broken is None:
            try:
                with guarded(_ENGINE):
                    self._inner.feed(samples)
            except EngineError as error:
                self._broken = error

    async def partial(self) -> str:
        with guarded(_ENGINE):
            return await self._sound().partial()

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:
        with guarded(_ENGINE):
            return await self._sound().transcribe(decisive=decisive, rough=rough)

    def close(self) -> None:
        if self._inner is not None:
            with suppress(EngineError), guarded(_ENGINE):
                self._inner.close()

    def _sound(self) -> Recognition:
        if self._inner is None or self._broken is not None:
            raise self._broken or EngineError(f"{_ENGINE} is not open")
        return self._inner
