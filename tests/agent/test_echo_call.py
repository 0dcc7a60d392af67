"""A caller without headphones, over real WebRTC: the agent does not interrupt itself, a person does."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack

from agent.realtime import AudioSource, Peer, TrackAdded, iter_speech
from agent.service import running_service
from agent.settings import load_settings
from pipelines.audio import SPEECH_RATE_HZ, Pcm, Samples, to_int16
from pipelines.engines import Engines

pytestmark = pytest.mark.asyncio(loop_scope="session")

GREETING = (
    "Good morning, this is the front desk, and I am going to tell you all about our house, "
    "about the rooms, about the garden, about breakfast and dinner, and about the trains to the city."
)
ECHO_DELAY_MS = 120
ECHO_GAIN = 0.4


class Room:
    """A caller, a loudspeaker and a microphone in one room; the caller may say something."""

    def __init__(self, peer: Peer, microphone: AudioSource) -> None:
        self.captions: list[dict[str, object]] = []
        self.echoed_ms = 0.0
        self._peer = peer
        self._microphone = microphone
        self._changed = asyncio.Event()
        self._saying: Samples = np.zeros(0, np.float32)

    def say(self, samples: Samples) -> None:
        self._saying = samples

    async def listen(self, track: MediaStreamTrack) -> None:
        silence = np.zeros(ECHO_DELAY_MS * SPEECH_RATE_HZ // 1000, np.int16)
        await self._microphone.push(Pcm(silence, SPEECH_RATE_HZ))
        async for block in iter_speech(track):
            said, self._saying = self._saying[: len(block)], self._saying[len(block) :]
            heard = ECHO_GAIN * block
            heard[: len(said)] += said
            if np.abs(block).max() > 0.01:
                self.echoed_ms += 1000 * len(block) / SPEECH_RATE_HZ
            await self._microphone.push(Pcm(to_int16(heard), SPEECH_RATE_HZ))
            self._changed.set()

    async def follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for event in self._peer.events():
                if isinstance(event, TrackAdded):
                    tasks.create_task(self.listen(event.track))
                data = getattr(event, "data", None)
                if isinstance(data, dict) and data.get("type") == "agent.caption":
                    self.captions.append(data)
                self._changed.set()

    async def until_echoed(self, echoed_ms: float) -> None:
        """Or until anybody has finished saying anything."""
        while self.echoed_ms < echoed_ms and not any(caption["final"] for caption in self.captions):
            self._changed.clear()
            await self._changed.wait()

    async def until_agent_finished(self) -> dict[str, object]:
        while True:
            for caption in self.captions:
                if caption["speaker"] == "agent" and caption["final"]:
                    return caption
            self._changed.clear()
            await self._changed.wait()


@pytest.mark.alone
async def test_an_echo_does_not_interrupt_and_a_person_over_it_does(engines: Engines) -> None:
    voice = await engines.voice(None, None)
    pieces = [pcm async for pcm in voice.synthesize("Stop, please, that is enough, stop talking now.")]
    assert pieces[0].rate_hz == SPEECH_RATE_HZ, "the built-in voice speaks at the rate of speech"
    said = np.concatenate([p.samples for p in pieces]).astype(np.float32) / 32768
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=0.1"]).settings
    async with (
        running_service(settings, engines=engines) as running,
        httpx.AsyncClient(base_url=running.url, timeout=30) as client,
    ):
        access = (await client.post("/tokens", json={"room": "hall"})).raise_for_status().json()

        async def token() -> str:
            return str(access["token"])

        async with AudioSource() as microphone, Peer(access["url"], token_provider=token) as peer:
            peer.add_track(microphone, stream_id="microphone")
            await peer.join("hall")
            room = Room(peer, microphone)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(room.follow())
                await client.post("/agents", json={"room": "hall", "greeting": GREETING})
                await room.until_echoed(3000)
                assert not [c for c in room.captions if c["final"]], "nobody has said anything"
                room.say(said)
                greeting = await room.until_agent_finished()
                assert greeting["interrupted"]
                following.cancel()
