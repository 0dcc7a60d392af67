"""The examples of docs/room-layer.md do what they say, with somebody in the room."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

import agent.realtime
from agent.realtime import DataChannelOpened, DataReceived, TrackAdded
from tests.agent.realtime.peer_parts import Participant, participant, tone
from tests.agent.realtime.sending.test_files import write_wav
from tests.conftest import RunningHub

PAGE = Path(__file__).parents[3] / "docs/room-layer.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


async def run(example: str, **given: object) -> None:
    code = compile(example, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {name: getattr(agent.realtime, name) for name in agent.realtime.__all__}
    running = eval(code, names | given)
    assert inspect.isawaitable(running)
    await running


async def greeted(bob: Participant) -> None:
    await bob.event(DataReceived, kind="direct", data={"hello": "bob"})
    await bob.event(DataReceived, kind="broadcast", data={"type": "chat", "text": "hello"})


async def heard(bob: Participant) -> None:
    assert (await bob.event(TrackAdded)).stream_id == "my-voice"


async def announced(bob: Participant) -> None:
    assert (await bob.event(TrackAdded)).stream_id == "announcement"


async def measured(bob: Participant) -> None:
    channel = (await bob.event(DataChannelOpened)).channel
    assert (channel.label, channel.ordered, channel.max_retransmits) == ("telemetry", False, 0)
    assert await anext(channel) == b"21.5"
    await channel.send("thanks")


@pytest.mark.parametrize(
    ("example", "seen_by"), list(zip(EXAMPLES, (greeted, heard, announced, measured), strict=True))
)
async def test_an_example_runs(hub: RunningHub, tmp_path: Path, example: str, seen_by):
    given = {"url": hub.url, "key": hub.key, "pcm": tone(440), "wav": write_wav(tmp_path / "a.wav", 440)}
    async with participant(hub, "bob", room="room-42", says_hz=1000) as bob, asyncio.TaskGroup() as tasks:
        tasks.create_task(run(example, **given))
        await seen_by(bob)
