"""What comes at a public address: broken framing and HTTP, forged credentials. The right code for each."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import struct
from contextlib import suppress
from typing import Any

import pytest

from agent.hub import UVICORN_OPTIONS, connection, uvicorn_seam
from tests.agent.hub.garbage import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Socket,
    socket_to,
    upgrade_request,
    ws_frame,
)
from tests.agent.hub.hub_parts import a_pair_that_notices_nothing, client
from tests.conftest import RunningHub, StartHub

PING_FRAME = b'{"type":"ping"}'
BIG = 1_048_576


#: What uvicorn says once for a connection; more than that would let strangers fill the log.
ONE_LINE_FOR_EACH = {
    "Invalid HTTP request received.",
    "Invalid UTF-8 sequence received from client.",
    "Unsupported upgrade request.",
}


@pytest.fixture(autouse=True)
def nothing_crashes(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING)
    yield
    # Of the test itself; `caplog.records` would be those of this fixture's end.
    records = caplog.get_records("call")
    said = {record.getMessage() for record in records if record.levelno >= logging.WARNING}
    assert said <= ONE_LINE_FOR_EACH


# ---- frames ---------------------------------------------------------------------------------------------

VIOLATIONS: dict[str, tuple[bytes, set[int]]] = {
    "text that is not UTF-8": (ws_frame(TEXT, b'{"type":"\xff"}'), {1007}),
    "no mask": (ws_frame(TEXT, PING_FRAME, mask=False), {1002}),
    "an unknown opcode": (ws_frame(3, b"x"), {1002}),
    "an unknown control opcode": (ws_frame(11, b"x"), {1002}),
    "reserved bits": (ws_frame(TEXT, PING_FRAME, rsv=4), {1002}),
    "a fragmented ping": (ws_frame(PING, b"x", fin=False), {1002}),
    "a ping too long": (ws_frame(PING, b"x" * 126), {1002}),
    "a continuation of nothing": (ws_frame(CONTINUATION, PING_FRAME), {1002}),
    "a message inside a message": (ws_frame(TEXT, b"{", fin=False) + ws_frame(TEXT, PING_FRAME), {1002}),
    "a close with half a code": (ws_frame(CLOSE, b"\x03"), {1002}),
    "a close with a code that is none": (ws_frame(CLOSE, struct.pack("!H", 1005)), {1002}),
    "a close with a reason that is not UTF-8": (ws_frame(CLOSE, b"\x03\xe8\xff"), {1002, 1007}),
    "one byte too many": (ws_frame(TEXT, b"x" * 65_537), {1009}),
    "one byte too many in binary": (ws_frame(BINARY, b"x" * 65_537), {1009}),
    "too many letters of two bytes": (ws_frame(TEXT, "é".encode() * 32_769), {1009}),
    "too much in pieces": (
        ws_frame(TEXT, b"x" * 40_000, fin=False) + ws_frame(CONTINUATION, b"x" * 40_000),
        {1009},
    ),
    "too much in many pieces": (
        ws_frame(TEXT, b"x", fin=False) + ws_frame(CONTINUATION, b"x" * 1000, fin=False) * 1100,
        {1009},
    ),
    "nearly a mebibyte": (ws_frame(TEXT, b"x" * BIG), {1009}),
    "a length beyond all measure": (ws_frame(TEXT, b"x", length=2**62), {1009}),
    "a negative length": (ws_frame(TEXT, b"x", length=2**63), {1002, 1009}),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_broken_framing_is_closed_with_its_code(hub: RunningHub, violation: str) -> None:
    frames, codes = VIOLATIONS[violation]
    async with a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        await socket.upgrade(hub)
        socket.writer.write(ws_frame(TEXT, b'{"type":"subscribe","channel":"fuzz"}') + frames)
        assert await socket.close_code() in codes


async def test_more_than_a_mebibyte_is_cut_off(hub: RunningHub) -> None:
    async with a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        await socket.upgrade(hub)
        socket.writer.write(ws_frame(TEXT, b"x" * (4 * BIG)))
        # What is on its way is not read, and then the close frame may be lost with it.
        assert await socket.close_code() in {1009, 1006}


async def test_pieces_binary_and_control_frames_are_no_harm(hub: RunningHub) -> None:
    async with a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        await socket.upgrade(hub)
        socket.writer.write(
            ws_frame(TEXT, PING_FRAME[:5], fin=False)
            + ws_frame(PING, b"between")
            + ws_frame(CONTINUATION, b"", fin=False)
            + ws_frame(CONTINUATION, PING_FRAME[5:])
        )
        assert await socket.frame() == (PONG, b"between")
        assert await socket.frame() == (TEXT, b'{"type":"pong"}')
        socket.writer.write(ws_frame(PONG, b"unasked") + ws_frame(BINARY, PING_FRAME) + ws_frame(TEXT))
        for _ in range(2):
            assert json.loads((await socket.frame())[1])["code"] == "malformed_message"


@pytest.mark.parametrize("how", ["half-close", "abort", "close frame"])
async def test_however_it_ends_the_room_is_told(hub: RunningHub, how: str) -> None:
    async with client(hub) as watcher, socket_to(hub) as socket:
        await watcher.read()
        await watcher.subscribe("fuzz")
        peer_id = (await socket.upgrade(hub))["peerId"]
        socket.writer.write(ws_frame(TEXT, b'{"type":"subscribe","channel":"fuzz"}'))
        assert (await watcher.read())["joined"] == [{"peerId": peer_id}]
        # Half a message stays behind.
        socket.writer.write(ws_frame(TEXT, b'{"type', fin=False))
        if how == "half-close":
            socket.writer.write_eof()
        elif how == "abort":
            socket.writer.transport.abort()
        else:
            socket.writer.write(ws_frame(CLOSE, struct.pack("!H", 1000)))
        assert (await watcher.read())["left"] == [{"peerId": peer_id}]


async def test_one_who_answers_no_ping_is_gone(start_hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UVICORN_OPTIONS, "ws_ping_interval", 0.05)
    monkeypatch.setitem(UVICORN_OPTIONS, "ws_ping_timeout", 0.05)
    async with start_hub() as quick, client(quick) as watcher, socket_to(quick) as socket:
        await watcher.read()
        await watcher.subscribe("fuzz")
        peer_id = (await socket.upgrade(quick))["peerId"]
        socket.writer.write(ws_frame(TEXT, b'{"type":"subscribe","channel":"fuzz"}'))
        assert (await watcher.read())["joined"] == [{"peerId": peer_id}]
        assert (await watcher.read())["left"] == [{"peerId": peer_id}]
        assert await socket.close_code() == 1011


async def test_one_who_is_thrown_out_while_talking_is_out(hub: RunningHub) -> None:
    async with a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        peer_id = (await socket.upgrade(hub))["peerId"]
        join = ws_frame(TEXT, b'{"type":"subscribe","channel":"pair"}')
        for _ in range(20):
            socket.writer.write(ws_frame(TEXT, PING_FRAME) * 20)
            await asyncio.sleep(0)
        assert await hub.hub.disconnect_peer(peer_id) == 1
        socket.writer.write(join * 20)
        assert await socket.close_code() == 4020


@pytest.mark.parametrize(
    "among_them", [b"", b'{"type":"unsubscribe","channel":"x"}'], ids=["pings alone", "frames among them"]
)
async def test_pings_that_nobody_takes_the_answers_of_fill_no_memory(
    hub: RunningHub, among_them: bytes
) -> None:
    async with a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        await socket.upgrade(hub)
        # A frame without an answer of its own: what it wakes is the reading alone.
        await fill(socket, ws_frame(TEXT, among_them) if among_them else b"")
        socket.writer.transport.resume_reading()
        # And reads on once they are.
        socket.writer.write(ws_frame(TEXT, PING_FRAME))
        while (await socket.frame())[0] != TEXT:
            pass


async def fill(socket: Socket, among_them: bytes = b"") -> None:
    """Ping and take no answer until the hub reads no more, which is before 64 MiB."""
    socket.writer.transport.pause_reading()
    flood = ws_frame(PING, b"x" * 125) * 2000 + among_them
    sent_bytes = 0
    # The hub stops reading when its answers are not taken; the system's own buffers are all there is.
    while sent_bytes < 64 * BIG:
        socket.writer.write(flood)
        try:
            async with asyncio.timeout(0.5):
                await socket.writer.drain()
        except (TimeoutError, ConnectionError):
            # Reset: the hub has not only stopped reading, but also noticed that nobody answers its pings.
            return
        sent_bytes += len(flood)
    raise AssertionError("the hub takes whatever comes")


@pytest.mark.parametrize("why", ["thrown out", "answers no ping"])
async def test_one_who_takes_nothing_can_still_be_ended(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(uvicorn_seam, "LINGER_S", 0.1)
    monkeypatch.setattr(connection, "CLOSE_DEADLINE_S", 0.1)
    if why == "answers no ping":
        monkeypatch.setitem(UVICORN_OPTIONS, "ws_ping_interval", 1.0)
        monkeypatch.setitem(UVICORN_OPTIONS, "ws_ping_timeout", 0.1)
    async with start_hub() as hub, client(hub) as watcher, socket_to(hub) as socket:
        await watcher.read()
        await watcher.subscribe("fuzz")
        peer_id = (await socket.upgrade(hub))["peerId"]
        socket.writer.write(ws_frame(TEXT, b'{"type":"subscribe","channel":"fuzz"}'))
        assert (await watcher.read())["joined"] == [{"peerId": peer_id}]
        await fill(socket)
        if why == "thrown out":
            await hub.hub.disconnect_peer(peer_id)
        assert (await watcher.read())["left"] == [{"peerId": peer_id}]
        # And the socket with it, though what was written to it is still waiting.
        # Who reads nothing notices that when writing.
        while not socket.writer.transport.is_closing():
            socket.writer.write(ws_frame(PING, b""))
            await asyncio.sleep(0.05)


# ---- HTTP -----------------------------------------------------------------------------------------------


def without(request: bytes, header: str) -> bytes:
    return re.sub(rb"(?m)^" + header.encode() + rb":.*\r\n", b"", request)


async def test_garbage_in_place_of_an_upgrade_is_refused(hub: RunningHub) -> None:
    whole = upgrade_request(hub)
    dice = random.Random(1)
    requests = [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(200),
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        whole[:50],
        whole.replace(b"HTTP/1.1", b"HTTP/9.9"),
        whole.replace(b"GET", b"POST"),
        whole.replace(b"GET", b"G\x00T"),
        whole.replace(b"/v1?", b"/v1?\xff\xfe&"),
        whole.replace(b"/v1?", b"/v\xc3\xa9?"),
        whole.replace(b"/v1?", b"/v1/x?"),
        whole.replace(b"/v1?", b"/%ff%00?"),
        whole.replace(b"/v1?", b"http://elsewhere/v1/?"),
        whole.replace(b": 13", b": 12"),
        without(whole, "Sec-WebSocket-Key"),
        without(whole, "Sec-WebSocket-Version"),
        without(whole, "Host"),
        whole.replace(b"dGhl", b"!!!!"),
        upgrade_request(hub, "key=" + "%F0%9F" * 1000),
        upgrade_request(hub, "key=" + "x" * 9_000),
        upgrade_request(hub, "token=" + "x" * 100_000),
        upgrade_request(hub, X_Large="x" * 9_000),
        upgrade_request(hub, X_Huge="x" * 200_000),
        upgrade_request(hub, **{f"X_{number}": "x" for number in range(500)}),
        upgrade_request(hub, "key=x", Origin="\xff" * 100),
        upgrade_request(hub, "key=x", Content_Length="100000"),
        upgrade_request(hub, "key=x", Transfer_Encoding="chunked"),
        *(dice.randbytes(dice.randint(1, 2000)) for _ in range(60)),
        *(bytes(dice.choices(range(32, 127), k=dice.randint(1, 500))) + b"\r\n\r\n" for _ in range(60)),
    ]
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        requests.append(bytes(broken))
    async with a_pair_that_notices_nothing(hub):
        for request in requests:
            async with socket_to(hub) as socket:
                answer = await socket.ask(request)
            # A byte that changed nothing that matters lets it in.
            assert re.match(rb"$|HTTP/1\.1 (101|4\d\d) ", answer), (request[:200], answer[:200])


@pytest.mark.parametrize("too_long", ["header", "query"])
async def test_what_is_too_long_is_answered_and_not_left_hanging(hub: RunningHub, too_long: str) -> None:
    query, header = ("key=x", "x" * 9000) if too_long == "header" else ("key=" + "x" * 50_000, "x")
    async with socket_to(hub) as socket:
        socket.writer.write(upgrade_request(hub, query, X_Header=header))
        assert (await socket.reader.read()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /v1 HTTP/1.1\r\nHost: ",
        b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n{",
        b"GET /v1/usage HTTP/1.1\r\nHost: x\r\n\r\nGET /v1",
    ],
    ids=["nothing", "half a head", "a body that nobody asked for", "half a second head"],
)
async def test_who_does_not_come_out_with_a_request_holds_no_socket(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(uvicorn_seam, "HEAD_DEADLINE_S", 0.2)
    async with start_hub() as hub, a_pair_that_notices_nothing(hub), socket_to(hub) as socket:
        socket.writer.write(beginning)
        with suppress(ConnectionError):
            while not socket.reader.at_eof():
                # A little at a time, which is what keeps it alive otherwise.
                socket.writer.write(b"x")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await socket.reader.read(1000)
