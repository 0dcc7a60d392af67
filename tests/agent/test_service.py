"""The service as its users meet it: REST, rooms, real WebRTC, the embedded engines."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from typing import Any

import httpx
import metered_realtime as vendor
import numpy as np
import pytest
from websockets.asyncio.client import connect

from agent.realtime import AudioSource, DataReceived, Peer, TrackAdded, iter_speech
from agent.service import RunningService, _listeners, running_service
from agent.settings import load_settings
from agent.worker import MAX_CHAT_CHARS
from pipelines.audio import Pcm, level_dbfs
from pipelines.engines import Engines
from pipelines.llm.openai import OpenAIEngine
from pipelines.options import LlmOptions
from tests.chat_server import ChatServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUDIBLE_DBFS = -40.0


@asynccontextmanager
async def service(
    engines: Engines, *overrides: str
) -> AsyncIterator[tuple[RunningService, httpx.AsyncClient]]:
    settings = load_settings(
        environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1", *overrides]
    ).settings
    async with (
        running_service(settings, engines=engines) as running,
        httpx.AsyncClient(base_url=running.url, timeout=30) as client,
    ):
        yield running, client


class Caller:
    """A person with our own peer: keeps what the agent says, as sound and as messages."""

    def __init__(self, peer: Peer, source: AudioSource) -> None:
        self.peer = peer
        self.source = source
        self.messages: list[dict[str, Any]] = []
        self.heard_voice = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for event in self.peer.events():
                match event:
                    case TrackAdded(_, track):
                        tasks.create_task(self._listen(track))
                    case DataReceived(_, data):
                        self.messages.append(data)
                        self._news.set()

    async def _listen(self, track: Any) -> None:
        async for block in iter_speech(track):
            if level_dbfs(block) > AUDIBLE_DBFS:
                self.heard_voice.set()

    async def until(self, **wanted: object) -> dict[str, Any]:
        """The first message that has all of these fields."""
        while True:
            for message in self.messages:
                if all(message.get(key) == value for key, value in wanted.items()):
                    return message
            self._news.clear()
            await self._news.wait()

    async def until_said(self, matches: Callable[[str], bool]) -> str:
        while True:
            for message in self.messages:
                final = message.get("type") == "agent.caption" and message["final"]
                if final and message["speaker"] == "agent" and matches(message["text"]):
                    return str(message["text"])
            self._news.clear()
            await self._news.wait()


def given(token: str) -> Callable[[], Awaitable[str]]:
    async def provide() -> str:
        return token

    return provide


@asynccontextmanager
async def caller(client: httpx.AsyncClient, room: str) -> AsyncIterator[Caller]:
    access = (await client.post("/tokens", json={"room": room, "name": "Ada"})).raise_for_status().json()

    async with AudioSource() as source, Peer(access["url"], token_provider=given(access["token"])) as peer:
        peer.add_track(source, stream_id="microphone")
        await peer.join(room)
        one = Caller(peer, source)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            yield one
            running.cancel()


async def question(engines: Engines, text: str) -> Pcm:
    voice = await engines.voice(None, None)
    pieces = [pcm async for pcm in voice.synthesize(text)]
    return Pcm(np.concatenate([p.samples for p in pieces]), pieces[0].rate_hz)


@pytest.mark.alone
async def test_a_dispatched_agent_greets_hears_and_answers_aloud(engines: Engines) -> None:
    async with service(engines) as (_, client), caller(client, "lobby") as ada:
        response = await client.post("/agents", json={"room": "lobby", "metadata": {"ticket": 7}})
        assert response.status_code == 201
        agent = response.json()
        hello = await ada.until(type="agent.hello")
        assert {e["kind"]: e["engine"] for e in hello["engines"]} == {
            "stt": "pocketsphinx",
            "llm": "scripted",
            "tts": "piper",
        }
        await ada.until_said(lambda text: text.startswith("Hello"))
        assert ada.heard_voice.is_set()
        await ada.source.push(await question(engines, "What is twelve times three?"))
        await ada.until_said(lambda text: "36" in text)
        latency = await ada.until(type="agent.latency")
        assert abs(latency["total_ms"] - sum(latency["steps_ms"].values())) <= len(latency["steps_ms"])
        status = (await client.get(agent["links"]["self"])).json()
        assert status["turns"] == 1
        assert status["callers"] == [ada.peer.peer_id]
        assert status["metadata"] == {"ticket": 7}


async def test_the_same_room_and_persona_is_the_same_agent(engines: Engines) -> None:
    async with service(engines, "agents.max_agents=2") as (_, client):
        body = {"room": "lobby"}
        first, again = await asyncio.gather(
            client.post("/agents", json=body), client.post("/agents", json=body)
        )
        assert sorted([first.status_code, again.status_code]) == [200, 201]
        assert first.json()["id"] == again.json()["id"]
        assert again.json()["warnings"] == []
        late = (await client.post("/agents", json={**body, "greeting": "Ahoy!"})).json()
        assert "without your greeting" in late["warnings"][0]
        other = await client.post("/agents", json={**body, "persona": "receptionist"})
        assert other.status_code == 201
        assert (await client.post("/agents", json={"room": "third"})).status_code == 503


async def test_an_agent_that_is_removed_leaves_and_is_remembered(engines: Engines) -> None:
    async with service(engines) as (_, client), caller(client, "lobby") as ada:
        agent = (await client.post("/agents", json={"room": "lobby", "greeting": ""})).json()
        await ada.until(type="agent.hello")
        assert len(ada.peer.remote_peers) == 1
        assert (await client.delete(agent["links"]["self"])).status_code in {200, 202}
        while (await client.get(agent["links"]["self"])).json()["state"] != "ended":
            await asyncio.sleep(0.05)
        while ada.peer.remote_peers:
            await asyncio.sleep(0.02)
        again = await client.post("/agents", json={"room": "lobby"})
        assert again.status_code == 201
        assert again.json()["id"] != agent["id"]


async def test_typed_text_is_answered_within_limits(engines: Engines) -> None:
    async with service(engines) as (_, client), caller(client, "lobby") as ada:
        await client.post("/agents", json={"room": "lobby", "greeting": ""})
        hello = await ada.until(type="agent.hello")
        await ada.peer.send({"type": "chat", "text": "Thank you"})
        await ada.until_said(bool)
        await ada.peer.send({"type": "chat", "text": "x" * (MAX_CHAT_CHARS + 1)})
        refusal = await ada.until(type="agent.error")
        assert "at most 2000" in refusal["message"]
        for nonsense in ({"type": "chat"}, {"type": "chat", "text": 5}, {"type": "other"}, [1], None, "chat"):
            await ada.peer.send(nonsense)
        for _ in range(10):
            await ada.peer.send({"type": "chat", "text": "hello"})
        await ada.until(message="Slow down a little: that message was not read.")
        assert (await client.get(f"/agents/{hello['agent']}")).json()["state"] != "failed"


async def test_an_agent_alone_leaves(engines: Engines, tmp_path: Any) -> None:
    (tmp_path / "brief.yaml").write_text(
        "name: brief\ninstructions: Be brief.\nleave_after_empty_s: 0.2\n", "utf-8"
    )
    async with service(engines, f"agents.personas_dir={tmp_path}") as (_, client):
        agent = (await client.post("/agents", json={"room": "lobby", "persona": "brief"})).json()
        while (await client.get(agent["links"]["self"])).json()["state"] != "ended":
            await asyncio.sleep(0.05)


BRIEF = """
name: brief
instructions: Be brief.
greeting: Good morning.
leave_after_empty_s: 0.2
"""


@asynccontextmanager
async def writer(client: httpx.AsyncClient, room: str) -> AsyncIterator[Caller]:
    """Somebody who only writes and listens."""
    access = (await client.post("/tokens", json={"room": room})).raise_for_status().json()
    async with AudioSource() as source, Peer(access["url"], token_provider=given(access["token"])) as peer:
        await peer.join(room)
        one = Caller(peer, source)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(one.run())
            yield one
            running.cancel()


async def test_somebody_who_only_writes_is_greeted_answered_and_not_left_alone(
    engines: Engines, tmp_path: Any
) -> None:
    (tmp_path / "brief.yaml").write_text(BRIEF, "utf-8")
    async with service(engines, f"agents.personas_dir={tmp_path}") as (_, client):
        async with writer(client, "lobby") as ada:
            agent = (await client.post("/agents", json={"room": "lobby", "persona": "brief"})).json()
            await ada.until_said(lambda text: text == "Good morning.")
            await ada.peer.send({"type": "chat", "text": "What is twelve times three?"})
            await ada.until_said(lambda text: "36" in text)
            assert (await client.get(agent["links"]["self"])).json()["state"] != "leaving"
        while (await client.get(agent["links"]["self"])).json()["state"] != "ended":
            await asyncio.sleep(0.05)


@pytest.mark.alone
async def test_one_caller_too_many_is_told_so_and_heard_later(engines: Engines) -> None:
    async with service(engines, "agents.max_callers=1") as (_, client), AsyncExitStack() as leaving:
        ada = await leaving.enter_async_context(caller(client, "lobby"))
        agent = (await client.post("/agents", json={"room": "lobby", "greeting": ""})).json()
        while not (status := (await client.get(agent["links"]["self"])).json())["callers"]:
            await asyncio.sleep(0.02)
        assert status["callers"] == [ada.peer.peer_id]
        async with caller(client, "lobby") as bob:
            refusal = await bob.until(type="agent.error")
            assert "hears 1 callers already" in refusal["message"]
            await leaving.aclose()
            while (await client.get(agent["links"]["self"])).json()["callers"] != [bob.peer.peer_id]:
                await asyncio.sleep(0.02)
            await bob.source.push(await question(engines, "What is twelve times three?"))
            await bob.until_said(lambda text: "36" in text)
        assert not [message for message in ada.messages if message.get("type") == "agent.error"]


async def test_what_strangers_said_is_forgotten_with_them(engines: Engines) -> None:
    with ChatServer() as server:
        asked = copy(engines)
        asked.llm = OpenAIEngine(LlmOptions(base_url=server.url, model="echo"), reason="under test")

        async def write(one: Caller, text: str) -> str:
            """What the model was told when it was asked for the answer."""
            await one.until(type="agent.hello")
            before = len(server.requests)
            await one.peer.send({"type": "chat", "text": text})
            while len(server.requests) == before:
                await asyncio.sleep(0.02)
            return str(server.requests[-1]["messages"])

        async with service(asked) as (_, client):
            async with writer(client, "lobby") as ada:
                await client.post("/agents", json={"room": "lobby", "greeting": ""})
                told = await write(ada, "my name is Ada")
            assert "Ada" in told
            # Who comes before it is certain that Ada is gone still finds her company.
            while "Ada" in told:
                async with writer(client, "lobby") as bob:
                    told = await write(bob, "who am I")
            assert "who am I" in told
        await asked.llm.close()


async def test_who_is_not_in_the_room_is_not_answered(engines: Engines) -> None:
    async with service(engines) as (_, client), writer(client, "lobby") as ada:
        agent = (await client.post("/agents", json={"room": "lobby", "greeting": ""})).json()
        await ada.until(type="agent.hello")
        access = (await client.post("/tokens", json={"room": "lobby"})).json()
        async with connect(f"{access['url']}/v1?token={access['token']}", proxy=None) as outside:
            await outside.recv()
            chat = {"type": "chat", "text": "What is two times two?"}
            frame = {"type": "publish", "channel": "lobby", "data": chat, "requestId": "1"}
            await outside.send(json.dumps(frame))
            assert json.loads(await outside.recv())["type"] == "ack"
            await ada.peer.send({"type": "chat", "text": "What is twelve times three?"})
            await ada.until_said(lambda text: "36" in text)
        assert (await client.get(agent["links"]["self"])).json()["turns"] == 1


async def test_a_language_nobody_here_understands_is_a_warning(engines: Engines) -> None:
    async with service(engines) as (_, client):
        agent = (await client.post("/agents", json={"room": "lobby", "language": "de"})).json()
        assert "understands only: en" in agent["warnings"][0]


@pytest.mark.parametrize("credential", ["publishable key", "secret pair"])
async def test_rooms_of_a_foreign_server_are_joined_with_its_keys(
    engines: Engines, start_hub: Any, credential: str
) -> None:
    async with start_hub() as hub:
        keys = (
            [f"rooms.api_key={hub.key}"]
            if credential == "publishable key"
            else [f"rooms.secret_key_id={hub.key_id}", f"rooms.secret_key={hub.secret}"]
        )
        async with service(engines, f"rooms.url={hub.url}", *keys) as (_, client):
            access = (await client.post("/tokens", json={"room": "lobby"})).json()
            assert access["url"] == hub.url
            agent = (await client.post("/agents", json={"room": "lobby", "greeting": ""})).json()
            assert [member.peer_id for member in hub.hub.rooms.members("lobby")] == [agent["peer_id"]]
            credentials: dict[str, Any] = (
                {"key": access["key"]} if access["key"] else {"token_provider": given(access["token"])}
            )
            async with AudioSource() as source, Peer(access["url"], **credentials) as peer:
                peer.add_track(source, stream_id="microphone")
                await peer.join("lobby")
                one = Caller(peer, source)
                running = asyncio.create_task(one.run())
                await one.until(type="agent.hello")
                await peer.send({"type": "chat", "text": "What is twelve times three?"})
                await one.until_said(lambda text: "36" in text)
                await one.heard_voice.wait()
                running.cancel()


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0"])
async def test_a_service_for_a_network_has_agents_in_its_rooms(engines: Engines, host: str) -> None:
    headers = {"authorization": "Bearer k"}
    async with service(engines, f"server.host={host}", "server.api_key=k") as (running, client):
        assert running.url.startswith("http://127.0.0.2:" if host == "127.0.0.2" else "http://127.0.0.1:")
        answer = await client.post("/agents", json={"room": "lobby"}, headers=headers)
        assert answer.status_code == 201, answer.text
        access = (await client.post("/tokens", json={"room": "lobby"}, headers=headers)).json()
        assert access["url"] == running.url.replace("http", "ws"), "callers come to the address they know"


@pytest.mark.parametrize(
    ("host", "listening"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        # In place of an address of a network, to which no agent would connect without TLS.
        ("127.0.0.2", ["127.0.0.2", "127.0.0.1"]),
    ],
)
async def test_a_service_can_always_be_reached_over_loopback(host: str, listening: list[str]) -> None:
    with _listeners(host, 0) as sockets:
        assert [one.getsockname()[0] for one in sockets] == listening


async def test_tokens_of_callers_stay_out_of_the_log(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with service(engines) as (_, client):
        access = (await client.post("/tokens", json={"room": "lobby"})).json()
        async with Peer(access["url"], token_provider=given(access["token"])) as peer:
            await peer.join("lobby")
    assert access["token"] not in caplog.text


async def test_a_room_that_cannot_be_reached_is_said_so(engines: Engines) -> None:
    async with service(engines, "rooms.url=ws://127.0.0.1:9", "rooms.api_key=pk_live_x") as (_, client):
        response = await client.post("/agents", json={"room": "lobby"})
        assert response.status_code == 502
        assert "pk_live_x" not in response.text


@pytest.mark.alone
async def test_the_vendors_own_client_calls_the_agent(engines: Engines) -> None:
    async with service(engines) as (_, client):
        access = (await client.post("/tokens", json={"room": "lobby"})).json()
        peer = vendor.MeteredPeer(url=access["url"], token_provider=given(access["token"]))
        microphone = vendor.AudioSource(input_rate=16000, max_buffered_seconds=10)
        heard, understood = asyncio.Event(), asyncio.Queue[str]()
        listening: list[asyncio.Task[None]] = []

        async def listen(track: Any) -> None:
            async for frame in vendor.iter_frames(track):
                if np.abs(frame.to_ndarray()).max() > 1000:
                    heard.set()

        @peer.on(vendor.PeerJoined)
        def joined(event: Any) -> None:
            @event.peer.on(vendor.Track)
            def track(event: Any) -> None:
                listening.append(asyncio.create_task(listen(event.track)))

        @peer.on(vendor.Data)
        def data(event: Any) -> None:
            said = event.data if isinstance(event.data, dict) else {}
            if said.get("type") == "agent.caption" and said["final"]:
                understood.put_nowait(said["text"])

        peer.add_track(microphone)
        await peer.join("lobby")
        await client.post("/agents", json={"room": "lobby", "greeting": ""})
        speech = await question(engines, "What is twelve times three?")
        silence = np.zeros(8000, np.int16)
        await microphone.push(np.concatenate([silence, speech.samples, silence]).tobytes())
        assert await understood.get() == "what is twelve times three"
        assert "36" in await understood.get()
        await heard.wait()
        await peer.close()
        for task in listening:
            task.cancel()
