"""What a peer says of itself when it negotiates."""

from __future__ import annotations

from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs import CODECS

from agent.realtime.negotiation import sdp, signals
from tests.agent.hub.hub_parts import Raw, client, token
from tests.agent.realtime.peer_parts import participant
from tests.conftest import RunningHub


@pytest.fixture
def untouched_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiortc has them, whatever ran before in this process."""
    for codec in CODECS["audio"]:
        monkeypatch.setattr(codec, "parameters", {})


async def description(raw: Raw, kind: str) -> str:
    """The first one of this kind that is sent to us."""
    while True:
        data: Any = (await raw.read()).get("data") or {}
        if (said := data.get("description") or {}).get("type") == kind:
            text: str = said["sdp"]
            return text


def asks_for_fec(text: str) -> bool:
    return [fmtp.get("useinbandfec") for fmtp in sdp.opus_parameters_by_mid(text).values()] == ["1"]


@pytest.mark.usefixtures("untouched_codecs")
async def test_offers_ask_for_what_tells_of_lost_packets(hub: RunningHub):
    """To one whose id sorts below, the offer comes unasked."""
    async with client(hub, token(hub, peer_id="!early")) as raw, participant(hub, "alice"):
        await raw.read()
        await raw.subscribe("room")
        assert asks_for_fec(await description(raw, "offer"))


@pytest.mark.usefixtures("untouched_codecs")
async def test_answers_ask_for_what_tells_of_lost_packets(hub: RunningHub):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        pc.addTransceiver("audio", "recvonly")
        await pc.setLocalDescription(await pc.createOffer())
        assert not asks_for_fec(pc.localDescription.sdp)
        async with client(hub, token(hub, peer_id="~late")) as raw, participant(hub, "alice"):
            await raw.read()
            await raw.subscribe("room")
            offer = signals.description("offer", pc.localDescription.sdp)
            await raw.write(type="send", to="alice", data=offer)
            assert asks_for_fec(await description(raw, "answer"))
    finally:
        await pc.close()
