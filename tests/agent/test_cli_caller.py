"""`call`, `replay` and `doctor` as commands: what they print, write, and exit with."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from agent.cli.app import COMMANDS, app
from agent.cli.join import _service_access
from agent.client import ServiceClient, ServiceError
from agent.dispatch.base import AgentRequest
from agent.personas import Personas
from agent.realtime import Peer, PeerJoined
from agent.service import running_service
from agent.settings import load_settings
from agent.worker import Worker
from pipelines.engines import Engines

SAMPLES = Path(__file__).parents[2] / "samples"
QUESTION = SAMPLES / "what-time-is-it.wav"
IMPOSSIBLE = """
play: [{wav: what-time-is-it.wav}]
heard: What time is it?
reply: {contains: [elephant]}
"""


@pytest.fixture(scope="module", autouse=True)
def commands() -> None:
    for name in COMMANDS:
        import_module(f"agent.cli.{name}")


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def said(result: Result) -> str:
    """What was printed on both streams, without the line breaks of a narrow terminal."""
    return " ".join(result.output.split())


@pytest.mark.alone
@pytest.mark.asyncio(loop_scope="session")
async def test_a_call_shows_both_sides_and_saves_the_answer(engines: Engines, tmp_path: Path) -> None:
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1"]).settings
    async with running_service(settings, engines=engines) as service:
        result = await asyncio.to_thread(
            run, "call", "lobby", "--wav", QUESTION, "--out", tmp_path / "reply.wav",
            "--service", service.url, "--greeting", "",
        )  # fmt: skip
    assert result.exit_code == 0, said(result)
    for part in (
        "you: what time is it",
        "agent: It is",
        "answered within",
        "first sound of the answer after",
    ):
        assert part in said(result)
    with wave.open(str(tmp_path / "reply.wav")) as file:
        assert file.getnframes() > file.getframerate()


@pytest.mark.alone
@pytest.mark.asyncio(loop_scope="session")
async def test_replay_fails_where_one_expectation_does(engines: Engines, tmp_path: Path) -> None:
    (tmp_path / QUESTION.name).write_bytes(QUESTION.read_bytes())
    (tmp_path / "good.yaml").write_text(IMPOSSIBLE.replace("elephant", "it is"))
    (tmp_path / "bad.yaml").write_text(IMPOSSIBLE)
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1"]).settings
    async with running_service(settings, engines=engines) as service:
        result = await asyncio.to_thread(
            run, "replay", tmp_path, "--service", service.url, "--jobs", 2, "--out", tmp_path / "out",
            "--junit", tmp_path / "junit.xml", "--json", tmp_path / "all.json",
        )  # fmt: skip
    assert result.exit_code == 1, said(result)
    assert "does not contain “elephant”" in said(result)
    assert "1 of 2 samples passed" in said(result)
    facts = json.loads((tmp_path / "all.json").read_text())
    assert {one["sample"]: one["passed"] for one in facts["samples"]} == {"good": True, "bad": False}
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.wav", "bad.wav"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["call", "lobby"], "--wav"),
        (["call", "no such room!", "--wav", QUESTION], "a room has 1 to 128 letters"),
        (["call", "lobby", "--wav", "none.wav"], "none.wav: there is no such file"),
        (["call", "lobby", "--wav", __file__], "not a sound file"),
        (["call", "lobby", "--wav", QUESTION, "--set", "stt.modle=x"], "did you mean 'stt.model'?"),
        (["replay", "none.yaml"], "none.yaml: there is no such file or folder"),
        (["replay", __file__], "not YAML"),
        (["replay", SAMPLES, "--jobs", 0], "jobs"),
        (["doctor", "--set", "server.port=high"], "server.port"),
        (["join", "lobby", "--service", "http://127.0.0.1:99999"], "99999 is not an address"),
        (["join", "lobby", "--service", "127.0.0.1:8000"], "expected one like http://"),
        (["call", "lobby", "--wav", QUESTION, "--service", "nowhere"], "is not an address"),
        (["replay", SAMPLES, "--service", "nowhere"], "is not an address"),
    ],
)
def test_a_wrong_command_is_explained_and_exits_with_2(arguments: list[object], part: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, part in said(result)) == (2, True), said(result)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command", [("call", "lobby", "--wav", QUESTION), ("replay", SAMPLES), ("join", "lobby")]
)
def test_without_a_service_it_is_said_how_to_start_one(
    command: tuple[object, ...], unused_tcp_port: int
) -> None:
    result = run(*command, "--service", f"http://127.0.0.1:{unused_tcp_port}")
    assert result.exit_code == 1
    assert "start one with 'voice-agent serve'" in said(result)


@pytest.mark.asyncio(loop_scope="session")
async def test_rooms_that_are_not_encrypted_are_not_joined_from_elsewhere(engines: Engines) -> None:
    settings = load_settings(
        environ={}, overrides=["server.port=0", "rooms.url=ws://rooms.example", "rooms.api_key=pk_live_x"]
    ).settings
    async with running_service(settings, engines=engines) as service:
        result = await asyncio.to_thread(run, "join", "lobby", "--service", service.url)
        assert result.exit_code == 1
        assert "are not encrypted" in said(result)
        async with ServiceClient(service.url) as client:
            with pytest.raises(ServiceError, match="room's server cannot be used"):
                await client.dispatch("lobby")


@pytest.mark.asyncio(loop_scope="session")
async def test_an_agent_of_another_process_is_known_as_one(engines: Engines) -> None:
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1"]).settings
    async with (
        running_service(settings, engines=engines) as service,
        ServiceClient(service.url) as client,
        asyncio.TaskGroup() as tasks,
    ):
        request = AgentRequest("lobby")
        persona = Personas(None).for_request(request)
        access = await _service_access(client, "lobby", persona.name)
        worker = Worker("joined", request, persona, access=access, engines=engines, settings=settings)
        tasks.create_task(worker.run())
        await worker.joined.wait()
        caller = await client.access("lobby")

        async def token() -> str:
            assert caller.token is not None
            return caller.token

        async with Peer(caller.url, token_provider=token) as peer:
            await peer.join("lobby")
            joined = [event async for event in until_joined(peer)]
            assert joined[-1].remote.metadata == {"role": "agent", "name": "default"}
            assert joined[-1].remote.id.startswith("~agent-")
        worker.leave()


async def until_joined(peer: Peer) -> AsyncIterator[PeerJoined]:
    async for event in peer.events():
        if isinstance(event, PeerJoined):
            yield event
            return


def test_the_doctor_exits_with_what_it_found(unused_tcp_port: int) -> None:
    usual = ("--set", "server.port=0", "--set", "models.fetch=false")
    well = run("doctor", *usual)
    assert well.exit_code == 0, said(well)
    assert "nothing is red" in said(well)
    ill = run("doctor", *usual, "--json", "--set", f"llm.base_url=http://127.0.0.1:{unused_tcp_port}")
    assert ill.exit_code == 1
    red = [check for check in json.loads(ill.stdout) if check["status"] == "fail"]
    assert [check["name"] for check in red] == ["LLM endpoint"]
