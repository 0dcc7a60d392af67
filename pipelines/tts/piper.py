"""Piper: voices by name, by path, or the small one in this package, all through `piper.PiperVoice`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime
from piper import AudioChunk, PhonemeType, PiperConfig, PiperVoice, SynthesisConfig

from pipelines.audio import Pcm
from pipelines.base import EngineError, EngineInfo, primary_language
from pipelines.jobs import JobQueue
from pipelines.models import ModelStore, UnknownModelError
from pipelines.options import TtsOptions
from pipelines.tts.alignment import last_phonemes
from pipelines.tts.base import SpokenPcm
from pipelines.tts.durations import with_durations
from pipelines.tts.silence import trimmed_span

# At debug level piper logs the text it speaks; what people say stays out of logs.
logging.getLogger("piper").setLevel(logging.INFO)

BUILTIN = "builtin"
BUILTIN_FILE = "en-us-slt.onnx"

#: Longer text is spoken in pieces of at most this many characters: a model's memory grows with the sentence.
MAX_PIECE_CHARS = 400
#: What ends a sentence, among phonemes.
_SENTENCE_MARKS = ".!?"

#: espeak's names of languages where they are not the two-letter code.
_ESPEAK_LANGUAGES = {"cmn": "zh", "yue": "zh", "nb": "no", "nn": "no"}


def builtin_folder() -> AbstractContextManager[Path]:
    """The folder of the voice in this package, as long as the context lasts."""
    return resources.as_file(resources.files("pipelines.tts") / "voices")


class PiperEngine:
    """One voice."""

    def __init__(self, voice: PiperVoice, info: EngineInfo, options: TtsOptions) -> None:
        self._voice = voice
        self._info = info
        self._style = SynthesisConfig(length_scale=voice.config.length_scale * options.length_scale)
        #: The model's second output is how many samples each phoneme is long.
        self._aligned = len(voice.session.get_outputs()) > 1
        self._jobs = JobQueue("piper", workers=options.workers, max_waiting=options.max_queue)

    @classmethod
    async def load(cls, options: TtsOptions, *, models: ModelStore, reason: str) -> PiperEngine:
        """Load `options.voice`, fetching it if need be, and speak once to warm up.

        Raises `EngineUnavailableError` when the voice cannot be had, `EngineError` when it does not load.
        """
        path = None if options.voice == BUILTIN else await _find(options.voice, models)
        jobs = JobQueue("piper", workers=1, max_waiting=1)
        try:
            voice, languages = await jobs.run(partial(_load, path, options))
        finally:
            await jobs.close()
        model = f"{BUILTIN_FILE.removesuffix('.onnx')} (built in)" if path is None else path.stem
        return cls(voice, EngineInfo("tts", "piper", model, reason, languages), options)

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def synthesize(self, text: str, *, wanted: asyncio.Event | None = None) -> AsyncIterator[Pcm]:
        """See `TextToSpeech.synthesize`; yields one piece of audio a sentence."""
        for piece in _pieces(text):
            audio = self._speak(piece)
            # One job a sentence: closing the iterator cancels the rest, and calls take turns.
            while (pcm := await self._jobs.run(partial(next, audio, None), wanted=wanted)) is not None:
                yield pcm

    async def close(self) -> None:
        await self._jobs.close()

    def _speak(self, text: str) -> Iterator[Pcm]:
        ends = self._word_ends(text)
        done = 0
        for index, chunk in enumerate(self._voice.synthesize(text, self._style, self._aligned)):
            samples, rate_hz = chunk.audio_int16_array, chunk.sample_rate
            start, stop = trimmed_span(samples, rate_hz, sentence=chunk.phonemes[-1] in _SENTENCE_MARKS)
            words = [phoneme for sentence, phoneme in ends[done:] if sentence == index]
            done += len(words)
            if start < stop:
                word_ends_ms = _times_ms(words, chunk, start, stop)
                yield SpokenPcm(samples[start:stop], rate_hz, word_ends_ms)

    def _word_ends(self, text: str) -> list[tuple[int, int]]:
        """The sentence and the last phoneme of each word; empty where the voice does not tell their times."""
        if not self._aligned or self._voice.config.phoneme_type != PhonemeType.ESPEAK:
            return []
        sentences = [phonemes for phonemes in self._voice.phonemize(text) if phonemes]
        return last_phonemes(text, sentences, self._voice.phonemize)


async def _find(voice: str, models: ModelStore) -> Path:
    if voice.endswith(".onnx"):
        return await asyncio.to_thread(_files_of, voice)
    return await models.get("piper", voice)


def _files_of(voice: str) -> Path:
    path = Path(voice).expanduser()
    for file in (path, Path(f"{path}.json")):
        if not file.is_file():
            raise UnknownModelError(
                f"there is no file {file}", fix="a Piper voice is two files, NAME.onnx and NAME.onnx.json"
            )
    return path


def _load(path: Path | None, options: TtsOptions) -> tuple[PiperVoice, tuple[str, ...]]:
    if path is None:
        with builtin_folder() as folder:
            return _load(folder / BUILTIN_FILE, options)
    try:
        described = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
        config = PiperConfig.from_dict(described)
        voice = PiperVoice(session=_session(path, options.workers), config=config)
        family = described.get("language", {}).get("family") or re.split("[-_]", config.espeak_voice)[0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path.name} is not a Piper voice ({type(error).__name__})") from error
    for _ in voice.synthesize("ready"):
        pass
    return voice, (_ESPEAK_LANGUAGES.get(family, primary_language(family) or family),)


def _session(path: Path, workers: int) -> onnxruntime.InferenceSession:
    """The session `PiperVoice.load` makes, but it tells phonemes' lengths and shares the processor fairly."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, (os.cpu_count() or 1) // workers)
    options.inter_op_num_threads = 1
    # Threads that spin between runs take the processor from the calls in progress.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = with_durations(path.read_bytes())
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _pieces(text: str) -> Iterator[str]:
    """Speakable pieces of `text`, cut between words where it is long."""
    # Piper takes [[…]] for raw phonemes; in text from a model they are only brackets.
    words = text.replace("[[", " ").replace("]]", " ").split()
    piece = ""
    for word in words:
        for part in (word[i : i + MAX_PIECE_CHARS] for i in range(0, len(word), MAX_PIECE_CHARS)):
            if piece and len(piece) + 1 + len(part) > MAX_PIECE_CHARS:
                yield piece
                piece = part
            else:
                piece = f"{piece} {part}" if piece else part
    if any(letter.isalnum() for letter in piece):
        yield piece


def _times_ms(words: Sequence[int], chunk: AudioChunk, start: int, stop: int) -> tuple[float, ...]:
    """When each word ends whose last phoneme is given, in the samples from `start` to `stop` of `chunk`."""
    if not words:
        return ()
    places = np.asarray(words) + 1
    if chunk.phoneme_alignments is not None:
        # The first alignment is that of the mark for the beginning.
        ends = np.cumsum([alignment.num_samples for alignment in chunk.phoneme_alignments])[places]
    else:
        # A phoneme that the voice does not know: as good as evenly spaced.
        ends = len(chunk.audio_int16_array) * places / len(chunk.phonemes)
    return tuple(1000.0 * (np.clip(ends, start, stop) - start) / chunk.sample_rate)
