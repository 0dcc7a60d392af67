from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from chat_server import ChatServer
from prometheus_client import REGISTRY
from pydantic import SecretStr

from pipelines.base import EngineError, EngineUnavailableError
from pipelines.llm.base import Message, TextDelta, ToolCall, ToolSpec
from pipelines.llm.openai import OpenAIEngine
from pipelines.models import ModelStore
from pipelines.options import LlmOptions

KEY = "sk-very-secret-key"
SAID = "my private words"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


class Asker:
    """Asks the server's model of a given name."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._engines: list[OpenAIEngine] = []

    def engine(self, model: str, **options: Any) -> OpenAIEngine:
        settings = LlmOptions(base_url=self._server.url, api_key=SecretStr(KEY), model=model, **options)
        engine = OpenAIEngine(settings, reason="under test")
        self._engines.append(engine)
        return engine

    async def all(self, model: str, *, tools: tuple[ToolSpec, ...] = (), **options: Any) -> list[Any]:
        messages = (Message("user", SAID),)
        return [delta async for delta in self.engine(model, **options).stream(messages, tools=tools)]

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()


@pytest.fixture
async def ask(server: ChatServer) -> AsyncIterator[Asker]:
    asker = Asker(server)
    yield asker
    await asker.close()


async def test_streams_the_answer(ask: Asker) -> None:
    deltas = await ask.all("echo")
    assert deltas == [TextDelta(f"{word} ") for word in f"You said {SAID}".split()]


async def test_puts_tool_calls_together_from_fragments(ask: Asker, server: ChatServer) -> None:
    tool = ToolSpec(
        "roll_dice", "Rolls a die.", {"type": "object", "properties": {"sides": {"type": "integer"}}}
    )
    assert await ask.all("tools", tools=(tool,)) == [
        ToolCall("call_a", "roll_dice", '{"sides": 20}'),
        ToolCall("call_b", "current_time", "{}"),
    ]
    (sent,) = server.requests[-1]["tools"]
    described = {"name": "roll_dice", "description": "Rolls a die.", "parameters": tool.parameters}
    assert sent == {"type": "function", "function": described}


async def test_sends_the_dialogue_as_it_is(ask: Asker, server: ChatServer) -> None:
    dialogue = (
        Message("system", "Be brief."),
        Message("user", "roll", name="anna"),
        Message("assistant", "", tool_calls=(ToolCall("1", "roll_dice", "{}"),)),
        Message("tool", "4", tool_call_id="1"),
    )
    async for _ in ask.engine("echo", temperature=0.2, max_tokens=9).stream(dialogue):
        pass
    sent = server.requests[-1]
    call = {"id": "1", "type": "function", "function": {"name": "roll_dice", "arguments": "{}"}}
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "roll", "name": "anna"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    assert (sent["temperature"], sent["max_tokens"], sent["stream"], "tools" in sent) == (0.2, 9, True, False)
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("model", "message", "kind"),
    [
        ("status-401", "refused the key; check llm.api_key", "key"),
        ("status-403", "refused the key", "key"),
        ("status-404", "knows no model 'status-404'", "model"),
        ("status-400", "refused the request with status 400", "request"),
        ("status-429", "no capacity for this key", "rate"),
        ("status-500", "failed with status 500", "server"),
        ("status-503", "failed with status 503", "server"),
        ("cut", "broke off in the middle", "cut"),
        ("unfinished", "broke off in the middle", "cut"),
        ("empty", "broke off in the middle", "cut"),
    ],
)
async def test_failures_say_what_to_do_and_nothing_else(
    ask: Asker, caplog: pytest.LogCaptureFixture, model: str, message: str, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    before = REGISTRY.get_sample_value("voice_agent_llm_errors_total", {"kind": kind}) or 0
    with pytest.raises(EngineError, match=message) as caught:
        await ask.all(model)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    for hidden in (KEY, SAID):
        assert hidden not in str(caught.value)
        assert not [line for line in ours if hidden in line]
    assert REGISTRY.get_sample_value("voice_agent_llm_errors_total", {"kind": kind}) == before + 1


async def test_an_answer_that_is_not_chat_completions_is_an_engine_error(ask: Asker) -> None:
    with pytest.raises(EngineError):
        await ask.all("garbage")


async def test_text_that_cannot_be_sent_is_an_engine_error_that_does_not_show_it(
    ask: Asker, server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = REGISTRY.get_sample_value("voice_agent_llm_errors_total", {"kind": "request"}) or 0
    with pytest.raises(EngineError, match="could not be asked \\(UnicodeEncodeError\\)") as caught:
        async for _ in ask.engine("echo").stream((Message("user", f"{SAID} \ud800"),)):
            pass
    assert SAID not in str(caught.value) + caplog.text
    assert REGISTRY.get_sample_value("voice_agent_llm_errors_total", {"kind": "request"}) == before + 1
    assert not server.requests


async def test_no_first_token_in_time(ask: Asker) -> None:
    with pytest.raises(EngineError, match=r"sent no token within 0\.3 s"):
        await ask.all("stall-first", first_token_timeout_s=0.3)


async def test_a_stall_in_mid_answer(ask: Asker, server: ChatServer) -> None:
    answer = ask.engine("stall-middle", stall_timeout_s=0.3).stream((Message("user", SAID),))
    for _ in range(5):
        await anext(answer)
    with pytest.raises(EngineError, match=r"sent nothing for 0\.3 s in mid-answer"):
        await anext(answer)
    assert await asyncio.to_thread(server.gone.wait, 30)


async def test_closing_the_iterator_stops_the_request_on_the_wire(ask: Asker, server: ChatServer) -> None:
    async with aclosing(ask.engine("endless").stream((Message("user", SAID),))) as answer:  # type: ignore[type-var]
        await anext(answer)
        assert not server.gone.is_set()
    assert await asyncio.to_thread(server.gone.wait, 30)


async def test_cancelling_the_caller_stops_the_request_on_the_wire(ask: Asker, server: ChatServer) -> None:
    task = asyncio.create_task(ask.all("endless"))
    assert await asyncio.to_thread(server.asked.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.gone.wait, 30)


async def test_an_overloaded_server_is_asked_once_more(ask: Asker, server: ChatServer) -> None:
    with pytest.raises(EngineError):
        await ask.all("status-503")
    assert len(server.requests) == 2


async def test_neither_address_nor_key() -> None:
    with pytest.raises(EngineUnavailableError) as caught:
        await OpenAIEngine.load(LlmOptions(), models=ModelStore(), reason="under test")
    assert "llm.base_url" in caught.value.fix


async def test_the_key_is_not_shown(ask: Asker) -> None:
    engine = ask.engine("echo")
    assert KEY not in json.dumps([engine.info.model, engine.info.reason, repr(engine.info)])
