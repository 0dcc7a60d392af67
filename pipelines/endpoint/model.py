"""A plug for an ONNX model that judges by the sound whether a turn is over.

Two kinds are taken, told apart by their input (float32, the first dimension being the batch):

- audio: ``[1, n]``, 16 kHz mono; n is fixed, or open and then `WINDOW_S` long;
- features: ``[1, 80, 800]``, Whisper's log-mel spectrogram of 8 s, as Smart Turn v3 wants it: the audio
  standardised to mean 0 and variance 1, 25 ms windows every 10 ms, 80 mel bands.

Either gets the last seconds of the turn up to now, with silence in front where the turn is shorter. The first
output must be one number, the probability that the turn is over. (Smart Turn v3 calls it ``logits``, but its
graph ends with the sigmoid.)
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from prometheus_client import Counter

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineError, EngineUnavailableError
from pipelines.jobs import JobQueue

log = logging.getLogger(__name__)

WINDOW_S = 8
WINDOW_SAMPLES = WINDOW_S * SPEECH_RATE_HZ
_BANDS, _FRAMES = 80, 100 * WINDOW_S
_ACCEPTED = f"float32 audio [1, samples] or features [1, {_BANDS}, {_FRAMES}]"
#: A judgement is of use while the silence lasts; what waits behind so many others comes too late.
MAX_WAITING = 8

_FAILURES = Counter(
    "voice_agent_end_of_turn_model_failures_total",
    "Judgements the end-of-turn model owed: failed, or refused because its queue was full",
)


class EndOfTurnModel:
    """One model, shared by all calls, on a thread of its own."""

    def __init__(self, session: onnxruntime.InferenceSession, jobs: JobQueue) -> None:
        self._session = session
        self._jobs = jobs
        self._input, self._samples = _checked_input(session)
        self._features = FeatureExtractor(chunk_length=WINDOW_S) if self._samples is None else None

    @classmethod
    async def load(cls, path: Path) -> EndOfTurnModel:
        """Load the model and let it judge once, a silence.

        Raises `EngineUnavailableError` when the file is not there, `EngineError` when it is no model of the
        accepted kinds.
        """
        jobs = JobQueue("end-of-turn", workers=1, max_waiting=MAX_WAITING)
        try:
            model = cls(await jobs.run(partial(_session, path)), jobs)
            await jobs.run(partial(model._judge, np.zeros(WINDOW_SAMPLES, np.float32)))
        except BaseException:
            await jobs.close()
            raise
        return model

    async def probability(self, audio: Samples) -> float | None:
        """The probability, 0..1, that the turn whose last `WINDOW_S` seconds `audio` holds is over.

        16 kHz mono; more is cut, less is filled up. None when the model fails or is too busy: that is counted
        and logged, and the other evidence has to do.
        """
        try:
            return await self._jobs.run(partial(self._judge, audio), decisive=False)
        except EngineError as error:
            _FAILURES.inc()
            log.warning("the end-of-turn model does not answer: %s", error)
            return None

    async def close(self) -> None:
        await self._jobs.close()

    def _judge(self, audio: Samples) -> float:
        wanted = self._samples or WINDOW_SAMPLES
        padded = np.zeros(wanted, np.float32)
        last = audio[-wanted:]
        padded[wanted - len(last) :] = last
        features = padded if self._features is None else log_mel(self._features, padded)
        output = np.asarray(self._session.run(None, {self._input: features[None]})[0])
        if output.size != 1:
            raise EngineError(
                f"the end-of-turn model answers with shape {output.shape}; one probability is expected"
            )
        probability = float(output.reshape(-1)[0])
        if not 0.0 <= probability <= 1.0:
            raise EngineError(
                f"the end-of-turn model answers {probability:.3g}; a probability from 0 to 1 is expected"
            )
        return probability


def log_mel(extractor: FeatureExtractor, audio: Samples) -> NDArray[np.float32]:
    """Whisper's features, ``[80, 800]``, of `WINDOW_SAMPLES` standardised samples."""
    standard = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    features: NDArray[np.float32] = extractor(standard.astype(np.float32), padding=0)
    return features.astype(np.float32)


def _session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise EngineUnavailableError(
            f"there is no end-of-turn model at {path}",
            fix="set turns.end_of_turn_model to an .onnx file, or leave it out",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises a class of its own for each kind of broken file, with no common one above them.
        raise EngineError(f"{path} is no ONNX model ({type(error).__name__})") from error


def _checked_input(session: onnxruntime.InferenceSession) -> tuple[str, int | None]:
    """The input's name and how many samples it takes; None: it takes features."""
    inputs: list[Any] = session.get_inputs()
    found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
    refused = EngineError(f"the end-of-turn model takes {found or 'nothing'}; accepted is {_ACCEPTED}")
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not inputs[0].shape:
        raise refused
    batch, *shape = inputs[0].shape
    if isinstance(batch, int) and batch != 1:
        raise refused
    if len(shape) == 1 and (not isinstance(shape[0], int) or 0 < shape[0] <= 30 * SPEECH_RATE_HZ):
        return inputs[0].name, shape[0] if isinstance(shape[0], int) else WINDOW_SAMPLES
    if len(shape) == 2 and all(
        not isinstance(n, int) or n == m for n, m in zip(shape, (_BANDS, _FRAMES), strict=True)
    ):
        return inputs[0].name, None
    raise refused
