"""This project's agent, as `voice-agent serve` runs it, with engines of the benchmark behind it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator
from typing import Any

from agent.service import running_service
from agent.settings import Settings, load_settings
from benchmarks.common.buzz import RATE_HZ, buzz
from benchmarks.common.setup import Setup, announce
from pipelines.audio import SPEECH_RATE_HZ, Pcm, Samples
from pipelines.base import EngineInfo
from pipelines.engines import Engines
from pipelines.llm.openai import OpenAIEngine
from pipelines.models import ModelStore
from pipelines.stt.base import Transcript
from pipelines.tts.piper import PiperEngine


class FreeRecognition:
    """Knows what was said in the audio it was fed."""

    def __init__(self, setup: Setup) -> None:
        self._note = setup.note
        self._samples = 0
        self._began_s = math.inf

    def feed(self, samples: Samples) -> None:
        self._samples += len(samples)
        # A busy machine hears late, never early: what was said is as long ago as the promptest block tells.
        self._began_s = min(self._began_s, time.monotonic() - self._samples / SPEECH_RATE_HZ)

    async def partial(self) -> str:
        return self._note.heard(max(0.0, time.monotonic() - self._began_s))

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:  # noqa: ARG002
        return Transcript(await self.partial())

    def close(self) -> None:
        return


class FreeSpeechToText:
    info = EngineInfo("stt", "free", "free", "the benchmark's", ("en",))

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def recognise(self, *, language: str | None, phrases: tuple[str, ...] = ()) -> FreeRecognition:  # noqa: ARG002
        return FreeRecognition(self._setup)

    async def close(self) -> None:
        return


class FreeTextToSpeech:
    info = EngineInfo("tts", "free", "free", "the benchmark's", ("en",))

    async def synthesize(
        self,
        text: str,
        *,
        wanted: asyncio.Event | None = None,  # noqa: ARG002
    ) -> AsyncGenerator[Pcm, None]:
        if len(samples := buzz(text)):
            yield Pcm(samples, RATE_HZ)

    async def close(self) -> None:
        return


def settings_for(setup: Setup) -> Settings:
    """The defaults, with the benchmark's engines."""
    changed = ["server.port=0", f"llm.base_url={setup.llm_url}", "models.fetch=false", "log.level=warning"]
    if setup.whisper:
        changed += ["stt.engine=faster-whisper", f"stt.model={setup.whisper}"]
    if setup.piper:
        changed += ["tts.engine=piper", f"tts.voice={setup.piper}"]
    return load_settings(environ={}, overrides=changed).settings


async def free_engines(setup: Setup, settings: Settings) -> Engines:
    models = ModelStore(settings.models)
    engines = Engines(models, settings.tts)
    engines.stt = FreeSpeechToText(setup)
    engines.tts = FreeTextToSpeech()
    if setup.piper:
        engines.tts = await PiperEngine.load(settings.tts, models=models, reason="the benchmark's")
    # Engines come through `Any` where the service loads them, too.
    llm: Any = await OpenAIEngine.load(settings.llm, models=models, reason="the benchmark's")
    engines.llm = llm
    return engines


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    setup = Setup.from_arguments()
    settings = settings_for(setup)
    engines = None if setup.whisper else await free_engines(setup, settings)
    async with running_service(settings, engines=engines) as service:
        announce(service.url)
        await service.stopped()


if __name__ == "__main__":
    asyncio.run(main())
