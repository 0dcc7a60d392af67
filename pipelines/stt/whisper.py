"""Whisper through faster-whisper: the recogniser for real use, in many languages."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.vad import VadOptions, collect_chunks, get_speech_timestamps

from pipelines.audio import SPEECH_RATE_HZ, Samples, level_dbfs
from pipelines.base import EngineBusyError, EngineError, EngineInfo, EngineUnavailableError
from pipelines.jobs import JobQueue
from pipelines.models import ModelStore, UnknownModelError
from pipelines.options import SttOptions
from pipelines.stt import whisper_window
from pipelines.stt.base import Transcript
from pipelines.stt.buffer import SegmentBuffer

log = logging.getLogger(__name__)
# One line a recognition is too much.
logging.getLogger("faster_whisper").setLevel(logging.WARNING)

#: A caption is renewed when this much audio has come since the last one …
CAPTION_SAMPLES = SPEECH_RATE_HZ * 640 // 1000
#: … and at most this share of the time is spent on captions: they are recognised anew each time.
CAPTION_DUTY = 0.34
#: Shorter than this holds no word; quieter than this is nobody speaking.
MIN_SAMPLES = SPEECH_RATE_HZ // 10
MIN_LEVEL_DBFS = -65.0

# Silero inside faster-whisper: what holds no speech is not recognised at all; pauses stay in.
_VAD = VadOptions(threshold=0.4, min_silence_duration_ms=4000, speech_pad_ms=400)


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
        languages = tuple(sorted({code[:2] for code in model.supported_languages}))
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
        code = language[:2].lower() if language else None
        return WhisperRecognition(self, code if code in self._info.languages else None)

    async def close(self) -> None:
        await self._jobs.close()

    def _hear(self, audio: Samples, language: str | None) -> Transcript:
        chunks, _ = collect_chunks(audio, get_speech_timestamps(audio, _VAD))
        speech = np.concatenate(chunks) if chunks else audio[:0]
        if not len(speech):
            return Transcript("")
        heard = whisper_window.hear(self._model, speech, language, self._beam_size)
        if not any(letter.isalnum() for letter in heard.text):
            return Transcript("")
        return Transcript(heard.text, min(1.0, float(np.exp(heard.logprob))), heard.language[:2])


class WhisperRecognition:
    """One segment."""

    def __init__(self, engine: WhisperEngine, language: str | None) -> None:
        self._engine = engine
        self._language = language
        self._audio = SegmentBuffer()
        self._closed = False
        self._captioning = False
        self._captioned = 0
        self._next_caption_at = 0.0
        self._caption = ""
        self._last: tuple[int, Transcript] | None = None

    def feed(self, samples: Samples) -> None:
        self._audio.append(samples)

    async def partial(self) -> str:
        """The caption so far: recognised anew when it is worth it and nobody waits for more."""
        fresh = len(self._audio) - self._captioned
        too_soon = fresh < CAPTION_SAMPLES or time.monotonic() < self._next_caption_at
        if self._closed or self._captioning or too_soon or self._engine._jobs.waiting:
            return self._caption
        self._captioning = True
        started = time.monotonic()
        length = len(self._audio)
        try:
            self._caption = (await self._recognise(decisive=False)).text
            self._captioned = length
        except EngineBusyError:
            # A caption is not worth a refusal: the one that is there stays.
            pass
        finally:
            self._captioning = False
            ended = time.monotonic()
            self._next_caption_at = ended + (ended - started) * (1 / CAPTION_DUTY - 1)
        return self._caption

    async def transcribe(self, *, decisive: bool) -> Transcript:
        if self._closed:
            raise EngineError("this recognition is closed")
        return await self._recognise(decisive=decisive)

    def close(self) -> None:
        self._closed = True
        self._audio.clear()

    async def _recognise(self, *, decisive: bool) -> Transcript:
        length = len(self._audio)
        if self._last is not None and self._last[0] == length:
            return self._last[1]
        audio = self._audio.since(0)
        if length < MIN_SAMPLES or level_dbfs(audio) < MIN_LEVEL_DBFS:
            return Transcript("")
        job = partial(self._engine._hear, audio, self._language)
        transcript = await self._engine._jobs.run(job, decisive=decisive)
        self._last = (length, transcript)
        return transcript


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
