"""The engines of this process: which ones run and why, loaded once and shared by all calls.

Engines are found through the entry points ``voice_agent.stt``, ``voice_agent.llm`` and ``voice_agent.tts``;
each names a class with a ``load`` as in `EngineClass`. ``auto`` takes the best that can be had and says why.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast
from weakref import WeakValueDictionary

from rapidfuzz import process

from pipelines.base import EngineError, EngineInfo, EngineKind, EngineUnavailableError, primary_language
from pipelines.endpoint.model import EndOfTurnModel
from pipelines.llm.base import LanguageModel
from pipelines.models import PIPER_EXAMPLES, ModelStore, Progress, UnknownModelError
from pipelines.options import LlmOptions, ModelsOptions, SttOptions, TtsOptions
from pipelines.speakable import speakable
from pipelines.speech import voice_language
from pipelines.stt.base import SpeechToText
from pipelines.tts.base import TextToSpeech
from pipelines.tts.cache import PhraseCache

__all__ = ["EngineClass", "Engines", "Progress", "engine_class", "engine_names"]

log = logging.getLogger(__name__)

AUTO = "auto"
BUILTIN_VOICE = "builtin"
#: Voices in memory at once; one more is refused, because those that are there may be speaking.
MAX_VOICES = 8


class EngineClass(Protocol):
    """What an entry point names. `options` are those of its kind, e.g. `SttOptions`."""

    async def load(self, options: Any, *, models: ModelStore, reason: str) -> Any:
        """A classmethod that returns an engine ready for use; `reason` goes into its info.

        Raises `EngineUnavailableError` when something it needs is not here, `EngineError` when it is broken.
        """


def engine_names(kind: EngineKind) -> tuple[str, ...]:
    """The engines of a kind that are installed."""
    return tuple(sorted({point.name for point in entry_points(group=f"voice_agent.{kind}")}))


def engine_class(kind: EngineKind, name: str) -> EngineClass:
    """The engine registered as `name`; `EngineUnavailableError` with the nearest name when there is none."""
    for point in entry_points(group=f"voice_agent.{kind}", name=name):
        try:
            return cast(EngineClass, point.load())
        except ImportError as error:
            raise EngineUnavailableError(
                f"the {kind} engine {name} needs {error.name or 'a package'}, which is missing",
                fix=f"install the package that {name} needs, or choose another {kind}.engine",
            ) from error
    names = engine_names(kind)
    nearest = process.extractOne(name[:100], names)
    meant = f"; did you mean {nearest[0]}?" if nearest else ""
    raise EngineUnavailableError(
        f"there is no {kind} engine {name[:100]!r}{meant}",
        fix=f"set {kind}.engine to {', '.join((AUTO, *names))}",
    )


class Engines:
    """The recogniser, the language model and the voices in use. Make one with `load`."""

    def __init__(self, models: ModelStore, tts: TtsOptions) -> None:
        self._models = models
        self._tts_options = tts
        self._voices: dict[str, TextToSpeech] = {}
        #: A lock for each voice that somebody waits for, and no longer than that.
        self._loading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._on_the_way = 0
        self._stack = AsyncExitStack()
        self.stt: SpeechToText
        self.llm: LanguageModel
        self.tts: TextToSpeech
        #: Judges by the sound whether a turn is over, where a model for it is configured.
        self.end_of_turn: EndOfTurnModel | None = None

    @classmethod
    async def load(
        cls,
        models: ModelsOptions,
        stt: SttOptions,
        tts: TtsOptions,
        llm: LlmOptions,
        *,
        end_of_turn_model: Path | None = None,
        progress: Progress | None = None,
    ) -> Engines:
        """Load what the options name; ``auto`` falls back where the better engine cannot be had.

        `progress` is called from other threads while weights are fetched. Raises `EngineUnavailableError`
        when an engine that is named cannot be had, `EngineError` when it is broken.
        """
        store = ModelStore(models, progress=progress)
        engines = cls(store, tts)
        async with AsyncExitStack() as stack:
            # The quickest first: of a mistake in the settings nobody hears only after seconds of loading.
            engines.llm = await _load_llm(llm, store)
            stack.push_async_callback(engines.llm.close)
            engines.tts = await _ready(await _load_tts(tts, store))
            stack.push_async_callback(engines.tts.close)
            engines.stt = await _load_stt(stt, store)
            stack.push_async_callback(engines.stt.close)
            if end_of_turn_model:
                engines.end_of_turn = await EndOfTurnModel.load(end_of_turn_model)
                stack.push_async_callback(engines.end_of_turn.close)
            engines._stack = stack.pop_all()
        for info in engines.report():
            log.debug("%s: %s, %s (%s)", info.kind, info.engine, info.model, info.reason)
        return engines

    async def voice(self, name: str | None = None, language: str | None = None) -> TextToSpeech:
        """A voice by name, loaded once; None: the configured one, or one for `language` if that lacks it.

        Raises `EngineUnavailableError` when a voice that is named cannot be had.
        """
        if name is None or name == self._tts_options.voice:
            if name is not None or self.tts.info.supports(language):
                return self.tts
            return await self._voice_for(str(language))
        if "/" in name or "\\" in name or name.endswith(".onnx"):
            raise EngineUnavailableError(
                "a voice of a call is chosen by name", fix="name a voice; a path can only stand in tts.voice"
            )
        return await self._load_voice(name)

    def report(self) -> tuple[EngineInfo, ...]:
        """Every engine in memory, for people."""
        return (self.stt.info, self.llm.info, self.tts.info, *(voice.info for voice in self._voices.values()))

    async def close(self) -> None:
        """Close every engine. Idempotent."""
        await self._stack.aclose()

    async def _load_voice(self, name: str) -> TextToSpeech:
        if (voice := self._voices.get(name)) is not None:
            return voice
        # One lock a voice: who wants another is not held up by this one's download.
        lock = self._loading.setdefault(name, asyncio.Lock())
        async with lock:
            if name not in self._voices:
                if len(self._voices) + self._on_the_way >= MAX_VOICES:
                    raise EngineUnavailableError(
                        f"{MAX_VOICES} voices are in memory already",
                        fix="use one of them, or restart the service",
                    )
                self._on_the_way += 1
                try:
                    self._voices[name] = await self._new_voice(name)
                finally:
                    self._on_the_way -= 1
            return self._voices[name]

    async def _new_voice(self, name: str) -> TextToSpeech:
        options = self._tts_options.model_copy(update={"voice": name})
        engine = "piper" if options.engine == AUTO else options.engine
        loaded = await engine_class("tts", engine).load(
            options, models=self._models, reason="asked for by a call"
        )
        voice = await _ready(loaded)
        self._stack.push_async_callback(voice.close)
        return voice

    async def _voice_for(self, language: str) -> TextToSpeech:
        code = primary_language(language)
        for name in PIPER_EXAMPLES:
            if name.startswith(f"{code}_"):
                try:
                    return await self._load_voice(name)
                except EngineError as error:
                    log.warning("no voice for %s, the configured one speaks: %s", code, error)
                    break
        return self.tts


async def _ready(voice: TextToSpeech) -> PhraseCache:
    # The first time a language is read takes tens of milliseconds, which no call should have to wait.
    await asyncio.to_thread(speakable, "1", voice_language(voice))
    return PhraseCache(voice)


# What a `load` returns is known by its kind only: the attributes of `Engines` carry the types.


async def _load_stt(options: SttOptions, models: ModelStore) -> Any:
    if options.engine != AUTO:
        return await _load("stt", options.engine, options, models)
    try:
        return await _load(
            "stt", "faster-whisper", options, models, f"the weights of {options.model} are here"
        )
    except UnknownModelError:
        raise
    except EngineError as error:
        log.debug("faster-whisper cannot run: %s", error)
        return await _load("stt", "pocketsphinx", options, models, _instead("faster-whisper", error))


async def _load_tts(options: TtsOptions, models: ModelStore) -> Any:
    if options.engine != AUTO:
        return await _load("tts", options.engine, options, models)
    if options.voice == BUILTIN_VOICE:
        return await _load("tts", "piper", options, models)
    try:
        return await _load("tts", "piper", options, models, f"the voice {options.voice} is here")
    except UnknownModelError:
        raise
    except EngineError as error:
        log.debug("the voice %s cannot speak: %s", options.voice, error)
        builtin = options.model_copy(update={"voice": BUILTIN_VOICE})
        return await _load("tts", "piper", builtin, models, _instead(options.voice, error))


async def _load_llm(options: LlmOptions, models: ModelStore) -> Any:
    if options.engine != AUTO:
        return await _load("llm", options.engine, options, models)
    if options.base_url is not None or options.api_key is not None:
        return await _load("llm", "openai", options, models, "an endpoint is set")
    reason = "no endpoint is set; set llm.base_url or llm.api_key to use a real model"
    return await _load("llm", "scripted", options, models, reason)


def _instead(wanted: str, error: EngineError) -> str:
    return f"in place of {wanted}: {error}; see 'voice-agent models'"


async def _load(
    kind: EngineKind,
    name: str,
    options: Any,
    models: ModelStore,
    reason: str = "it is what the settings name",
) -> Any:
    return await engine_class(kind, name).load(options, models=models, reason=reason)
