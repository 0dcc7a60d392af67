from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from onnx_writer import DOUBLE, write_mean_model
from prometheus_client import REGISTRY

from pipelines.audio import Samples
from pipelines.base import EngineError, EngineUnavailableError
from pipelines.endpoint.model import MAX_WAITING, WINDOW_SAMPLES, EndOfTurnModel


@asynccontextmanager
async def loaded(path: Path) -> AsyncIterator[EndOfTurnModel]:
    model = await EndOfTurnModel.load(path)
    try:
        yield model
    finally:
        await model.close()


def failures() -> float:
    return REGISTRY.get_sample_value("voice_agent_end_of_turn_model_failures_total") or 0.0


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


@pytest.mark.parametrize(
    ("shape", "heard"),
    [((1, WINDOW_SAMPLES), WINDOW_SAMPLES), (("batch", "n"), WINDOW_SAMPLES), ((1, 16_000), 16_000)],
)
async def test_audio_is_the_end_of_the_turn_with_silence_in_front(
    tmp_path: Path, shape: tuple[int | str, ...], heard: int
) -> None:
    async with loaded(write_mean_model(tmp_path / "m.onnx", shape, scale=8.0)) as model:
        short = await model.probability(np.full(8000, 0.5, np.float32))
        assert short == pytest.approx(sigmoid(8.0 * 0.5 * 8000 / heard), abs=1e-4)
        long = np.concatenate([np.full(500_000, -1.0), np.full(heard, 0.25)]).astype(np.float32)
        assert await model.probability(long) == pytest.approx(sigmoid(2.0), abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 80, 800), ("batch", 80, 800), ("batch", "bands", "frames")])
async def test_features_are_whispers_log_mel(
    tmp_path: Path, shape: tuple[int | str, ...], recording: Callable[[str], Samples]
) -> None:
    async with loaded(write_mean_model(tmp_path / "m.onnx", shape)) as model:
        speech = recording("speech/jfk.wav")
        loud = await model.probability(speech)
        assert loud is not None
        # Standardised: how loud the microphone is set makes no difference.
        assert await model.probability(speech * np.float32(0.1)) == pytest.approx(loud, abs=0.01)
        # log10 of the power, at most 8 decades below the peak, plus 4, by 4: speech lies around 0.
        assert sigmoid(-1.0) < loud < sigmoid(1.5)


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"no end-of-turn model at .*gone\.onnx") as error:
        await EndOfTurnModel.load(tmp_path / "gone.onnx")
    assert "turns.end_of_turn_model" in error.value.fix


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("hello")
    with pytest.raises(EngineError, match="is no ONNX model"):
        await EndOfTurnModel.load(path)


@pytest.mark.parametrize(
    ("shape", "more", "why"),
    [
        (
            (1, 80, 3000),
            {},
            r"takes input_features tensor\(float\) \[1, 80, 3000\]; accepted is",
        ),
        ((4, 16_000), {}, "accepted is float32 audio"),
        ((1, 1, 80, 800), {}, "accepted is float32 audio"),
        ((1, 16_000), {"kind": DOUBLE}, r"tensor\(double\).* accepted is"),
        ((1, 16_000), {"keep": True}, r"shape \(1, 16000\); one probability is expected"),
    ],
)
async def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, shape: tuple[int, ...], more: dict[str, int], why: str
) -> None:
    with pytest.raises(EngineError, match=why):
        await EndOfTurnModel.load(write_mean_model(tmp_path / "m.onnx", shape, **more))


async def test_what_is_no_probability_counts_as_no_answer(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "m.onnx", (1, 16_000), scale=10.0, sigmoid=False)
    async with loaded(path) as model:
        before = failures()
        assert await model.probability(np.full(16_000, 0.05, np.float32)) == pytest.approx(0.5)
        assert failures() == before
        assert await model.probability(np.full(16_000, 0.5, np.float32)) is None
        assert await model.probability(np.full(16_000, np.nan, np.float32)) is None
        assert failures() == before + 2


async def test_more_than_can_wait_get_no_answer_at_once(tmp_path: Path) -> None:
    async with loaded(write_mean_model(tmp_path / "m.onnx", (1, 80, 800))) as model:
        audio = np.zeros(WINDOW_SAMPLES, np.float32)
        asked = 3 * MAX_WAITING
        answers = await asyncio.gather(*(model.probability(audio) for _ in range(asked)))
        assert MAX_WAITING <= sum(answer is not None for answer in answers) < asked


async def test_after_closing_there_is_no_answer(tmp_path: Path) -> None:
    model = await EndOfTurnModel.load(write_mean_model(tmp_path / "m.onnx", (1, 16_000)))
    await model.close()
    assert await model.probability(np.zeros(16_000, np.float32)) is None
