"""Real engines, loaded once, and the recordings they are tried on."""

from __future__ import annotations

import asyncio
import json
import os
import wave
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.audio import Samples, to_float
from pipelines.models import ModelStore
from pipelines.options import ModelsOptions, SttOptions, TtsOptions
from pipelines.stt.sphinx import SphinxEngine
from pipelines.stt.whisper import WhisperEngine
from pipelines.tts.piper import PiperEngine

ROOT = Path(__file__).resolve().parents[2]


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, ROOT / default))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder")
    return path


@pytest.fixture(scope="session")
def models_folder() -> Path:
    return _folder("VOICE_AGENT_TEST_MODELS", "../shared/models")


@pytest.fixture(scope="session")
def audio_folder() -> Path:
    return _folder("VOICE_AGENT_TEST_AUDIO", "../shared/audio")


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return to_float(np.frombuffer(file.readframes(file.getnframes()), np.int16))


@pytest.fixture(scope="session")
def recording(audio_folder: Path) -> Callable[[str], Samples]:
    """Reads a recording by its name in the audio folder."""
    return lambda name: read_wav(audio_folder / name)


@pytest.fixture(scope="session")
def callers(audio_folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((audio_folder / "callers.json").read_text())["callers"]
    return found


@pytest.fixture(scope="session")
def store() -> ModelStore:
    """The weights of this machine; nothing is fetched."""
    return ModelStore(ModelsOptions(fetch=False))


@pytest.fixture(scope="session")
def sphinx(store: ModelStore) -> Iterator[SphinxEngine]:
    engine = asyncio.run(SphinxEngine.load(SttOptions(), models=store, reason="under test"))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def whisper(models_folder: Path, store: ModelStore) -> Iterator[WhisperEngine]:
    options = SttOptions(model=str(models_folder / "whisper-mini-en"))
    engine = asyncio.run(WhisperEngine.load(options, models=store, reason="under test"))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def piper(store: ModelStore) -> Iterator[PiperEngine]:
    engine = asyncio.run(PiperEngine.load(TtsOptions(voice="builtin"), models=store, reason="under test"))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def say(piper: PiperEngine) -> Callable[[str], Awaitable[Samples]]:
    """Speaks a sentence with the built-in voice, as 16 kHz samples."""

    async def speak(text: str) -> Samples:
        return np.concatenate([to_float(pcm.samples) async for pcm in piper.synthesize(text)])

    return speak
