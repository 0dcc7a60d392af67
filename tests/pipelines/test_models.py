from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer

from pipelines import models
from pipelines.base import EngineUnavailableError
from pipelines.models import ModelStore, UnknownModelError, default_dir
from pipelines.options import ModelsOptions

VOICE = "en_US-lessac-medium"
VOICE_PATH = f"en/en_US/lessac/medium/{VOICE}.onnx"
WHISPER = {
    "config.json": b"{}",
    "model.bin": b"w" * 300_000,
    "tokenizer.json": b"{ }",
    "vocabulary.txt": b"a\nb",
}
VOICES = {
    VOICE_PATH: b"v" * 200_000,
    f"{VOICE_PATH}.json": b"{}",
    "de/de_DE/thorsten/low/de_DE-thorsten-low.onnx": b"x",
}


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As at the start of a process, on a machine without other programs' weights."""
    monkeypatch.setattr(models, "_probed", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other-programs"))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(
        {"Systran/faster-whisper-base.en": dict(WHISPER), "rhasspy/piper-voices": dict(VOICES)}
    ) as server:
        yield server


@pytest.fixture
def store(hub: HubServer, tmp_path: Path) -> ModelStore:
    return store_at(hub.url, tmp_path)


def store_at(url: str, tmp_path: Path, **options: Any) -> ModelStore:
    return ModelStore(ModelsOptions(dir=tmp_path / "weights", hub_url=url, **options))


def test_fetches_a_whisper_and_reports_progress(store: ModelStore, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = store.fetch("whisper", "base.en", lambda *step: seen.append(step))
    assert path == tmp_path / "weights" / "whisper" / "base.en"
    assert {name: (path / name).read_bytes() for name in WHISPER} == WHISPER
    total = sum(map(len, WHISPER.values()))
    assert seen[-1] == ("base.en", total, total)
    done = [step[1] for step in seen]
    assert done == sorted(done)
    assert len(set(done)) > 2


def test_fetches_a_voice(store: ModelStore) -> None:
    path = store.fetch("piper", VOICE)
    assert path.read_bytes() == VOICES[VOICE_PATH]
    assert Path(f"{path}.json").read_bytes() == b"{}"


async def test_what_is_on_disk_is_not_fetched_again(store: ModelStore, hub: HubServer) -> None:
    first = await store.get("whisper", "base.en")
    hub.sent.clear()
    assert await store.get("whisper", "base.en") == store.find("whisper", "base.en") == first
    assert hub.sent == []


@pytest.mark.parametrize("file", ["model.bin", "config.json"])
def test_corrupt_bytes_are_deleted(store: ModelStore, hub: HubServer, tmp_path: Path, file: str) -> None:
    hub.corrupt.add(file)
    with pytest.raises(EngineUnavailableError, match=f"checksum of {file} is wrong"):
        store.fetch("whisper", "base.en")
    assert not (tmp_path / "weights" / "whisper" / "base.en" / file).exists()
    assert store.find("whisper", "base.en") is None
    hub.corrupt.clear()
    assert (store.fetch("whisper", "base.en") / file).read_bytes() == WHISPER[file]


def test_weights_cut_short_on_disk_do_not_count(store: ModelStore) -> None:
    path = store.fetch("whisper", "base.en")
    (path / "model.bin").write_bytes(b"short")
    assert store.find("whisper", "base.en") is None


def test_an_incomplete_repository_is_refused(store: ModelStore, hub: HubServer) -> None:
    del hub.repos["Systran/faster-whisper-base.en"]["tokenizer.json"]
    with pytest.raises(EngineUnavailableError):
        store.fetch("whisper", "base.en")


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("whisper", "bsae.en", "base.en"),
        ("piper", "en_US-lesac-medium", VOICE),
        ("piper", "de_DE-thorsten-high", "de_DE-thorsten-low"),
        ("piper", "lessac", VOICE),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest(
    store: ModelStore, kind: Any, name: str, nearest: str
) -> None:
    with pytest.raises(UnknownModelError, match=nearest):
        store.fetch(kind, name)


def test_a_repository_that_is_gone(store: ModelStore, hub: HubServer) -> None:
    hub.repos.clear()
    with pytest.raises(UnknownModelError):
        store.fetch("whisper", "base.en")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "en_US-../x-medium",
        "en_US-a/b-low",
        "base.en\0",
        "",
        "x" * 5000,
    ],
)
def test_a_name_never_leaves_the_folder(store: ModelStore, hub: HubServer, name: str) -> None:
    for kind in ("whisper", "piper"):
        with pytest.raises(UnknownModelError):
            store.find(kind, name)  # type: ignore[arg-type]
    assert hub.sent == []


def test_a_closed_port_is_offline(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = store_at(f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path)
        with pytest.raises(EngineUnavailableError, match="cannot be reached") as caught:
            store.fetch("whisper", "base.en")
    assert "models.hub_url" in caught.value.fix


def test_a_black_hole_is_offline_and_asked_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_at(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, probe_timeout_s=0.2)
        for name in ("base.en", "small"):
            with pytest.raises(EngineUnavailableError, match="cannot be reached"):
                store.fetch("whisper", name)
        silent.settimeout(0.5)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


async def test_fetching_can_be_switched_off(hub: HubServer, tmp_path: Path) -> None:
    store = store_at(hub.url, tmp_path, fetch=False)
    with pytest.raises(EngineUnavailableError, match=r"models\.fetch is off"):
        await store.get("whisper", "base.en")
    assert store.find("whisper", "base.en") is None
    assert hub.sent == []


def test_weights_of_other_programs_are_used(store: ModelStore, tmp_path: Path) -> None:
    fetched = store.fetch("whisper", "base.en")
    repo = tmp_path / "other-programs" / "models--Systran--faster-whisper-base.en"
    snapshot = repo / "snapshots" / "abc"
    shutil.copytree(fetched, snapshot)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    shutil.rmtree(fetched)
    assert store.find("whisper", "base.en") == snapshot


def test_lists_what_there_is(store: ModelStore) -> None:
    path = store.fetch("piper", VOICE)
    known = {(model.kind, model.name): model.path for model in store.known()}
    assert known["piper", VOICE] == path
    assert known["whisper", "large-v3"] is None


def test_the_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_dir() == tmp_path / "voice-agent"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_dir() == Path.home() / ".cache" / "voice-agent"
