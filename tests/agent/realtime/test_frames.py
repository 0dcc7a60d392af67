"""The wire, byte by byte: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.realtime.frames import (
    Ack,
    Direct,
    ErrorFrame,
    Frame,
    FrameError,
    GoingAway,
    Member,
    Message,
    Ping,
    Pong,
    Presence,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
    Welcome,
    encode,
    frame_bytes,
    parse_client_frame,
    parse_server_frame,
)
from agent.realtime.json_text import MAX_NESTING, is_shallow

CLIENT_FRAMES = [
    (Subscribe("room", "r1"), '{"type":"subscribe","channel":"room","requestId":"r1"}'),
    (
        Subscribe("room", "r1", include_sender_metadata=True),
        '{"type":"subscribe","channel":"room","requestId":"r1","includeSenderMetadata":true}',
    ),
    (Subscribe("room"), '{"type":"subscribe","channel":"room"}'),
    (Unsubscribe("room", "r1"), '{"type":"unsubscribe","channel":"room","requestId":"r1"}'),
    (
        Publish("room", {"a": [1, None]}, "r1"),
        '{"type":"publish","channel":"room","data":{"a":[1,null]},"requestId":"r1"}',
    ),
    (Publish("room", None, "r1"), '{"type":"publish","channel":"room","data":null,"requestId":"r1"}'),
    (Publish("zimmer/ü", "é"), '{"type":"publish","channel":"zimmer/ü","data":"é"}'),
    (Send("bob", False, "r1"), '{"type":"send","to":"bob","data":false,"requestId":"r1"}'),
    (Ping(), '{"type":"ping"}'),
]

SERVER_FRAMES = [
    (
        Welcome("p", None, 1715535600, 65536),
        '{"type":"welcome","peerId":"p","expiresAt":null,"serverTime":1715535600,"maxMessageSize":65536}',
    ),
    (
        Welcome("p", 1715539200, 1715535600, 65536, {"iceServers": []}),
        '{"type":"welcome","peerId":"p","expiresAt":1715539200,"serverTime":1715535600,'
        '"maxMessageSize":65536,"metadata":{"iceServers":[]}}',
    ),
    (Ack("r1"), '{"type":"ack","requestId":"r1"}'),
    (
        ErrorFrame("channel_reserved", "r1", "no"),
        '{"type":"error","requestId":"r1","code":"channel_reserved","message":"no"}',
    ),
    (ErrorFrame("brand_new_code"), '{"type":"error","code":"brand_new_code"}'),
    (Message("room", "bob", None), '{"type":"message","channel":"room","from":"bob","data":null}'),
    (
        Message("room", "bob", 1, {"n": "B"}),
        '{"type":"message","channel":"room","from":"bob","data":1,"fromMetadata":{"n":"B"}}',
    ),
    (Direct("bob", [], {}), '{"type":"direct","from":"bob","data":[],"fromMetadata":{}}'),
    (Presence("room"), '{"type":"presence","channel":"room","joined":[],"left":[]}'),
    (
        Presence("room", (Member("bob", {"n": "B"}),), (Member("eve"),)),
        '{"type":"presence","channel":"room","joined":[{"peerId":"bob","metadata":{"n":"B"}}],'
        '"left":[{"peerId":"eve"}]}',
    ),
    (GoingAway(1500), '{"type":"going_away","retryAfterMs":1500}'),
    (Pong(), '{"type":"pong"}'),
]


@pytest.mark.parametrize(("frame", "text"), CLIENT_FRAMES + SERVER_FRAMES)
def test_written_exactly(frame: Frame, text: str) -> None:
    assert encode(frame) == text


@pytest.mark.parametrize(("frame", "text"), CLIENT_FRAMES)
def test_client_frames_read_back(frame: Frame, text: str) -> None:
    assert parse_client_frame(text) == frame


@pytest.mark.parametrize(("frame", "text"), SERVER_FRAMES)
def test_server_frames_read_back(frame: Frame, text: str) -> None:
    assert parse_server_frame(text) == frame


@pytest.mark.parametrize(("frame", "text"), CLIENT_FRAMES + SERVER_FRAMES)
def test_unknown_fields_are_passed_over(frame: Frame, text: str) -> None:
    text = json.dumps(json.loads(text) | {"fieldOfTheFuture": {"x": 1}}, indent=1)
    parse = parse_client_frame if (frame, encode(frame)) in CLIENT_FRAMES else parse_server_frame
    assert parse(text) == frame


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("", "malformed_message", None),
        ("{", "malformed_message", None),
        ("null", "malformed_message", None),
        ('["type"]', "malformed_message", None),
        ("{}", "malformed_message", None),
        ('{"type":5}', "malformed_message", None),
        ('{"type":"publish","channel":"c","data":NaN}', "malformed_message", None),
        ('{"type":"publish","channel":"c","data":-Infinity}', "malformed_message", None),
        ('{"type":"publish","channel":"c","data":1e999}', "malformed_message", None),
        ('{"type":"publish","channel":"c","data":' + "9" * 5000 + "}", "malformed_message", None),
        ('{"type":"ping","requestId":5}', "malformed_message", None),
        ('{"type":"ping","requestId":""}', "malformed_message", None),
        ('{"type":"ping","requestId":"' + "r" * 129 + '"}', "malformed_message", None),
        ('{"type":"dance"}', "unknown_type", None),
        ('{"type":"dance","requestId":"r"}', "unknown_type", "r"),
        ('{"type":"welcome","requestId":"r"}', "unknown_type", "r"),
        ('{"type":"subscribe","requestId":"r"}', "invalid_channel", "r"),
        ('{"type":"subscribe","channel":5,"requestId":"r"}', "invalid_channel", "r"),
        ('{"type":"subscribe","channel":"","requestId":"r"}', "invalid_channel", "r"),
        ('{"type":"subscribe","channel":"a\\u0007b","requestId":"r"}', "invalid_channel", "r"),
        ('{"type":"subscribe","channel":"a\\ud800","requestId":"r"}', "invalid_channel", "r"),
        ('{"type":"unsubscribe","channel":"' + "c" * 257 + '"}', "invalid_channel", None),
        (
            '{"type":"subscribe","channel":"c","requestId":"r","includeSenderMetadata":1}',
            "malformed_message",
            "r",
        ),
        ('{"type":"publish","channel":"c","requestId":"r"}', "missing_data", "r"),
        ('{"type":"send","to":"p","requestId":"r"}', "missing_data", "r"),
        ('{"type":"send","data":1,"requestId":"r"}', "invalid_peer_id", "r"),
        ('{"type":"send","to":"","data":1,"requestId":"r"}', "invalid_peer_id", "r"),
        ('{"type":"send","to":"a\\nb","data":1,"requestId":"r"}', "invalid_peer_id", "r"),
        ('{"type":"send","to":"' + "p" * 129 + '","data":1}', "invalid_peer_id", None),
    ],
)
def test_client_frames_refused(text: str, code: str, request_id: str | None) -> None:
    with pytest.raises(FrameError) as refused:
        parse_client_frame(text)
    assert (refused.value.code, refused.value.request_id) == (code, request_id)


@pytest.mark.parametrize("flag", ["false", "true"])
def test_the_flag_may_be_sent_either_way(flag: str) -> None:
    frame = parse_client_frame('{"type":"subscribe","channel":"c","includeSenderMetadata":' + flag + "}")
    assert frame == Subscribe("c", None, flag == "true")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"welcome","peerId":"p","maxMessageSize":65536}',
        '{"type":"welcome","peerId":"p","serverTime":1,"maxMessageSize":0}',
        '{"type":"welcome","peerId":"p","serverTime":true,"maxMessageSize":1}',
        '{"type":"welcome","serverTime":1,"maxMessageSize":1}',
        '{"type":"welcome","peerId":"p","expiresAt":"soon","serverTime":1,"maxMessageSize":1}',
        '{"type":"ack"}',
        '{"type":"error"}',
        '{"type":"error","code":""}',
        '{"type":"message","channel":"c","from":"p"}',
        '{"type":"message","channel":"c","data":1}',
        '{"type":"direct","from":5,"data":1}',
        '{"type":"presence","channel":"c","joined":[]}',
        '{"type":"presence","channel":"c","joined":[{}],"left":[]}',
        '{"type":"presence","channel":"c","joined":["p"],"left":[]}',
        "[]",
        "x",
    ],
)
def test_server_frames_refused(text: str) -> None:
    with pytest.raises(FrameError):
        parse_server_frame(text)


def test_an_unknown_server_frame_is_none() -> None:
    assert parse_server_frame('{"type":"dance","x":1}') is None


def test_a_welcome_without_expiry_field_is_taken_as_never() -> None:
    frame = parse_server_frame('{"type":"welcome","peerId":"p","serverTime":1.5,"maxMessageSize":100}')
    assert frame == Welcome("p", None, 1.5, 100)


@pytest.mark.parametrize("metadata", ["5", '"x"', "[]", "null"])
def test_metadata_that_is_no_object_is_dropped(metadata: str) -> None:
    text = '{"type":"direct","from":"p","data":1,"fromMetadata":' + metadata + "}"
    assert parse_server_frame(text) == Direct("p", 1)


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("", 1000),
        (',"retryAfterMs":"soon"', 1000),
        (',"retryAfterMs":0', 1000),
        (',"retryAfterMs":-5', 1000),
        (',"retryAfterMs":true', 1000),
        (',"retryAfterMs":2500.7', 2500),
        (',"retryAfterMs":9e9', 300_000),
    ],
)
def test_going_away_is_read_with_its_bounds(value: str, expected_ms: int) -> None:
    assert parse_server_frame('{"type":"going_away"' + value + "}") == GoingAway(expected_ms)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_json_does_not_have_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(Publish("c", {"x": [number]}))


@pytest.mark.parametrize("depth", [MAX_NESTING, 900, 20_000])
def test_too_deep_is_malformed_not_a_crash(depth: int) -> None:
    text = '{"type":"publish","channel":"c","data":' + "[" * depth + "]" * depth + "}"
    with pytest.raises(FrameError, match=r"nested|not JSON"):
        parse_client_frame(text)


def test_many_brackets_side_by_side_are_fine() -> None:
    frame = parse_client_frame('{"type":"publish","channel":"c","data":[' + ",".join(["[]"] * 1000) + "]}")
    assert frame == Publish("c", [[]] * 1000)


def test_data_nested_for_ever_cannot_be_written() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match=r"nested|[Cc]ircular"):
        encode(Publish("c", loop))


def test_half_a_surrogate_pair_survives_and_stays_sendable() -> None:
    frame = parse_client_frame('{"type":"publish","channel":"c","data":"\\ud83d é"}')
    text = encode(frame)
    assert text == '{"type":"publish","channel":"c","data":"\\ud83d é"}'
    assert frame_bytes(text) == len(text) + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_makes_the_way_unchanged(data: object) -> None:
    text = encode(Direct("p", data))
    text.encode()
    assert parse_server_frame(text) == Direct("p", data)
    assert parse_client_frame(encode(Publish("c", data, "r"))) == Publish("c", data, "r")


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.text(), JSON).map(json.dumps))
def test_no_text_does_anything_but_parse_or_refuse(text: str) -> None:
    for parse in (parse_client_frame, parse_server_frame):
        with suppress(FrameError):
            parse(text)


def test_depth_is_counted_in_objects_and_arrays() -> None:
    value: object = "leaf"
    for _ in range(MAX_NESTING):
        value = {"x": [value]} if isinstance(value, str) else [value]
    assert not is_shallow(value)
    assert is_shallow([[{"x": []}]])
