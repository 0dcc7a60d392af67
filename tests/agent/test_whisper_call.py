"""The whole way with the real engines: recorded callers, WebRTC, Whisper, an endpoint, Piper."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer

from agent.client import ServiceClient
from agent.replay.judge import word_error_rate
from agent.replay.runner import Observation, play_sample
from agent.replay.sample import Sample, Step
from agent.service import running_service
from agent.settings import load_settings
from pipelines.engines import Engines

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(os.environ.get("VOICE_AGENT_TEST_MODELS", ROOT / "../shared/models"))
AUDIO = Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", ROOT / "../shared/audio"))

#: Calls side by side: recognition takes little of the machine, the calls last as long as people speak.
AT_ONCE = 5


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.mark.alone
@pytest.mark.timeout(180)
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.network)])
async def test_every_recorded_caller_is_understood_and_answered(chat: ChatServer, every: int) -> None:
    """Of the recordings every seventh one each day, and all of them with the bad networks."""
    if not (MODELS / "whisper-mini-en").is_dir() or not (AUDIO / "callers.json").is_file():
        pytest.skip(
            f"no whisper-mini-en in {MODELS} or no callers.json in {AUDIO}: "
            "set VOICE_AGENT_TEST_MODELS and VOICE_AGENT_TEST_AUDIO"
        )
    # Only what the model itself gets right can be asked of the way to it.
    callers = [
        caller
        for caller in json.loads((AUDIO / "callers.json").read_text())["callers"]
        if word_error_rate(caller["text"], caller["whisper_mini_hears"]) == 0
    ][::every]
    settings = load_settings(
        environ={},
        overrides=[
            "server.port=0",
            "models.fetch=false",
            "stt.engine=faster-whisper",
            f"stt.model={MODELS / 'whisper-mini-en'}",
            "tts.voice=builtin",
            f"llm.base_url={chat.url}",
            "llm.model=echo",
            "agents.leave_timeout_s=1",
        ],
    ).settings
    engines = await Engines.load(settings.models, settings.stt, settings.tts, settings.llm)
    places = asyncio.Semaphore(AT_ONCE)

    async with running_service(settings, engines=engines) as service, ServiceClient(service.url) as client:

        async def call(file: str) -> Observation:
            sample = Sample(name=Path(file).stem, folder=AUDIO, play=(Step(wav=file),), listen_ms=200)
            async with places:
                return await play_sample(sample, client, silent=False)

        calls = await asyncio.gather(*(call(caller["file"]) for caller in callers))
    await engines.close()

    assert (engines.stt.info.engine, engines.llm.info.engine) == ("faster-whisper", "openai")
    assert [c.failure for c in calls if c.failure] == []
    unanswered = [
        (c.heard, c.answers)
        for c in calls
        if [f"You said {' '.join(c.heard)}"] != [a.text for a in c.answers]
    ]
    assert unanswered == []
    wrong = [
        (caller["text"], c.heard)
        for caller, c in zip(callers, calls, strict=True)
        if word_error_rate(caller["text"], " ".join(c.heard)) > 0
    ]
    assert wrong == []
