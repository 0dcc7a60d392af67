"""The endpoints: what they answer, and how they word a refusal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from controller_parts import MemoryAccess, MemoryDispatcher, make_parts

from agent.controller.app import create_app
from agent.controller.parts import CallerAccess
from agent.dispatch.base import AgentState, CapacityError, DispatchError
from agent.ratelimit import RateLimit, RateLimiter


@pytest.fixture
def dispatcher() -> MemoryDispatcher:
    return MemoryDispatcher()


@pytest.fixture
def rooms() -> MemoryAccess:
    return MemoryAccess()


@pytest.fixture
async def client(dispatcher: MemoryDispatcher, rooms: MemoryAccess) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_parts(dispatcher, rooms), limiter=RateLimiter(RateLimit(burst=1000)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost:8000"
    ) as client:
        yield client


async def refused(client: httpx.AsyncClient, body: Any, path: str = "/agents") -> dict[str, Any]:
    """Posts what must not be accepted and returns the `error` of the answer."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = await client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


async def test_an_agent_is_brought_into_a_room(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher
) -> None:
    body = {
        "room": "team/red",
        "persona": "booking",
        "instructions": "Be brief.",
        "greeting": "",
        "voice": "en_US-lessac-medium",
        "language": "en-GB",
        "metadata": {"ticket": 4711},
    }
    answer = await client.post("/agents", json=body)
    assert answer.status_code == 201
    agent = answer.json()
    assert agent["id"] == "agent-1"
    assert agent["state"] == "listening"
    assert agent["peer_id"] == "~agent-1"
    assert agent["metadata"] == {"ticket": 4711}
    assert agent["links"] == {"self": "/agents/agent-1", "room": "/?room=team%2Fred"}
    assert answer.headers["location"] == "/agents/agent-1"
    assert [engine["kind"] for engine in agent["engines"]] == ["stt", "llm", "tts"]
    (request,) = dispatcher.requests
    assert {name: getattr(request, name) for name in body} == body


async def test_what_is_left_out_is_left_to_the_persona(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher
) -> None:
    await client.post("/agents", json={"room": "lobby"})
    (request,) = dispatcher.requests
    assert request.persona == "default"
    assert (request.instructions, request.greeting, request.voice, request.language) == (None,) * 4


async def test_the_same_agent_again_is_the_one_that_is_there(client: httpx.AsyncClient) -> None:
    first = await client.post("/agents", json={"room": "lobby"})
    again = await client.post("/agents", json={"room": "lobby"})
    other = await client.post("/agents", json={"room": "lobby", "persona": "booking"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_agents_are_listed_and_looked_at(client: httpx.AsyncClient) -> None:
    for room in ("one", "two"):
        await client.post("/agents", json={"room": room})
    everyone = (await client.get("/agents")).json()["agents"]
    assert [agent["room"] for agent in everyone] == ["one", "two"]
    in_two = (await client.get("/agents", params={"room": "two"})).json()["agents"]
    assert [agent["id"] for agent in in_two] == ["agent-2"]
    assert (await client.get("/agents/agent-2")).json() == in_two[0]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/agents/x"), ("DELETE", "/agents/x"), ("GET", "/agents?room=x")]
)
async def test_what_is_not_there_is_a_404_that_names_it(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert '"x"' in answer.json()["error"]["message"]


async def test_an_agent_asked_to_leave_is_leaving_and_then_gone(client: httpx.AsyncClient) -> None:
    await client.post("/agents", json={"room": "lobby"})
    first = await client.delete("/agents/agent-1")
    assert (first.status_code, first.json()["state"]) == (202, "leaving")
    second = await client.delete("/agents/agent-1")
    assert (second.status_code, second.json()["state"]) == (200, "ended")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "room", '"room" is missing: give 1 to 128 letters'),
        ({"room": ""}, "room", '"room" does not fit: give 1 to 128 letters'),
        ({"room": "a b"}, "room", "does not fit"),
        ({"room": "ok\n"}, "room", "does not fit"),
        ({"room": "-x"}, "room", "the first a letter or a digit"),
        ({"room": "r" * 129}, "room", "does not fit"),
        ({"room": 7}, "room", '"room" must not be a number'),
        ({"room": None}, "room", '"room" must not be null'),
        (
            {"room": "r", "instructions": "i" * 20_001},
            "instructions",
            "has 20001 characters: give text of at most 20000",
        ),
        (
            {"room": "r", "greeting": "g" * 1_001},
            "greeting",
            "has 1001 characters: give text of at most 1000",
        ),
        ({"room": "r", "greeting": ["hi"]}, "greeting", "must not be a list"),
        ({"room": "r", "voice": "../secret.onnx"}, "voice", "the name of a voice"),
        ({"room": "r", "language": "english please"}, "language", "a language tag such as en"),
        ({"room": "r", "metadata": []}, "metadata", "must not be a list: give an object"),
        ({"room": "r", "metadata": {"k": "v" * 8192}}, "metadata", "is too large"),
        ('{"room": "r", "metadata": {"k": NaN}}', "metadata", "JSON has no form for"),
        (r'{"room": "r", "metadata": {"k": "\ud800"}}', "metadata", "JSON has no form for"),
        (r'{"room": "r", "greeting": "\ud800"}', "greeting", "give text of at most 1000"),
        ({"room": "r", "metadata": {"k": json.loads("[" * 20 + "]" * 20)}}, "metadata", "nests too deep"),
        ({"room": "r", "instruction": "x"}, "instruction", 'did you mean "instructions"?'),
        ({"room": "r", "zzzz": 1}, "zzzz", "is not known here. Accepted: room, persona, instructions"),
        ("{", "body", "not valid JSON"),
        ("[]", "body", "must be a JSON object"),
        ("", "body", "must be a JSON object"),
    ],
)
async def test_a_bad_body_is_told_which_field_and_what_is_accepted(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher, body: Any, field: str, says: str
) -> None:
    error = await refused(client, body)
    assert error["code"] == "invalid_request"
    assert [wrong["field"] for wrong in error["fields"]] == [field]
    assert says in error["message"]
    assert dispatcher.requests == []


async def test_every_mistake_is_told_at_once_but_not_without_end(client: httpx.AsyncClient) -> None:
    error = await refused(client, {"room": 1, "greeting": 2})
    assert [wrong["field"] for wrong in error["fields"]] == ["room", "greeting"]
    error = await refused(client, {"room": "r"} | {f"unknown{n}": n for n in range(1000)})
    assert len(error["fields"]) == 11
    assert "990 more" in error["message"]
    error = await refused(client, {"room": "r", "x" * 5000: 1})
    assert len(error["message"]) < 300


async def test_json_nested_beyond_reason_is_refused_and_not_a_crash(client: httpx.AsyncClient) -> None:
    answer = await client.post("/agents", content="[" * 60_000, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_an_unknown_persona_is_told_those_that_are_known(client: httpx.AsyncClient) -> None:
    error = await refused(client, {"room": "r", "persona": "bokings"})
    assert error["code"] == "unknown_persona"
    assert error["message"] == (
        'There is no persona "bokings", did you mean "booking"? There are: default, booking.'
    )
    assert error["fields"][0]["field"] == "persona"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (CapacityError("All 2 agents are in use."), 503, "no_capacity"),
        (DispatchError("The room server does not answer."), 502, "dispatch_failed"),
    ],
)
async def test_an_agent_that_cannot_be_had_says_why(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher, failure: Exception, status: int, code: str
) -> None:
    dispatcher.refuse = failure
    answer = await client.post("/agents", json={"room": "lobby"})
    assert answer.status_code == status
    assert answer.json()["error"] == {"code": code, "message": str(failure)}
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_crash_is_an_answer_of_the_usual_shape(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.refuse = ZeroDivisionError("a bug")
    answer = await client.post("/agents", json={"room": "lobby", "greeting": "words people say"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "a bug" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "/agents" in caplog.text
    assert "words people say" not in caplog.text


async def test_access_is_minted_for_one_caller_in_one_room(
    client: httpx.AsyncClient, rooms: MemoryAccess
) -> None:
    answer = await client.post("/tokens", json={"room": "lobby", "name": "Ada Łovelace"})
    assert answer.status_code == 201
    assert answer.json() == {
        "url": "ws://localhost:8000",
        "token": "a.b.c",
        "key": None,
        "room": "lobby",
        "expires_at": "2025-01-31T13:00:00Z",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert rooms.asked == [("lobby", "Ada Łovelace", "caller")]


async def test_an_agent_that_runs_elsewhere_gets_access_as_one(
    client: httpx.AsyncClient, rooms: MemoryAccess
) -> None:
    answer = await client.post("/tokens", json={"room": "lobby", "role": "agent"})
    assert answer.status_code == 201
    assert rooms.asked == [("lobby", None, "agent")]
    error = await refused(client, {"room": "lobby", "role": "admin"}, "/tokens")
    assert "give caller or agent" in error["message"]


async def test_access_names_a_signalling_server_elsewhere(
    client: httpx.AsyncClient, rooms: MemoryAccess
) -> None:
    rooms.answer = CallerAccess(url="wss://rooms.example", key="pk_live_x")
    answer = (await client.post("/tokens", json={"room": "lobby"})).json()
    assert (answer["url"], answer["token"], answer["key"]) == ("wss://rooms.example", None, "pk_live_x")
    assert answer["expires_at"] is None


async def test_access_that_cannot_be_had_says_why(client: httpx.AsyncClient, rooms: MemoryAccess) -> None:
    rooms.refuse = DispatchError("The token service does not answer.")
    answer = await client.post("/tokens", json={"room": "lobby"})
    assert answer.status_code == 502
    assert answer.json()["error"]["message"] == "The token service does not answer."


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 81, 5, "a\u202eb"])
async def test_a_bad_caller_name_is_refused(
    client: httpx.AsyncClient, rooms: MemoryAccess, name: Any
) -> None:
    error = await refused(client, {"room": "lobby", "name": name}, "/tokens")
    assert "give 1 to 80 printable characters" in error["message"]
    assert rooms.asked == []


async def test_about_says_what_runs_and_why(client: httpx.AsyncClient) -> None:
    about = (await client.get("/about")).json()
    assert about["version"] == "1.2.3"
    assert about["engines"][0] == {
        "kind": "stt",
        "engine": "pocketsphinx",
        "model": "en-us",
        "reason": "no Whisper weights here",
        "languages": ["en"],
    }
    assert [persona["name"] for persona in about["personas"]] == ["default", "booking"]


async def test_health_counts_the_agents_that_are_there(
    client: httpx.AsyncClient, dispatcher: MemoryDispatcher
) -> None:
    for room in ("one", "two"):
        await client.post("/agents", json={"room": room})
    dispatcher.statuses["agent-1"] = replace(dispatcher.statuses["agent-1"], state=AgentState.FAILED)
    assert (await client.get("/healthz")).json() == {"status": "ok", "agents": 1}


async def test_metrics_count_answers_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    await client.get("/agents/made-up-by-a-stranger")
    await client.get("/nowhere/made-up-by-a-stranger")
    text = (await client.get("/metrics")).text
    assert 'voice_agent_http_requests_total{method="GET",route="/agents/{agent_id}",status="404"}' in text
    assert "made-up" not in text


async def test_an_address_that_does_not_exist_is_told_in_the_same_shape(client: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("PATCH", "/agents", 405),
        ("POST", "/agents/", 404),
    ):
        answer = await client.request(method, path, json={})
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "message"}


async def test_the_api_describes_itself_with_an_example_of_everything(client: httpx.AsyncClient) -> None:
    spec = (await client.get("/openapi.json")).json()
    assert set(spec["paths"]) == {
        "/agents",
        "/agents/{agent_id}",
        "/tokens",
        "/about",
        "/healthz",
        "/metrics",
    }
    schemas = spec["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for name in ("AgentBody", "AgentOut", "TokenBody", "TokenOut", "ErrorBody", "HealthOut", "EngineOut"):
        for field, schema in schemas[name]["properties"].items():
            nested = "$ref" in schema or "$ref" in schema.get("items", {}) or field == "fields"
            assert nested or "examples" in schema, f"{name}.{field}"
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            assert {"tags", "summary"} <= operation.keys(), path
            for status, answer in operation["responses"].items():
                assert answer.get("content"), (path, status)
