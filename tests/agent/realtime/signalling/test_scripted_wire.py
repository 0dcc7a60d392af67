"""What a server can do to a connection below the frames: at the upgrade, on the wire, and at the end."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.realtime.errors import (
    SignallingConnectError,
)
from agent.realtime.frames import Direct
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Connected, Disconnected, Event
from agent.realtime.signalling.link import Timeouts
from tests.agent.realtime.scripted_server import (
    BINARY,
    CONTINUATION,
    DEEP,
    MARK,
    PING,
    PONG,
    TEXT,
    WELCOME,
    Script,
    Wire,
    close_frame,
    events_until_mark,
    frame,
    saying,
    scripted_server,
    sending,
)
from tests.agent.realtime.signalling_parts import Prompt

# ---- on the wire ----------------------------------------------------------------------------------------

_MARK = frame(TEXT, MARK.encode())
_DIRECT = '{"type":"direct","from":"bob","data":"é"}'.encode()


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (frame(BINARY, b"\x00binary"), []),
        (frame(BINARY, _DIRECT), []),
        (
            frame(TEXT, _DIRECT[:-4], final=False)
            + frame(CONTINUATION, _DIRECT[-4:-3], final=False)
            + frame(PING, b"between")
            + frame(CONTINUATION, _DIRECT[-3:]),
            [Direct("bob", "é")],
        ),
        (frame(TEXT, b"", final=False) + frame(CONTINUATION, b""), []),
        (frame(PING, b"x" * 125) + frame(PONG, b"not asked for"), []),
        (frame(TEXT, b" " * (1_048_576 - len(_DIRECT)) + _DIRECT), [Direct("bob", "é")]),
    ],
    ids=["binary", "binary json", "fragments", "empty fragments", "control frames", "a mebibyte"],
)
async def test_every_way_to_send_a_frame(data: bytes, events: list[Event]) -> None:
    async with scripted_server(sending(data + _MARK)) as url:
        assert await events_until_mark(url) == events


async def test_one_byte_at_a_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.accept()
        for byte in frame(TEXT, WELCOME.encode()) + _MARK:
            wire.raw(bytes([byte]))
            await asyncio.sleep(0)
        await wire.until_gone()

    async with scripted_server(script) as url:
        assert await events_until_mark(url) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b" " * 1_048_577), 1009),
        (frame(TEXT, b" " * 600_000, final=False) + frame(CONTINUATION, b" " * 600_000), 1009),
        (b"\x81\x7f\x7f" + b"\xff" * 7, 1009),
        (frame(TEXT, b'{"type":"direct","from":"bob","data":"\xff"}'), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"{}", reserved=4), 1002),
        (frame(0x3, b"?"), 1002),
        (frame(CONTINUATION, b"of nothing"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(0x8, b"\x03"), 1002),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100, 1002),
    ],
)
async def test_what_no_websocket_may_do_costs_the_connection(data: bytes, code: int) -> None:
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        wire.raw(data)
        closed.set_result(await wire.hear_close())

    async with scripted_server(script, saying(MARK)) as url:
        (lost, _connected) = await events_until_mark(url, reconnect=Prompt())
        assert isinstance(lost, Disconnected)
        assert lost.will_retry
        assert lost.code == await closed == code


# ---- endings --------------------------------------------------------------------------------------------

#: What follows a close with each code: once more, or never again.
TERMINAL = [4001, 4003, 4012, 4020]
RETRIED = [1000, 1001, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4002, 4010, 4011, 4013, 4999]


@pytest.mark.parametrize("code", TERMINAL)
async def test_codes_that_are_final(code: int) -> None:
    async with scripted_server(sending(close_frame(code, "enough"))) as url:
        client = SignallingClient(url, key="k", reconnect=Prompt())
        async with client:
            assert [event async for event in client.events()][1:] == [Disconnected(code, "enough", False)]


@pytest.mark.parametrize("code", RETRIED)
async def test_codes_that_are_not(code: int) -> None:
    async with scripted_server(sending(close_frame(code, "for now")), saying(MARK)) as url:
        lost, connected = await events_until_mark(url, reconnect=Prompt())
    assert lost == Disconnected(code, "for now", True)
    assert isinstance(connected, Connected)


async def aborting(wire: Wire) -> None:
    await wire.accept()
    wire.say(WELCOME)
    await wire.flush()
    wire.abort()


async def closing_and_staying(wire: Wire) -> None:
    """Takes its leave and then does not go."""
    await wire.accept()
    wire.say(WELCOME)
    wire.raw(close_frame(1001))
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("script", "code"),
    [(aborting, 1006), (sending(close_frame(None)), 1005), (closing_and_staying, 1001)],
    ids=["reset", "no code", "does not go"],
)
async def test_endings_without_a_code(script: Script, code: int) -> None:
    async with scripted_server(script, saying(MARK)) as url:
        timeouts = Timeouts(close_s=0.05)
        lost, connected = await events_until_mark(url, reconnect=Prompt(), timeouts=timeouts)
    assert isinstance(lost, Disconnected)
    assert (lost.code, lost.will_retry) == (code, True)
    assert isinstance(connected, Connected)


# ---- the upgrade ----------------------------------------------------------------------------------------


def answering(text: str) -> Script:
    async def script(wire: Wire) -> None:
        await wire.request()
        wire.raw(text.replace("\n", "\r\n").encode())
        await wire.flush()

    return script


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (
            'HTTP/1.1 401 Unauthorized\nContent-Length: 46\n\n{"error":"origin_not_allowed","message":"..."}',
            401,
            "origin_not_allowed",
        ),
        ('HTTP/1.1 401 Unauthorized\nContent-Length: 25\n\n{"error":"invalid_token"}', 401, "invalid_token"),
        ("HTTP/1.1 401 Unauthorized\nContent-Length: 9\n\nnot JSON!", 401, "HTTP 401"),
        ('HTTP/1.1 401 No\nContent-Length: 24\n\n{"error":"a b\\nsecret"}  ', 401, "HTTP 401"),
        (f"HTTP/1.1 403 No\nContent-Length: {len(DEEP)}\n\n{DEEP}", 403, "HTTP 403"),
        ("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n", 404, "HTTP 404"),
        ("HTTP/1.1 500 Oops\nContent-Length: 0\n\n", 500, "HTTP 500"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, "HTTP 200"),
        # Nobody is followed with a credential in hand.
        ("HTTP/1.1 302 Found\nLocation: ws://127.0.0.1:9/elsewhere\nContent-Length: 0\n\n", 302, "HTTP 302"),
        ("SSH-2.0-OpenSSH_9.2\n\n", 1006, "InvalidMessage"),
        ("HTTP/1.1 101 Switching Protocols\n\n", 1006, "InvalidUpgrade"),
        ("HTTP/1.1 200 OK\n" + "X: y\n" * 1000 + "\n", 1006, "InvalidMessage"),
        ("HTTP/1.1 200 OK\nX: " + "y" * 10_000 + "\n\n", 1006, "InvalidMessage"),
    ],
)
async def test_answers_that_are_no_upgrade(answer: str, code: int, reason: str) -> None:
    async with scripted_server(answering(answer)) as url:
        with pytest.raises(SignallingConnectError) as refused:
            await SignallingClient(url, key="k").connect()
    assert (refused.value.code, refused.value.reason) == (code, reason)


@pytest.mark.parametrize(
    ("answer", "floor_s"),
    [
        ("429 Too Many Requests", 30.0),
        ("429 Too Many Requests\nRetry-After: 45", 45.0),
        ("503 Service Unavailable", 0.0),
        ("503 Service Unavailable\nRetry-After: 7", 7.0),
        ("503 Service Unavailable\nRetry-After: 999999", 300.0),
        ("503 Service Unavailable\nRetry-After: -5", 0.0),
        ("503 Service Unavailable\nRetry-After: soon", 0.0),
        ("503 Service Unavailable\nRetry-After: 1\nRetry-After: 2", 0.0),
        ("503 Service Unavailable\nRetry-After: ²", 0.0),
        ("503 Service Unavailable\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
async def test_a_server_that_asks_for_time_gets_it(answer: str, floor_s: float) -> None:
    policy = Prompt()
    refusal = answering(f"HTTP/1.1 {answer}\nContent-Length: 0\n\n")
    async with scripted_server(sending(close_frame(1001)), refusal, saying(MARK)) as url:
        await events_until_mark(url, reconnect=policy)
    assert policy.asked == [(1, 0.0), (2, floor_s)]


async def silent(wire: Wire) -> None:
    """Half a connection: somebody took it, and nobody is there."""
    await asyncio.sleep(3600)


async def dripping(wire: Wire) -> None:
    """The answer comes, a letter at a time, and never ends."""
    await wire.request()
    wire.raw(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        wire.raw(b"X: y\r\n")
        await asyncio.sleep(0.05)


async def hanging_up(wire: Wire) -> None:
    await wire.request()


@pytest.mark.parametrize(
    ("script", "reason"),
    [(silent, "no answer in time"), (dripping, "no answer in time"), (hanging_up, "InvalidMessage")],
)
async def test_an_upgrade_that_does_not_come(script: Script, reason: str) -> None:
    async with scripted_server(script) as url:
        with pytest.raises(SignallingConnectError) as refused:
            await SignallingClient(url, key="k", timeouts=Timeouts(welcome_s=0.2)).connect()
    assert (refused.value.code, refused.value.reason) == (1006, reason)


# ---- anything at all ------------------------------------------------------------------------------------

_NAMES = "type channel from data requestId code message joined left peerId metadata retryAfterMs"
_names = st.sampled_from(_NAMES.split())
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("room"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=4,
)
_types = st.sampled_from(
    ["welcome", "ack", "error", "message", "direct", "presence", "going_away", "pong", "ping", "", "?"]
)
_frames = st.builds(lambda kind, body: {**body, "type": kind}, _types, st.dictionaries(_names, _values))
_texts = _frames.map(json.dumps) | st.text(max_size=40) | st.binary(max_size=40)


@settings(max_examples=15)
@given(st.lists(_texts, max_size=20))
def test_whatever_a_server_says_the_client_lives_and_leaves_nothing(said: list[str | bytes]) -> None:
    async def session() -> None:
        before = asyncio.all_tasks()
        data = b"".join(
            frame(BINARY, one) if isinstance(one, bytes) else frame(TEXT, one.encode(errors="replace"))
            for one in said
        )
        async with scripted_server(sending(data + _MARK)) as url:
            await events_until_mark(url, reconnect=None)
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(session(), 20))


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_whatever_bytes_come_the_client_lives_and_leaves_nothing(data: bytes) -> None:
    async def session() -> None:
        before = asyncio.all_tasks()

        async def script(wire: Wire) -> None:
            await wire.accept()
            wire.say(WELCOME)
            wire.raw(data)
            await wire.flush()

        async with scripted_server(script) as url:
            client = SignallingClient(url, key="k", reconnect=None)
            async with client:
                async for _ in client.events():
                    pass
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(session(), 20))
