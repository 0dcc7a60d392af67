from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.audio import Pcm
from pipelines.models import ModelStore, UnknownModelError
from pipelines.options import TtsOptions
from pipelines.tts.base import SpokenPcm
from pipelines.tts.piper import MAX_PIECE_CHARS, PiperEngine, _pieces
from pipelines.tts.silence import LEAD_MS


async def speak(engine: PiperEngine, text: str) -> tuple[np.ndarray, int]:
    pieces = [pcm async for pcm in engine.synthesize(text)]
    return np.concatenate([pcm.samples for pcm in pieces]), pieces[0].rate_hz


async def test_the_built_in_voice_speaks_english(piper: PiperEngine) -> None:
    samples, rate_hz = await speak(piper, "Good morning.")
    assert rate_hz == 16_000
    assert np.abs(samples).max() > 3000
    assert piper.info.languages == ("en",)
    assert "built in" in piper.info.model


async def test_the_first_sound_comes_at_once(piper: PiperEngine) -> None:
    samples, rate_hz = await speak(piper, "Good morning.")
    first_ms = 1000 * int(np.flatnonzero(np.abs(samples) > 100)[0]) / rate_hz
    assert first_ms <= LEAD_MS + 10


@pytest.fixture(params=["builtin", "piper-rms-30mb.onnx"])
async def voice(
    request: pytest.FixtureRequest, models_folder: Path, store: ModelStore
) -> AsyncIterator[PiperEngine]:
    path = request.param if request.param == "builtin" else str(models_folder / request.param)
    engine = await PiperEngine.load(TtsOptions(voice=path), models=store, reason="under test")
    yield engine
    await engine.close()


@pytest.mark.parametrize(
    ("text", "before_pauses"),
    [
        ("One, two, three.", [0, 1]),
        ("In the house of the rising sun, I don't know, do you?", [6, 9]),
        ("Fine, thanks.", [0]),
        ("Hello – you.", [0]),
    ],
)
async def test_words_end_where_the_voice_pauses_after_them(
    voice: PiperEngine, text: str, before_pauses: list[int]
) -> None:
    (pcm,) = [pcm async for pcm in voice.synthesize(text)]
    assert isinstance(pcm, SpokenPcm)
    assert len(pcm.word_ends_ms) == len(text.split())
    assert list(pcm.word_ends_ms) == sorted(pcm.word_ends_ms)
    pauses_ms = [start for start in silences_ms(pcm) if start < pcm.word_ends_ms[-1] - 100]
    assert [pcm.word_ends_ms[i] for i in before_pauses] == pytest.approx(pauses_ms, abs=30)


def silences_ms(pcm: Pcm) -> list[float]:
    """Where at least 100 ms of silence begin."""
    block = pcm.rate_hz // 100
    blocks = np.abs(pcm.samples[: len(pcm.samples) // block * block].reshape(-1, block)).max(axis=1) < 60
    starts = [i for i in range(len(blocks) - 10) if blocks[i : i + 10].all() and not (i and blocks[i - 1])]
    return [10.0 * start for start in starts]


async def test_words_are_counted_through_all_sentences(piper: PiperEngine) -> None:
    text = "It is — well. Dr. Who said so! [[x]] Yes."
    pieces = [pcm async for pcm in piper.synthesize(text)]
    assert sum(len(pcm.word_ends_ms) for pcm in pieces if isinstance(pcm, SpokenPcm)) == len(text.split())


async def test_one_piece_a_sentence(piper: PiperEngine) -> None:
    assert len([pcm async for pcm in piper.synthesize("One sentence. Another one. And a third.")]) == 3


async def test_what_is_waited_for_is_spoken_before_what_is_prepared(piper: PiperEngine) -> None:
    spoken: list[str] = []

    async def speak_it(what: str, wanted: asyncio.Event | None) -> None:
        async for _ in piper.synthesize("A long sentence that somebody may or may not hear.", wanted=wanted):
            spoken.append(what)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(12):
            tasks.create_task(speak_it("draft", asyncio.Event()))
        await asyncio.sleep(0)
        tasks.create_task(speak_it("reply", None))
    assert spoken.index("reply") < 6, "only what was being spoken already may come before"


async def test_a_voice_by_path_and_its_pace(models_folder: Path, store: ModelStore) -> None:
    path = str(models_folder / "piper-rms-30mb.onnx")
    lengths = []
    for length_scale in (1.0, 1.5):
        options = TtsOptions(voice=path, length_scale=length_scale)
        engine = await PiperEngine.load(options, models=store, reason="under test")
        lengths.append(len((await speak(engine, "What is the weather like today?"))[0]))
        await engine.close()
    assert lengths[1] > 1.2 * lengths[0]


async def test_a_path_that_is_none(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no file .*x\.onnx"):
        await PiperEngine.load(TtsOptions(voice=str(tmp_path / "x.onnx")), models=store, reason="under test")
    (tmp_path / "x.onnx").touch()
    with pytest.raises(UnknownModelError, match=r"x\.onnx\.json"):
        await PiperEngine.load(TtsOptions(voice=str(tmp_path / "x.onnx")), models=store, reason="under test")


async def test_what_is_spoken_stays_out_of_the_log(
    piper: PiperEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await speak(piper, "A very private sentence.")
    assert "private" not in caplog.text


@pytest.mark.parametrize("text", ["a " * 1000, "x" * 1000, "word, " * 300, "[[ xx ]] " * 200])
def test_long_text_is_cut_between_words_where_it_can_be(text: str) -> None:
    pieces = list(_pieces(text))
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= MAX_PIECE_CHARS
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "").replace("[[", "").replace("]]", "")
