"""The service as its users meet it: REST, rooms, real WebRTC, the embedded engines."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from copy import copy
from typing import Any

import metered_realtime as vendor
import numpy as np
import pytest
from websockets.asyncio.client import connect

from agent.worker import MAX_CHAT_CHARS
from pipelines.engines import Engines
from pipelines.llm.openai import OpenAIEngine
from pipelines.options import LlmOptions
from tests.agent.service_parts import Caller, caller, given, question, service, writer
from tests.chat_server import ChatServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
            """What the model was told when it was asked for the answer, which begins to sound."""
            await one.until(type="agent.hello")
            before = len(server.requests)
            await one.peer.send({"type": "chat", "text": text})
            while len(server.requests) == before:
                await asyncio.sleep(0.02)
            await one.until(type="agent.state", state="speaking")
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
            assert [m["role"] for m in server.requests[-1]["messages"]] == ["system", "user"]
        await asked.llm.close()


async def test_the_model_knows_two_callers_by_their_names(engines: Engines) -> None:
    with ChatServer() as server:
        asked = copy(engines)
        asked.llm = OpenAIEngine(LlmOptions(base_url=server.url, model="echo"), reason="under test")
        async with (
            service(asked) as (_, client),
            writer(client, "lobby", "Ada") as ada,
            writer(client, "lobby", "Bob B.") as bob,
        ):
            await client.post("/agents", json={"room": "lobby", "greeting": ""})
            for one in (ada, bob):
                await one.until(type="agent.hello")
                await one.peer.send({"type": "chat", "text": "hi"})
                await one.until_said(bool)
            while len(server.requests) < 2:
                await asyncio.sleep(0.02)
        names = [m.get("name") for m in server.requests[-1]["messages"] if m["role"] == "user"]
        assert names == ["Ada", "Bob_B_"]
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
