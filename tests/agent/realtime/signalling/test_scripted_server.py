"""The protocol from the client's side, with a server that keeps to it and one that does not.

The tables read as the protocol does: what arrives on the left, what the client makes of it on the right.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.realtime.errors import (
    AckTimeoutError,
    FrameTooLargeError,
    ServerRequestError,
)
from agent.realtime.frames import Direct, ErrorFrame, GoingAway, Member, Message, Presence
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.events import Event
from agent.realtime.signalling.link import Timeouts
from tests.agent.realtime.scripted_server import (
    DEEP,
    MARK,
    WELCOME,
    Wire,
    close_frame,
    events_until_mark,
    saying,
    scripted_server,
    welcome,
)
from tests.agent.realtime.signalling_parts import Prompt

# ---- what the client sends ------------------------------------------------------------------------------

CLIENT_FRAMES: list[tuple[Callable[[SignallingClient], Awaitable[None]], str]] = [
    (lambda c: c.subscribe("room"), '{"type":"subscribe","channel":"room","requestId":"ID"}'),
    (
        lambda c: c.subscribe("room", include_sender_metadata=True),
        '{"type":"subscribe","channel":"room","requestId":"ID","includeSenderMetadata":true}',
    ),
    (lambda c: c.unsubscribe("room"), '{"type":"unsubscribe","channel":"room","requestId":"ID"}'),
    (
        lambda c: c.publish("room", {"a": [1, 2.5, True, None]}),
        '{"type":"publish","channel":"room","data":{"a":[1,2.5,true,null]},"requestId":"ID"}',
    ),
    (lambda c: c.publish("r", None), '{"type":"publish","channel":"r","data":null,"requestId":"ID"}'),
    (
        lambda c: c.publish("r", "é\u2028😀"),
        '{"type":"publish","channel":"r","data":"é\u2028😀","requestId":"ID"}',
    ),
    (
        lambda c: c.publish("r", "\ud83d"),
        '{"type":"publish","channel":"r","data":"\\ud83d","requestId":"ID"}',
    ),
    (lambda c: c.send("bob", ""), '{"type":"send","to":"bob","data":"","requestId":"ID"}'),
]
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def test_every_frame_of_the_client_is_what_the_protocol_says() -> None:
    heard: list[str] = []

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        for _ in CLIENT_FRAMES:
            heard.append(await wire.hear_text())
            wire.say(json.dumps({"type": "ack", "requestId": json.loads(heard[-1])["requestId"]}))
        await wire.until_gone()

    async with scripted_server(script) as url, SignallingClient(url, key="k") as client:
        for request, _ in CLIENT_FRAMES:
            await request(client)
    ids = [UUID4.search(text) for text in heard]
    assert all(ids)
    assert len({found[0] for found in ids if found}) == len(CLIENT_FRAMES)
    assert [UUID4.sub("ID", text) for text in heard] == [expected for _, expected in CLIENT_FRAMES]


async def test_a_quiet_line_is_pinged_and_a_closed_one_is_closed_by_the_protocol() -> None:
    heard: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        ping = await wire.hear_text()
        wire.say('{"type":"pong"}')
        heard.set_result((ping, await wire.hear_close()))
        wire.raw(close_frame(1000))

    async with scripted_server(script) as url:
        async with SignallingClient(url, key="k") as client:
            client.check_alive()
            await asyncio.sleep(0.01)
        assert await heard == ('{"type":"ping"}', 1000)


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        ({"key": "pk_live_abc+/="}, "/v1?key=pk_live_abc%2B%2F%3D"),
        ({"key": "AZaz09-_.~"}, "/v1?key=AZaz09-_.~"),
        ({"token": "e30.e30.sig-_"}, "/v1?token=e30.e30.sig-_"),
    ],
)
async def test_the_request_is_what_the_protocol_says(credential: dict[str, str], expected: str) -> None:
    requests: list[str] = []

    async def script(wire: Wire) -> None:
        await wire.accept()
        requests.append(wire.request_text)
        wire.say(WELCOME)
        await wire.until_gone()

    async def provider() -> str:
        return credential["token"]

    how: dict[str, Any] = {"token_provider": provider} if "token" in credential else credential
    async with scripted_server(script) as url, SignallingClient(url, **how):
        pass
    assert requests[0].startswith(f"GET {expected} HTTP/1.1\r\n")
    for header in ("Origin:", "Sec-WebSocket-Protocol:", "User-Agent:", "Cookie:", "Authorization:"):
        assert header not in requests[0]


# ---- what arrives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            '{"type":"message","channel":"room","from":"bob","data":{},"fromMetadata":{"username":"Bob"}}',
            Message("room", "bob", {}, {"username": "Bob"}),
        ),
        ('{"type":"message","channel":"room","from":"bob","data":null}', Message("room", "bob", None)),
        ('{"type":"direct","from":"bob","data":{},"fromMetadata":{}}', Direct("bob", {}, {})),
        ('{"type":"direct","from":"bob","data":"\\u00e9"}', Direct("bob", "é")),
        ('{"type":"direct","from":"bob","data":"é"}', Direct("bob", "é")),
        ('{"type":"direct","from":"bob","data":1,"fromMetadata":"no object"}', Direct("bob", 1)),
        ('{"type":"direct","from":"bob","data":1,"future":[]}', Direct("bob", 1)),
        (f'{{"type":"direct","from":"bob","data":{"9" * 400}}}', Direct("bob", int("9" * 400))),
        (
            '{"type":"presence","channel":"room","joined":[{"peerId":"bob","metadata":{"username":"Bob"}}],'
            '"left":[]}',
            Presence("room", joined=(Member("bob", {"username": "Bob"}),)),
        ),
        ('{"type":"presence","channel":"room","joined":[],"left":[]}', Presence("room")),
        (
            '{"type":"presence","channel":"room","joined":[],"left":[{"peerId":"bob","why":"gone"}]}',
            Presence("room", left=(Member("bob"),)),
        ),
        ('{"type":"going_away","retryAfterMs":2500}', GoingAway(2500)),
        ('{"type":"going_away"}', GoingAway(1000)),
        ('{"type":"going_away","retryAfterMs":-1}', GoingAway(1000)),
        ('{"type":"going_away","retryAfterMs":"5"}', GoingAway(1000)),
        ('{"type":"going_away","retryAfterMs":9999999999}', GoingAway(300_000)),
        ('{"type":"error","code":"account_suspended"}', ErrorFrame("account_suspended")),
        ('{"type":"error","code":"of_the_future","message":5}', ErrorFrame("of_the_future")),
    ],
)
async def test_frames_and_what_is_told_of_them(text: str, event: Event) -> None:
    async with scripted_server(saying(text, MARK)) as url:
        assert await events_until_mark(url) == [event]


HARMLESS = [
    "",
    " ",
    "nonsense",
    "[]",
    "null",
    '"text"',
    "{}",
    '{"type":5}',
    '{"type":"frame_of_the_future","data":[1]}',
    '{"type":"pong","more":1}',
    # Client frames, sent the wrong way.
    '{"type":"subscribe","channel":"room"}',
    '{"type":"ping"}',
    # A second welcome changes nothing.
    WELCOME.replace('"me"', '"somebody else"'),
    # What a server says that does not know our ping.
    '{"type":"error","code":"unknown_type"}',
    # Answers to nothing we asked.
    '{"type":"ack","requestId":"not ours"}',
    '{"type":"ack"}',
    '{"type":"ack","requestId":5}',
    '{"type":"ack","requestId":["x"]}',
    '{"type":"error","code":"late","requestId":"not ours"}',
    '{"type":"error","requestId":"not ours"}',
    '{"type":"error"}',
    '{"type":"error","code":5}',
    '{"type":"error","code":""}',
    # Fields that are missing or of the wrong kind.
    '{"type":"message","from":"bob","data":1}',
    '{"type":"message","channel":"room","data":1}',
    '{"type":"message","channel":"room","from":"bob"}',
    '{"type":"message","channel":["room"],"from":"bob","data":1}',
    '{"type":"direct","data":1}',
    '{"type":"direct","from":"bob"}',
    '{"type":"direct","from":null,"data":1}',
    '{"type":"presence","channel":"room","joined":[]}',
    '{"type":"presence","channel":"room","left":[]}',
    '{"type":"presence","joined":[],"left":[]}',
    '{"type":"presence","channel":"room","joined":{},"left":[]}',
    '{"type":"presence","channel":"room","joined":["bob"],"left":[]}',
    '{"type":"presence","channel":"room","joined":[{"id":"bob"}],"left":[]}',
    '{"type":"presence","channel":"room","joined":[{"peerId":"a"},{"peerId":5}],"left":[]}',
    # Not JSON, though many readers take it.
    '{"type":"direct","from":"bob","data":NaN}',
    '{"type":"direct","from":"bob","data":-Infinity}',
    '{"type":"direct","from":"bob","data":1e999}',
    '{"type":"direct","from":"bob","data":' + "9" * 5000 + "}",
    '{"type":"direct","from":"bob","data":' + DEEP + "}",
    '{"type":"direct","from":"bob","data":' + '{"a":' * 100 + "1" + "}" * 100 + "}",
    DEEP,
    "[" * 200_000,
]


async def test_what_means_nothing_does_no_harm() -> None:
    async with scripted_server(saying(*HARMLESS, MARK)) as url:
        assert await events_until_mark(url) == []


async def test_thousands_of_frames_at_once_do_not_overrun_a_reader_who_keeps_up() -> None:
    presence = '{"type":"presence","channel":"room","joined":[{"peerId":"p%d"}],"left":[]}'
    async with scripted_server(saying(*(presence % n for n in range(5000)), MARK)) as url:
        seen = await events_until_mark(url)
    assert seen == [Presence("room", joined=(Member(f"p{n}"),)) for n in range(5000)]


# ---- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (['{"type":"ack","requestId":"ID"}'], None),
        (['{"type":"ack","requestId":"ID","ok":true}'], None),
        (['{"type":"ack","requestId":"other"}', '{"type":"ack","requestId":"ID"}'], None),
        # The first answer counts.
        (['{"type":"ack","requestId":"ID"}', '{"type":"error","code":"x","requestId":"ID"}'], None),
        (['{"type":"error","code":"x","requestId":"ID"}', '{"type":"ack","requestId":"ID"}'], "x"),
        (['{"type":"error","requestId":"ID"}', '{"type":"ack","requestId":"ID"}'], None),
        (['{"type":"error","code":"unknown_type","requestId":"ID"}'], "unknown_type"),
        (['{"type":"error","code":"of_the_future","requestId":"ID","message":"why"}'], "of_the_future"),
        # None that counts.
        (['{"type":"ack"}', '{"type":"error","code":"x"}', '{"type":"pong"}'], "timeout"),
        ([], "timeout"),
    ],
)
async def test_answers(answers: list[str], outcome: str | None) -> None:
    async def script(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        request_id = json.loads(await wire.hear_text())["requestId"]
        wire.say(*(answer.replace("ID", request_id) for answer in answers))
        await wire.until_gone()

    timeouts = Timeouts(ack_s=0.05 if outcome == "timeout" else 15)
    async with scripted_server(script) as url, SignallingClient(url, key="k", timeouts=timeouts) as client:
        match outcome:
            case None:
                await client.publish("room", 1)
            case "timeout":
                with pytest.raises(AckTimeoutError):
                    await client.publish("room", 1)
            case code:
                with pytest.raises(ServerRequestError) as refused:
                    await client.publish("room", 1)
                assert refused.value.code == code


@pytest.mark.parametrize("max_bytes", [1, 60, 100])
async def test_a_server_that_takes_next_to_nothing(max_bytes: int) -> None:
    """Also after a reconnect, when channels are asked back that no longer fit."""

    async def generous(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        request = json.loads(await wire.hear_text())
        wire.say(json.dumps({"type": "ack", "requestId": request["requestId"]}))
        wire.raw(close_frame(1001))

    async def mean(wire: Wire) -> None:
        await wire.accept()
        wire.say(welcome(maxMessageSize=max_bytes), MARK)
        await wire.until_gone()

    async with scripted_server(generous, mean) as url:
        timeouts = Timeouts(replay_pause_s=0)
        client = SignallingClient(url, key="k", reconnect=Prompt(), timeouts=timeouts)
        async with client:
            await client.subscribe("room" * 20)
            told = [await anext(client.events()) for _ in range(5)]
            assert {type(event).__name__ for event in told} == {
                "Connected",
                "Disconnected",
                "Direct",
                "SubscriptionLost",
            }
            with pytest.raises(FrameTooLargeError):
                await client.publish("room" * 20, 1)
