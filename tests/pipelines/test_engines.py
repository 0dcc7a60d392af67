from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from pydantic import SecretStr

from pipelines import engines as engines_module
from pipelines import models
from pipelines.base import EngineUnavailableError
from pipelines.engines import Engines, engine_names
from pipelines.models import UnknownModelError
from pipelines.options import LlmOptions, ModelsOptions, SttOptions, TtsOptions
from pipelines.tts.piper import BUILTIN_FILE, builtin_folder

VOICE = "en_US-lessac-medium"


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "_probed", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other-programs"))


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[ModelsOptions]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield ModelsOptions(dir=tmp_path, hub_url=f"http://127.0.0.1:{unused.getsockname()[1]}")


async def load(models_options: ModelsOptions, **sections: Any) -> Engines:
    return await Engines.load(
        models_options,
        sections.get("stt", SttOptions(engine="pocketsphinx", workers=1)),
        sections.get("tts", TtsOptions(voice="builtin")),
        sections.get("llm", LlmOptions()),
    )


async def test_without_network_the_embedded_engines_run_and_say_why(offline: ModelsOptions) -> None:
    engines = await load(offline, stt=SttOptions(workers=1), tts=TtsOptions())
    stt, llm, tts = engines.report()
    assert [info.engine for info in (stt, llm, tts)] == ["pocketsphinx", "scripted", "piper"]
    assert "base.en is not on disk and the model hub" in stt.reason
    assert "voice-agent models" in stt.reason
    assert f"in place of {VOICE}" in tts.reason
    assert "built in" in tts.model
    assert "llm.base_url" in llm.reason
    await engines.close()
    await engines.close()


async def test_weights_that_are_here_are_used(offline: ModelsOptions, models_folder: Path) -> None:
    engines = await load(offline, stt=SttOptions(model=str(models_folder / "whisper-mini-en")))
    assert engines.stt.info.engine == "faster-whisper"
    assert "are here" in engines.stt.info.reason
    await engines.close()


async def test_an_endpoint_that_is_set_is_used(offline: ModelsOptions) -> None:
    engines = await load(offline, llm=LlmOptions(api_key=SecretStr("sk-hidden")))
    assert engines.llm.info.engine == "openai"
    assert "sk-hidden" not in repr(engines.report())
    await engines.close()


@pytest.mark.parametrize(
    ("section", "message", "fix"),
    [
        ({"stt": SttOptions(engine="faster-whisper")}, "base.en is not on disk", "network"),
        ({"tts": TtsOptions(engine="piper")}, f"{VOICE} is not on disk", "network"),
        ({"llm": LlmOptions(engine="openai")}, "neither an address nor a key", "llm.base_url"),
        ({"stt": SttOptions(engine="pocket-sphinx")}, "did you mean pocketsphinx", "auto, faster-whisper"),
        ({"tts": TtsOptions(engine="pipper")}, "did you mean piper", "auto, piper"),
        ({"llm": LlmOptions(engine="opeanai")}, "did you mean openai", "auto, openai, scripted"),
    ],
)
async def test_an_engine_that_is_named_is_had_or_refused(
    offline: ModelsOptions, section: Any, message: str, fix: str
) -> None:
    with pytest.raises(EngineUnavailableError, match=message) as caught:
        await load(offline, **section)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    "section",
    [
        {"stt": SttOptions(model="bsae.en")},
        {"stt": SttOptions(model="/no/such/folder")},
        {"tts": TtsOptions(voice="/no/such/voice.onnx")},
        {"tts": TtsOptions(voice="lessac")},
    ],
)
async def test_a_mistake_in_the_settings_is_no_reason_to_fall_back(
    offline: ModelsOptions, section: Any
) -> None:
    with pytest.raises(UnknownModelError):
        await load(offline, **section)


async def test_voices_are_fetched_once_and_shared(tmp_path: Path) -> None:
    with builtin_folder() as folder:
        onnx, config = (folder / BUILTIN_FILE).read_bytes(), (folder / f"{BUILTIN_FILE}.json").read_bytes()
    path = "de/de_DE/thorsten/medium/de_DE-thorsten-medium.onnx"
    with HubServer({"rhasspy/piper-voices": {path: onnx, f"{path}.json": config}}) as hub:
        engines = await load(ModelsOptions(dir=tmp_path, hub_url=hub.url))
        assert await engines.voice(None, None) is await engines.voice("builtin", None) is engines.tts
        assert await engines.voice(None, "en-GB") is engines.tts
        voices = await asyncio.gather(*(engines.voice("de_DE-thorsten-medium", "de") for _ in range(5)))
        assert len(set(map(id, voices))) == 1
        assert sorted(hub.sent) == [path, f"{path}.json"]
        assert voices[0].info in engines.report()
        # Somebody who speaks German and names no voice gets the German one.
        assert await engines.voice(None, "de-AT") is voices[0]
        # There is no French one here: the configured voice speaks.
        assert await engines.voice(None, "fr") is engines.tts
        for name in ("de_DE-nobody-medium", "../../etc/passwd", str(tmp_path / "x.onnx")):
            with pytest.raises(EngineUnavailableError):
                await engines.voice(name, None)
        await engines.close()


async def test_nobody_waits_for_the_download_of_a_voice_of_others(tmp_path: Path) -> None:
    with builtin_folder() as folder:
        onnx, config = (folder / BUILTIN_FILE).read_bytes(), (folder / f"{BUILTIN_FILE}.json").read_bytes()
    slow, quick = (f"en/en_US/{name}/low/en_US-{name}-low.onnx" for name in ("slow", "quick"))
    files = dict.fromkeys((slow, quick), onnx) | {f"{path}.json": config for path in (slow, quick)}
    with HubServer({"rhasspy/piper-voices": files}) as hub:
        hub.held = {slow, f"{slow}.json"}
        engines = await load(ModelsOptions(dir=tmp_path, hub_url=hub.url))
        waiting = [asyncio.create_task(engines.voice("en_US-slow-low", None)) for _ in range(3)]
        await asyncio.to_thread(hub.asked.wait)
        voice = await engines.voice("en_US-quick-low", None)
        assert await engines.voice("en_US-quick-low", None) is voice
        assert not any(task.done() for task in waiting)
        hub.release.set()
        first, *others = await asyncio.gather(*waiting)
        assert all(other is first for other in others)
        await engines.close()


async def test_the_number_of_voices_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "MAX_VOICES", 2)
    with builtin_folder() as folder:
        onnx, config = (folder / BUILTIN_FILE).read_bytes(), (folder / f"{BUILTIN_FILE}.json").read_bytes()
    files: dict[str, bytes] = {}
    for letter in "abc":
        path = f"en/en_US/{letter}/low/en_US-{letter}-low.onnx"
        files |= {path: onnx, f"{path}.json": config}
    with HubServer({"rhasspy/piper-voices": files}) as hub:
        engines = await load(ModelsOptions(dir=tmp_path, hub_url=hub.url))
        for letter in "ab":
            await engines.voice(f"en_US-{letter}-low", None)
        with pytest.raises(EngineUnavailableError, match="in memory already"):
            await engines.voice("en_US-c-low", None)
        await engines.close()


def test_engines_are_found_by_their_registration() -> None:
    assert set(engine_names("stt")) >= {"faster-whisper", "pocketsphinx"}
    assert set(engine_names("tts")) >= {"piper"}
    assert set(engine_names("llm")) >= {"openai", "scripted"}
