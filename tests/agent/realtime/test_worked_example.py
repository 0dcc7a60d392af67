"""One call from beginning to end, frame by frame, as the protocol's own example tells it."""

from __future__ import annotations

from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from agent.realtime import PeerLeft
from tests.agent.hub.hub_parts import Raw, client, metric, token
from tests.agent.realtime.peer_parts import participant
from tests.conftest import RunningHub

META = {"__meteredTrackMeta": {"trackId": "t", "metadata": {"role": "voice"}}}
OFFER = {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0\r\n"}}
ANSWER = {"type": "rtc-description", "description": {"type": "answer", "sdp": "v=0\r\n"}}
END = {"type": "rtc-ice", "candidate": None}


def presence(*, joined: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "presence",
        "channel": "room",
        "joined": [{"peerId": peer_id} for peer_id in joined],
        "left": [{"peerId": peer_id} for peer_id in left],
    }


async def test_the_server_side_of_it(hub: RunningHub) -> None:
    async with client(hub) as a:
        async with client(hub) as b:
            b_id = await welcomed(b)
            assert await asked(b, type="subscribe", channel="room", includeSenderMetadata=True) == [
                {"type": "ack", "requestId": "r"},
                presence(),
            ]
            a_id = await welcomed(a)
            assert await asked(a, type="subscribe", channel="room", includeSenderMetadata=True) == [
                {"type": "ack", "requestId": "r"},
                presence(joined=(b_id,)),
            ]
            assert await b.read() == presence(joined=(a_id,))
            for speaker, listener, speaker_id, listener_id, said in (
                (b, a, b_id, a_id, (META, OFFER, END)),
                (a, b, a_id, b_id, (ANSWER, END)),
            ):
                for data in said:
                    await speaker.write(type="send", to=listener_id, data=data, requestId="r")
                    assert await speaker.read() == {"type": "ack", "requestId": "r"}
                    assert await listener.read() == {"type": "direct", "from": speaker_id, "data": data}
            await b.websocket.close(1000)
        assert await a.read() == presence(left=(b_id,))


async def welcomed(raw: Raw) -> str:
    """The id in a welcome that is complete."""
    welcome = await raw.read()
    peer_id: str = welcome.pop("peerId")
    server_time = welcome.pop("serverTime")
    assert isinstance(server_time, int)
    assert welcome == {"type": "welcome", "expiresAt": None, "maxMessageSize": 65536}
    return peer_id


async def asked(raw: Raw, **frame: Any) -> list[dict[str, Any]]:
    await raw.write(**frame, requestId="r")
    return [await raw.read() for _ in range(2)]


async def test_our_side_of_it_and_a_second_end_of_candidates(hub: RunningHub) -> None:
    """We are peer-b, which is impolite and has a track; peer-a speaks with aiortc alone.

    That there are no more candidates may be said again, as browsers do for every section: it means nothing.
    """
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    refused = metric("voice_agent_candidates_refused_total")
    try:
        async with (
            client(hub, token(hub, peer_id="peer-a")) as a,
            participant(hub, "peer-b", says_hz=440) as b,
        ):
            assert (await a.read())["type"] == "welcome"
            assert await asked(a, type="subscribe", channel="room") == [
                {"type": "ack", "requestId": "r"},
                presence(joined=("peer-b",)),
            ]
            meta, offer, end = [await direct(a) for _ in range(3)]
            assert meta["__meteredTrackMeta"]["metadata"] == {"role": "test"}
            assert (offer["type"], offer["description"]["type"]) == ("rtc-description", "offer")
            assert end == END
            await pc.setRemoteDescription(RTCSessionDescription(offer["description"]["sdp"], "offer"))
            await pc.setLocalDescription(await pc.createAnswer())
            description = {"type": "answer", "sdp": pc.localDescription.sdp}
            for data in ({"type": "rtc-description", "description": description}, END, END):
                await a.write(type="send", to="peer-b", data=data)
            await b.connected_to("peer-a")
            await a.write(type="send", to="peer-b", data=END)
            await a.write(type="send", to="peer-b", data="the end")
            await b.until(lambda: any(getattr(event, "data", None) == "the end" for event in b.seen))
            assert b.peer.remote_peers["peer-a"].state == "connected"
            assert metric("voice_agent_candidates_refused_total") == refused
            await pc.close()
            await a.websocket.close(1000)
            await b.event(PeerLeft, remote="peer-a")
    finally:
        await pc.close()


async def direct(raw: Raw) -> dict[str, Any]:
    """What peer-b says next."""
    frame = await raw.read()
    assert (frame["type"], frame["from"]) == ("direct", "peer-b")
    data: dict[str, Any] = frame["data"]
    return data
