"""Whisper through faster-whisper: the recogniser for real use, in many languages."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from threadpoolctl import threadpool_limits

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import (
    EngineBusyError,
    EngineError,
    EngineInfo,
    EngineUnavailableError,
    primary_language,
)
from pipelines.jobs import JobDroppedError, JobQueue
from pipelines.models import ModelStore, UnknownModelError
from pipelines.options import SttOptions
from pipelines.stt import whisper_window
from pipelines.stt.base import Transcript
from pipelines.stt.segment import SegmentRecognition

log = logging.getLogger(__name__)
# One line a recognition is too much.
logging.getLogger("faster_whisper").setLevel(logging.WARNING)

#: A caption is renewed when this much audio has come since the last one …
CAPTION_SAMPLES = SPEECH_RATE_HZ * 640 // 1000
#: … and at most this share of the time is spent on them.
CAPTION_DUTY = 0.34


def _go_on() -> None:
    """Nobody stops this one."""


class WhisperEngine:
    """One model, `options.workers` recognitions side by side."""

    def __init__(self, model: WhisperModel, info: EngineInfo, options: SttOptions, jobs: JobQueue) -> None:
        self._model = model
        self._info = info
        self._beam_size = options.beam_size
        self._jobs = jobs

    @classmethod
    async def load(cls, options: SttOptions, *, models: ModelStore, reason: str) -> WhisperEngine:
        """Load `options.model`, fetching it if need be, and recognise once to warm up.

        Raises `EngineUnavailableError` when the weights or the device cannot be had, `EngineError` when they
        do not load.
        """
        jobs = JobQueue("faster-whisper", workers=options.workers, max_waiting=options.max_queue)
        try:
            device, compute_type = _device(options)
            if is_directory(options.model):
                path = await jobs.run(partial(_checked, options.model))
            else:
                path = await models.get("whisper", options.model)
            model = await jobs.run(partial(_load, path, device, compute_type, options.workers))
        except BaseException:
            await jobs.close()
            raise
        name = path.name if is_directory(options.model) else options.model
        languages = tuple(sorted(model.supported_languages))
        info = EngineInfo("stt", "faster-whisper", f"{name} {compute_type} on {device}", reason, languages)
        engine = cls(model, info, options, jobs)
        await jobs.run(partial(engine._hear, np.zeros(SPEECH_RATE_HZ, np.float32), None))
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._info

    def recognise(
        self,
        *,
        language: str | None,
        phrases: tuple[str, ...] = (),  # noqa: ARG002
    ) -> WhisperRecognition:
        """See `SpeechToText.recognise`. A language the model lacks is detected instead."""
        code = primary_language(language)
        return WhisperRecognition(self, code if code in self._info.languages else None)

    async def close(self) -> None:
        await self._jobs.close()

    def _hear(self, audio: Samples, language: str | None, go_on: Callable[[], None] = _go_on) -> Transcript:
        heard = whisper_window.hear(self._model, audio, language, self._beam_size, go_on)
        if not any(letter.isalnum() for letter in heard.text):
            return Transcript("")
        return Transcript(heard.text, min(1.0, float(np.exp(heard.logprob))), heard.language)


class WhisperRecognition(SegmentRecognition):
    """One segment."""

    def __init__(self, engine: WhisperEngine, language: str | None) -> None:
        super().__init__(engine._jobs)
        self._engine = engine
        self._language = language
        self._next_caption_at = 0.0

    async def partial(self) -> str:
        """What was recognised last; anew when there is enough more of it and nobody waits for anything."""
        known_end, known = self._known
        too_soon = self._track.end - known_end < CAPTION_SAMPLES or time.monotonic() < self._next_caption_at
        if self._closed or too_soon or not self._jobs.is_free:
            return known.text
        started = time.monotonic()
        self._next_caption_at = math.inf
        try:
            return (await self._ask(decisive=False, is_caption=True)).text
        except (EngineBusyError, JobDroppedError):
            # Others are in greater need: the caption that is there stays.
            return known.text
        finally:
            ended = time.monotonic()
            self._next_caption_at = ended + (ended - started) * (1 / CAPTION_DUTY - 1)

    def _hear(self, audio: Samples, go_on: Callable[[], None]) -> Transcript:
        return self._engine._hear(audio, self._language, go_on)


def is_directory(model: str) -> bool:
    """Whether `model` is meant as a directory rather than a name."""
    return os.sep in model or model.startswith((".", "~")) or Path(model).is_dir()


def _checked(directory: str) -> Path:
    path = Path(directory).expanduser()
    for file in ("model.bin", "config.json", "tokenizer.json"):
        if not (path / file).is_file():
            raise UnknownModelError(
                f"{path} holds no Whisper model: {file} is missing",
                fix="stt.model takes a model's name or a directory with a CTranslate2 Whisper model",
            )
    return path


def _device(options: SttOptions) -> tuple[str, str]:
    """Device and compute type: a GPU where CTranslate2 sees one."""
    cuda = ctranslate2.get_cuda_device_count() > 0
    if options.device == "cuda" and not cuda:
        raise EngineUnavailableError(
            "stt.device is cuda, but CTranslate2 sees no CUDA device",
            fix="set stt.device to auto or cpu, or install the CUDA libraries that CTranslate2 names",
        )
    device = "cuda" if options.device == "cuda" or (options.device == "auto" and cuda) else "cpu"
    compute_type = options.compute_type
    if compute_type == "auto":
        compute_type = "float16" if device == "cuda" else "int8"
    usable = ctranslate2.get_supported_compute_types(device)
    if compute_type not in usable:
        raise EngineUnavailableError(
            f"the compute type {compute_type} does not work on {device}",
            fix=f"set stt.compute_type to auto or one of {', '.join(sorted(usable))}",
        )
    return device, compute_type


def _load(path: Path, device: str, compute_type: str, workers: int) -> WhisperModel:
    # NumPy's matrix product of a spectrum takes 1 ms; the threads it wakes for it spin for 100 more.
    threadpool_limits(limits=1, user_api="blas")
    # A second thread hardly helps one recognition; side by side they need their own.
    threads = max(1, (os.cpu_count() or 1) // workers)
    try:
        return WhisperModel(
            str(path),
            device=device,
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=workers,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, OSError) as error:
        log.error("the Whisper model in %s does not load: %s", path, error)
        raise EngineError(f"the Whisper model {path.name} does not load ({type(error).__name__})") from error
