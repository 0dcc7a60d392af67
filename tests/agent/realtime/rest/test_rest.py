"""What all REST clients here share, against a real server that refuses, stalls, and talks nonsense."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from rest_server import RestServer, answering, rest_server
from starlette.responses import JSONResponse, Response

from agent.realtime import RestError
from agent.realtime.rest.json_api import JsonApi, check_https, path_segment, typed

SECRET = "sk_secret_of+the/test"


@pytest.fixture
async def server() -> AsyncIterator[RestServer]:
    async with rest_server() as running:
        yield running


async def call(url: str, method: str = "GET", path: str = "/x", *, timeout_s: float = 10, **more: Any) -> Any:
    headers = {"authorization": f"Bearer {SECRET}"}
    async with JsonApi(url, headers=headers, secret=SECRET, timeout_s=timeout_s) as api:
        return await api.call(more.pop("parse", lambda body: body), method, path, **more)


async def refusal(url: str, method: str = "GET", **more: Any) -> RestError:
    with pytest.raises(RestError) as caught:
        await call(url, method, **more)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_the_secret_of_an_address_is_sent_and_nobody_else_hears_of_it(
    server: RestServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # The service quietens it, and other tests start services.
    caplog.set_level(logging.DEBUG, logger="httpx")
    server.answer = answering(200, {"ok": True})
    answer = await call(server.url, query={"region": "a b"}, secret_query={"secretKey": "s+e c/r&et"})
    assert answer == {"ok": True}
    assert server.asked[0].query == {"region": "a b", "secretKey": "s+e c/r&et"}
    server.answer = answering(400, {"message": "bad secretKey=s+e c/r&et s%2Be%20c%2Fr%26et"})
    refused = await refusal(server.url, secret_query={"secretKey": "s+e c/r&et"})
    assert "bad secretKey=… …" in str(refused)
    # What the server itself logs is not ours.
    records = [record for record in caplog.records if not record.name.startswith("uvicorn")]
    # httpx does log addresses at this level: the one that is logged holds no secret.
    said = [record.getMessage() for record in records if record.name == "httpx"]
    assert any("/x?region=a" in line for line in said)
    everything = str([(record.getMessage(), record.__dict__) for record in records])
    for secret in ("r&et", "r%26et", SECRET):
        assert secret not in everything


async def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(
    server: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answer = answering(200, {"ok": True})
    assert await call(server.url) == {"ok": True}


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, {"error": "channel_reserved", "message": "that name"}, "channel_reserved", "that name"),
        (401, {"error": "unauthorized", "message": "no"}, "unauthorized", "no"),
        (403, {"error": "action_not_permitted"}, "action_not_permitted", "the service refused"),
        (404, {"error": "not_found", "message": "nothing"}, "not_found", "nothing"),
        (413, {"error": "invalid_request", "message": "32 KB"}, "invalid_request", "32 KB"),
        (400, {"error": "Please specify API Key"}, "invalid_request", "Please specify API Key"),
        (401, {"message": "User not found"}, "unauthorized", "User not found"),
        (500, ["odd"], "internal_error", "the service refused"),
        (302, None, "http_302", "the service refused"),
        (400, {"error": 5, "message": "x" * 500 + "\n"}, "invalid_request", "x" * 200),
        (400, {"message": f"\x1b[31m{SECRET}"}, "invalid_request", " [31m…"),
    ],
)
async def test_a_refusal_says_why(
    server: RestServer, status: int, body: Any, code: str, message: str
) -> None:
    server.answer = answering(status, body)
    refused = await refusal(server.url)
    assert (refused.status, refused.code, refused.message) == (status, code, message)
    assert len(server.asked) == 1


async def test_an_answer_that_is_no_json_is_refused_and_one_of_another_shape_too(server: RestServer) -> None:
    for content in (b"<html>", b"[" * 100_000, b""):
        server.answer = lambda _, content=content: Response(content)
        refused = await refusal(server.url, parse=lambda body: typed(body, "n", int))
        assert (refused.status, refused.code) == (None, "bad_answer")
    for body in ({"n": "1"}, {"n": True}, {}, [], None, 3):
        server.answer = answering(200, body)
        refused = await refusal(server.url, parse=lambda body: typed(body, "n", int))
        assert refused.code == "bad_answer"


async def test_an_endless_answer_is_cut_off(server: RestServer) -> None:
    server.answer = lambda _: Response(b"1" * (5 * 1024 * 1024))
    assert "bytes" in str(await refusal(server.url))
    # Nothing is unpacked that was not asked for packed.
    server.answer = lambda _: Response(b"\x1f\x8b\x08", headers={"content-encoding": "gzip"})
    assert (await call(server.url, parse=lambda body: body)) is None


async def test_who_only_reads_tries_again(server: RestServer) -> None:
    answers = [JSONResponse({}, 503), JSONResponse({}, 429, {"retry-after": "0"}), JSONResponse({"n": 1})]
    server.answer = lambda _: answers.pop(0)
    assert await call(server.url) == {"n": 1}
    assert len(server.asked) == 3


async def test_what_changes_something_is_repeated_only_when_the_service_says_so(server: RestServer) -> None:
    server.answer = answering(503, {"error": "internal_error", "message": "later"})
    assert (await refusal(server.url, "POST")).code == "internal_error"
    assert len(server.asked) == 1
    soon = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    answers = [JSONResponse({}, 429, {"retry-after": "0"}), JSONResponse({}, 503, {"retry-after": soon})]
    server.answer = lambda _: answers.pop(0) if answers else JSONResponse({"done": True})
    assert await call(server.url, "POST", body={"a": 1}) == {"done": True}
    assert [asked.body for asked in server.asked[1:]] == [{"a": 1}] * 3


async def test_trying_again_has_an_end(server: RestServer) -> None:
    server.answer = answering(429, {}, **{"retry-after": "0"})
    assert (await refusal(server.url)).code == "rate_limited"
    assert len(server.asked) == 3
    server.answer = answering(429, {}, **{"retry-after": "3600"})
    refused = await refusal(server.url)
    assert refused.retry_after_s == 3600
    assert len(server.asked) == 4


async def test_a_service_that_is_not_there_or_hangs_up_is_unreachable(unused_tcp_port: int) -> None:
    refused = await refusal(f"http://127.0.0.1:{unused_tcp_port}")
    assert (refused.status, refused.code) == (None, "unreachable")

    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        # The request arrived: doing it twice may do it twice.
        assert (await refusal(url, "POST")).code == "unreachable"
        assert connections == 1
        assert (await refusal(url, "GET")).code == "unreachable"
        assert connections == 4


async def test_a_service_that_says_nothing_is_given_up(server: RestServer) -> None:
    gone = asyncio.Event()

    async def silent(_: Any) -> Response:
        await gone.wait()
        return Response()

    server.answer = silent
    refused = await refusal(server.url, timeout_s=0.2)
    gone.set()
    assert (refused.status, refused.code) == (None, "timeout")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://rms.metered.ca", "must be https://"),
        ("wss://rms.metered.ca", "look like https://"),
        ("https://rms.metered.ca/v1", "no path"),
        ("https://user:word@rms.metered.ca", "no path, query, fragment or user name"),
        ("https://rms.metered.ca:99999", "port"),
        ("", "look like"),
    ],
)
def test_an_address_that_would_give_the_secret_away_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        check_https(url)
    assert "word" not in str(caught.value)


def test_names_are_one_piece_of_a_path() -> None:
    assert [path_segment(name) for name in ("app/room", "..", "ä?#%", "a.b")] == [
        "app%2Froom",
        "%2E%2E",
        "%C3%A4%3F%23%25",
        "a.b",
    ]
