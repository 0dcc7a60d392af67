"""Pipecat: SmallWebRTC and what it recommends, all defaults.

The pipeline of its quick start: `SileroVADAnalyzer` in the user aggregator, its default turn strategies
(VAD and transcription start a turn, the Smart Turn v3 model on a CPU ends it), sentences to the voice.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import Frame, TranscriptionFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from benchmarks.common.buzz import RATE_HZ, buzz
from benchmarks.common.setup import INSTRUCTIONS, Setup, announce


class FreeSTT(SegmentedSTTService):
    """Knows what was said in the segment it is given; a segmented service, as Pipecat's Whisper is."""

    def __init__(self, setup: Setup) -> None:
        # Its text is there at once: a latency of 0 is the shortest wait that Pipecat can be told.
        super().__init__(ttfs_p99_latency=0.0, settings=STTSettings(model=None, language=None))
        self._note = setup.note

    @property
    def wants_wav_segments(self) -> bool:
        return False

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        text = self._note.heard(len(audio) / 2 / self.sample_rate)
        if text:
            yield TranscriptionFrame(text, self._user_id, time_now_iso8601())


class FreeTTS(TTSService):
    """A buzz, at once."""

    def __init__(self) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=RATE_HZ,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        samples = buzz(text)
        if len(samples):
            yield TTSAudioRawFrame(samples.tobytes(), RATE_HZ, 1, context_id=context_id)


def services(setup: Setup) -> tuple[Any, Any]:
    """Speech to text and text to speech: Pipecat's own Whisper and Piper services, or the free ones."""
    return _recogniser(setup), _voice(setup)


def _recogniser(setup: Setup) -> Any:
    if setup.whisper is None:
        return FreeSTT(setup)
    from faster_whisper import WhisperModel
    from pipecat.services.whisper.stt import WhisperSTTService

    # As much decoding as ours does: the service takes the library's five beams and has no setting for it.
    WhisperModel.transcribe = partialmethod(WhisperModel.transcribe, beam_size=1)
    return WhisperSTTService(
        device="cpu", compute_type="int8", settings=WhisperSTTService.Settings(model=setup.whisper)
    )


def _voice(setup: Setup) -> Any:
    if setup.piper is None:
        return FreeTTS()
    from pipecat.services.piper.tts import PiperTTSService

    voice = Path(setup.piper)
    return PiperTTSService(
        download_dir=voice.parent, settings=PiperTTSService.Settings(voice=voice.name.removesuffix(".onnx"))
    )


async def converse(connection: SmallWebRTCConnection, setup: Setup) -> None:
    """One call, from its connection to its end."""
    transport = SmallWebRTCTransport(
        webrtc_connection=connection,
        params=TransportParams(audio_in_enabled=True, audio_out_enabled=True),
    )
    stt, tts = services(setup)
    llm = OpenAILLMService(
        api_key="none",
        base_url=setup.llm_url,
        settings=OpenAILLMService.Settings(model="benchmark", system_instruction=INSTRUCTIONS),
    )
    context = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    pipeline = Pipeline(
        [transport.input(), stt, context.user(), llm, tts, transport.output(), context.assistant()]
    )
    worker = PipelineWorker(pipeline, params=PipelineParams(), idle_timeout_secs=None)

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport: Any, _client: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def app(setup: Setup) -> FastAPI:
    handler = SmallWebRTCRequestHandler()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await handler.close()

    service = FastAPI(lifespan=lifespan)

    @service.post("/api/offer")
    async def offer(request: Request, tasks: BackgroundTasks) -> Any:
        body = await request.json()

        async def begin(connection: SmallWebRTCConnection) -> None:
            tasks.add_task(converse, connection, setup)

        wanted = SmallWebRTCRequest(sdp=body["sdp"], type=body["type"])
        return await handler.handle_web_request(wanted, begin)

    return service


def main() -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    listener = socket.create_server(("127.0.0.1", 0))
    announce(f"http://127.0.0.1:{listener.getsockname()[1]}")
    config = uvicorn.Config(app(Setup.from_arguments()), log_config=None, access_log=False)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
