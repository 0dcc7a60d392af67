from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineUnavailableError
from pipelines.models import ModelStore, UnknownModelError
from pipelines.options import SttOptions
from pipelines.stt.base import Transcript
from pipelines.stt.sphinx_phrases import words_of
from pipelines.stt.whisper import WhisperEngine

Recording = Callable[[str], Samples]


async def hear(engine: WhisperEngine, audio: Samples, language: str | None = "en") -> Transcript:
    recognition = engine.recognise(language=language)
    recognition.feed(audio)
    try:
        return await recognition.transcribe(decisive=True)
    finally:
        recognition.close()


async def test_callers_are_heard_as_the_model_can(
    whisper: WhisperEngine, callers: list[dict[str, str]], recording: Recording
) -> None:
    heard = await asyncio.gather(*(hear(whisper, recording(caller["file"])) for caller in callers[:16]))
    for caller, transcript in zip(callers, heard, strict=False):
        assert words_of(transcript.text) == words_of(caller["whisper_mini_hears"])
        assert transcript.confidence is not None
        assert transcript.confidence > 0.5
        assert transcript.language == "en"


@pytest.mark.parametrize("name", ["car_horn", "dog_bark", "engine_idling", "ringing_phone"])
async def test_noise_says_nothing(whisper: WhisperEngine, recording: Recording, name: str) -> None:
    assert (await hear(whisper, recording(f"noise/{name}.wav"))).text == ""


@pytest.mark.parametrize("word", ["yes", "no", "stop", "hello"])
async def test_one_word_is_heard(whisper: WhisperEngine, recording: Recording, word: str) -> None:
    assert words_of((await hear(whisper, recording(f"callers/{word}.wav"))).text) == [word]


async def test_breath_and_music_say_nothing(whisper: WhisperEngine) -> None:
    seconds = np.arange(2 * SPEECH_RATE_HZ) / SPEECH_RATE_HZ
    hiss = np.random.default_rng(1).normal(0, 0.05, len(seconds))
    breath = np.convolve(hiss, np.ones(8) / 8, "same") * np.hanning(len(seconds)) ** 2
    chord = sum(0.1 * np.sin(2 * np.pi * hz * seconds) for hz in (262, 330, 392))
    for noise in (breath, chord):
        assert (await hear(whisper, noise.astype(np.float32))).text == ""


@pytest.mark.parametrize("loudness", [0.0, 1e-4, 1e-2])
async def test_hiss_says_nothing(whisper: WhisperEngine, loudness: float) -> None:
    hiss = np.random.default_rng(1).normal(0, 1, 2 * SPEECH_RATE_HZ).astype(np.float32) * loudness
    assert (await hear(whisper, hiss)).text == ""


async def test_captions_come_while_people_speak(whisper: WhisperEngine, recording: Recording) -> None:
    recognition = whisper.recognise(language="en")
    audio = recording("callers/what-is-the-weather-in-berlin.wav")
    recognition.feed(audio)
    caption = await recognition.partial()
    assert caption == "What is the weather in Berlin?"
    # Little new audio is not worth another recognition: the caption stays.
    recognition.feed(audio[:1000])
    assert await recognition.partial() == caption
    recognition.close()


async def test_a_language_it_lacks_is_detected_instead(whisper: WhisperEngine, recording: Recording) -> None:
    assert (await hear(whisper, recording("callers/hello.wav"), "xx-YY")).text == "Hello."


def test_says_what_runs(whisper: WhisperEngine) -> None:
    assert whisper.info.model.startswith("whisper-mini-en int8 on cpu")


async def test_a_device_that_is_not_here(models_folder: Path, store: ModelStore) -> None:
    options = SttOptions(model=str(models_folder / "whisper-mini-en"), compute_type="float1")
    with pytest.raises(EngineUnavailableError, match="float1 does not work") as caught:
        await WhisperEngine.load(options, models=store, reason="under test")
    assert "int8" in caught.value.fix


async def test_a_name_that_is_none(store: ModelStore) -> None:
    with pytest.raises(UnknownModelError, match=r"base\.en"):
        await WhisperEngine.load(SttOptions(model="bsae.en"), models=store, reason="under test")
