"""Reading and changing session descriptions."""

from __future__ import annotations

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.sdp import SessionDescription

from agent.realtime.negotiation import sdp, signals
from agent.realtime.negotiation.sdp import Msid
from agent.realtime.negotiation.signals import Candidate, Description, TrackMeta, Unusable

BROWSER_OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1 2",
        "a=msid-semantic: WMS mic",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=ice-ufrag:aBcD",
        "a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=msid:mic 11111111-track",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        "a=ice-ufrag:aBcD",
        "a=ssrc:55 msid:cam 22222222-track",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=mid:2",
        "",
    ]
)


def test_the_ufrag_is_the_first_one():
    assert sdp.ice_ufrag(BROWSER_OFFER) == "aBcD"
    assert sdp.ice_ufrag("v=0\r\n") is None


def test_sections_in_order():
    assert sdp.kinds(BROWSER_OFFER) == ["audio", "video", "application"]
    assert sdp.mids(BROWSER_OFFER) == {"0", "1", "2"}


def offer(text: str) -> object:
    return signals.parse({"type": "rtc-description", "description": {"type": "offer", "sdp": text}})


def test_more_sections_than_anybody_needs_are_refused():
    section = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    assert isinstance(offer("v=0\r\n" + section * sdp.MAX_SECTIONS), Description)
    refused = offer("v=0\r\n" + section * (sdp.MAX_SECTIONS + 1))
    assert refused == Unusable("an sdp has at most 8 media sections")


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_sections_cannot_hide_behind_other_ends_of_lines(end: str):
    text = f"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111{end}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    assert len(SessionDescription.parse(text).media) == 2, "aiortc sees both"
    assert offer(text) == Unusable("the lines of an sdp end in CR LF")
    assert isinstance(offer(text.replace(end, "\n")), Description)


def test_more_candidates_than_anybody_has_are_refused():
    line = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
    assert isinstance(offer("v=0\r\n" + line * sdp.MAX_CANDIDATES), Description)
    assert offer("v=0\r\n" + line * (sdp.MAX_CANDIDATES + 1)) == Unusable("an sdp has at most 200 candidates")


def test_streams_by_section_in_both_forms():
    assert sdp.msids_by_mid(BROWSER_OFFER) == {
        "0": Msid("mic", "11111111-track"),
        "1": Msid("cam", "22222222-track"),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=msid:- track", Msid(None, "track")),
        ("a=msid:stream", Msid("stream", None)),
        (f"a=msid:{'x' * 257} track", Msid(None, "track")),
        (f"a=msid:stream {'x' * 257}", Msid("stream", None)),
    ],
)
def test_a_name_that_is_none_or_too_long(line, expected):
    text = f"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{line}\r\n"
    assert sdp.msids_by_mid(text) == {"0": expected}


def test_bare_line_feeds_are_read_too():
    assert sdp.msids_by_mid(BROWSER_OFFER.replace("\r\n", "\n"))["0"] == Msid("mic", "11111111-track")


MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
OURS = f"v=0\r\nm=audio 9 X 96\r\na=extmap:1 {MID}\r\na=extmap:2 {LEVEL}\r\na=extmap:3/recvonly urn:new x\r\n"


def test_extensions_keep_the_ids_they_have():
    pinned = sdp.pin_extension_ids(OURS, sdp.extension_ids(BROWSER_OFFER))
    assert sdp.extension_ids(pinned) == {MID: 4, LEVEL: 14, "urn:new": 1}
    assert "a=extmap:1/recvonly urn:new x\r\n" in pinned


def test_a_new_extension_gets_the_same_id_in_every_section():
    pinned = sdp.pin_extension_ids(OURS + OURS.removeprefix("v=0\r\n"), {MID: 4})
    lines = [line for line in pinned.splitlines() if line.startswith("a=extmap")]
    assert lines[:3] == lines[3:]


def test_an_extension_without_a_free_id_is_left_out():
    full = {f"urn:{n}": n for n in range(1, 15)}
    pinned = sdp.pin_extension_ids(OURS, full)
    assert "extmap" not in pinned
    assert pinned.startswith("v=0\r\nm=audio")


def test_nothing_negotiated_nothing_changed():
    assert sdp.pin_extension_ids(OURS, {}) == OURS


async def test_a_real_offer_is_read():
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        pc.addTransceiver("audio")
        pc.createDataChannel("x")
        offer = (await pc.createOffer()).sdp
        assert sdp.kinds(offer) == ["audio", "application"]
        assert sdp.mids(offer) == {"0", "1"}
        assert sdp.ice_ufrag(offer)
        assert sdp.msids_by_mid(offer)["0"].stream_id
        assert set(sdp.extension_ids(offer)) == {MID, LEVEL}
    finally:
        await pc.close()


# ---- signals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0"}},
            Description("offer", "v=0"),
        ),
        ({"type": "rtc-ice", "candidate": None}, Candidate(None)),
        ({"type": "rtc-ice"}, Candidate(None)),
        ({"type": "rtc-ice", "candidate": {"candidate": ""}}, Candidate(None)),
        (
            {
                "type": "rtc-ice",
                "candidate": {
                    "candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host",
                    "sdpMid": "0",
                    "sdpMLineIndex": 0,
                    "usernameFragment": "abcd",
                },
            },
            Candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host", "0", 0, "abcd"),
        ),
        (
            {"__meteredTrackMeta": {"trackId": "t", "metadata": {"role": "agent"}}},
            TrackMeta("t", {"role": "agent"}),
        ),
        (
            {"__meteredTrackMeta": {"trackId": "t", "metadata": {}, "kind": "audio", "streamId": "s"}},
            TrackMeta("t", {}, "audio", "s"),
        ),
        ({"__meteredTrackMeta": {"trackId": "t"}}, TrackMeta("t", None)),
    ],
)
def test_signals_are_recognised(data, expected):
    assert signals.parse(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "rtc-ice",
        [],
        {},
        {"type": "chat"},
        {"type": "rtc-description"},
        {"type": "rtc-ice", "candidate": 1},
    ],
)
def test_everything_else_is_application_data(data):
    assert signals.parse(data) is None


@pytest.mark.parametrize(
    "data",
    [
        {"type": "rtc-description", "description": {"type": "rollback", "sdp": ""}},
        {"type": "rtc-description", "description": {"type": "pranswer", "sdp": "v=0"}},
        {"type": "rtc-description", "description": {"type": "offer"}},
        {"type": "rtc-description", "description": {"type": "offer", "sdp": "x" * 60_001}},
        {"type": "rtc-ice", "candidate": {"candidate": "x" * 1001, "sdpMid": "0"}},
        {"type": "rtc-ice", "candidate": {"candidate": "candidate:1"}},
        {"type": "rtc-ice", "candidate": {"candidate": 5, "sdpMid": "0"}},
        {"__meteredTrackMeta": {"metadata": {}}},
        {"__meteredTrackMeta": {"trackId": ""}},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": []}},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": {}, "kind": ""}},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": {}, "streamId": "x" * 257}},
    ],
)
def test_signals_that_cannot_be_used_are_not_application_data(data):
    assert isinstance(signals.parse(data), Unusable)


def test_what_is_sent_is_what_the_vendor_sends():
    meta = TrackMeta("t", {"role": "agent"}, "audio", "agent-voice")
    assert list(signals.track_meta(meta)["__meteredTrackMeta"]) == ["trackId", "metadata", "kind", "streamId"]
    assert signals.track_meta(TrackMeta("t", None)) == {"__meteredTrackMeta": {"trackId": "t"}}
    assert signals.candidate(Candidate(None)) == {"type": "rtc-ice", "candidate": None}
    found = Candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host", "0", 0, "ufrag")
    assert list(signals.candidate(found)["candidate"]) == [
        "candidate",
        "sdpMid",
        "sdpMLineIndex",
        "usernameFragment",
    ]
    assert signals.parse(signals.candidate(found)) == found
    assert signals.parse(signals.description("answer", "v=0")) == Description("answer", "v=0")


AUDIO = "v=0\r\nm=audio 96 X 96 9 0\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 x=96\r\na=rtpmap:9 G722/8000\r\n"
VIDEO = "m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\n"


def test_opus_keeps_its_payload_type_and_nothing_else_changes():
    pinned = sdp.pin_opus_type(AUDIO + VIDEO, 111)
    assert pinned == (
        "v=0\r\nm=audio 96 X 111 9 0\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 x=96\r\n"
        "a=rtpmap:9 G722/8000\r\n" + VIDEO
    )


@pytest.mark.parametrize(
    "line", ["a=rtpmap:95 opus/48000/2", "a=rtpmap:128 opus/48000", "a=rtpmap:111 PCMA/8000"]
)
def test_what_stands_for_no_opus(line):
    text = f"v=0\r\nm=audio 9 X 111\r\na=rtpmap:{line}\r\n"
    assert sdp.opus_type(text) is None
    assert sdp.pin_opus_type(text, None) == sdp.pin_opus_type(text, 111) == text


NAME = "candidate:1 1 udp 1 0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f.local 5000 typ host"
ADDRESS = "candidate:2 1 udp 1 192.0.2.1 5000 typ host generation 0 network-id a.local"


def test_addresses_that_are_names_are_taken_out():
    head, end = "v=0\r\ns=x.local\r\n", "a=end-of-candidates\r\n"
    first, second = "m=audio 9 x 96\r\na=mid:a\r\n", "m=video 9 x 97\r\na=mid:b\r\n"
    offer = f"{head}{first}a={ADDRESS}\r\na={NAME}\r\n{end}{second}a={NAME}\r\n{end}"
    assert sdp.without_names(offer) == (
        f"{head}{first}a={ADDRESS}\r\n{second}",
        [(0, NAME), (1, NAME)],
    )
    assert signals.split_names(offer) == (
        f"{head}{first}a={ADDRESS}\r\n{second}",
        [Candidate(NAME, None, 0), Candidate(NAME, None, 1), Candidate(None)],
    )


def test_without_names_nothing_is_changed():
    offer = f"v=0\r\nm=audio 9 x 96\r\na={ADDRESS}\r\na=end-of-candidates\r\n"
    assert signals.split_names(offer) == (offer, [])


def test_candidates_that_are_names():
    assert sdp.is_name(NAME)
    assert not sdp.is_name(ADDRESS)
    assert not sdp.is_name("candidate:1 .local")
