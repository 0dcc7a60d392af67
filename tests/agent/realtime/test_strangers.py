"""Somebody in the room who sends what no client would: nobody else may notice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioice.mdns
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from agent.realtime.negotiation import sdp, signals
from agent.realtime.negotiation.signals import Candidate
from tests.agent.hub.hub_parts import Raw, client, metric, token
from tests.agent.realtime.opus_parts import FRAME
from tests.agent.realtime.peer_parts import Participant, participant
from tests.agent.realtime.sending_parts import Hasty
from tests.conftest import RunningHub

#: Sorts above alice, who therefore waits for its offer.
STRANGER = "~stranger"

REFUSED = "voice_agent_candidates_refused_total"


class Stranger:
    """Says to alice whatever it likes."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def say(self, data: Any) -> None:
        await self._raw.write(type="send", to="alice", data=data)

    async def answered(self) -> str:
        """Wait for the answer to an offer."""
        while True:
            description = ((await self._raw.read()).get("data") or {}).get("description") or {}
            if description.get("type") == "answer":
                answer: str = description["sdp"]
                return answer


@asynccontextmanager
async def alice_and_a_stranger(hub: RunningHub) -> AsyncIterator[tuple[Participant, Stranger]]:
    """At the end alice is still in the room and hears bob."""
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob", says_hz=1000),
        client(hub, token(hub, peer_id=STRANGER)) as raw,
    ):
        await alice.hears("bob", 1000)
        await raw.read()
        await raw.subscribe("room")
        yield alice, Stranger(raw)
        await alice.hears("bob", 1000)
        assert alice.peer.state == "joined"


async def an_offer(sections: int = 1) -> str:
    """One that more addresses are to follow."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for _ in range(sections):
        pc.addTransceiver("audio", "recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    offer: str = pc.localDescription.sdp
    await pc.close()
    return offer.replace("a=end-of-candidates\r\n", "")


async def test_a_name_that_cannot_be_looked_up(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = metric(REFUSED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        # As by a daemon of the machine: then aioice cannot ask the network for names that end in .local.
        taken.bind(("", 0))
        monkeypatch.setattr(aioice.mdns, "MDNS_PORT", taken.getsockname()[1])
        async with alice_and_a_stranger(hub) as (_, stranger):
            await stranger.say(signals.description("offer", await an_offer()))
            await stranger.answered()
            text = "candidate:1 1 udp 1 0a1b2c3d.local 5000 typ host"
            await stranger.say(signals.candidate(Candidate(text, "0", 0)))
            while metric(REFUSED) == refused:
                await asyncio.sleep(0.01)


async def test_names_are_looked_up_beside_everything_else(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are in an offer or come after it; and the end of addresses waits for them."""
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def resolve(*_: Any, **__: Any) -> None:
        asked.release()
        await answer.wait()

    monkeypatch.setattr(aioice.mdns.MDnsProtocol, "resolve", resolve)
    candidate = "candidate:1 1 udp 1 0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f.local 5000 typ host"
    lines = (await an_offer()).splitlines(keepends=True)
    offer = "".join(line for line in lines if "candidate" not in line)
    async with alice_and_a_stranger(hub) as (_, stranger):
        await stranger.say(signals.description("offer", f"{offer}a={candidate}\r\na=end-of-candidates\r\n"))
        await stranger.answered()
        await asked.acquire()
        for number in range(2):
            await stranger.say(
                signals.candidate(Candidate(candidate.replace("0a1b", f"0{number}1b"), "0", 0))
            )
            await asked.acquire()
        refused = metric(REFUSED)
        await stranger.say(signals.description("offer", offer))
        await stranger.answered()
        assert metric(REFUSED) == refused
        answer.set()
        while metric(REFUSED) == refused:
            await asyncio.sleep(0.01)


NO_ADDRESSES = (
    "candidate:1 1 udp 1 127.0.0.1 99999999999 typ host",
    "candidate:1 1 udp 99999999999999999999999 127.0.0.1 9 typ host",
    "candidate:1 1 udp 1 half\ud800.local 9 typ host",
    "candidate:" + "1 " * 490,
    "candidate:1 one udp 1 127.0.0.1 9 typ host",
    "nonsense",
)


async def test_addresses_that_are_none(hub: RunningHub) -> None:
    async with alice_and_a_stranger(hub) as (alice, stranger):
        await stranger.say(signals.description("offer", await an_offer()))
        await stranger.answered()
        for text in NO_ADDRESSES:
            await stranger.say(signals.candidate(Candidate(text, "0", 0)))
        await stranger.say("the end")
        await alice.until(lambda: any(getattr(event, "data", None) == "the end" for event in alice.seen))


@asynccontextmanager
async def a_stranger_that_connects(hub: RunningHub, *texts: str | None) -> AsyncIterator[None]:
    """Its offer names no address. After the answer it says `texts`, the last of which is no use to anybody.
    Then it tries the addresses of alice.
    """
    refused = metric(REFUSED)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("audio", "recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    lines = pc.localDescription.sdp.splitlines(keepends=True)
    try:
        async with alice_and_a_stranger(hub) as (alice, stranger):
            offer = "".join(line for line in lines if "candidate" not in line)
            await stranger.say(signals.description("offer", offer))
            answer = await stranger.answered()
            for text in texts:
                await stranger.say(signals.candidate(Candidate(text, "0", 0)))
            while metric(REFUSED) == refused:
                await asyncio.sleep(0.01)
            await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            await alice.connected_to(STRANGER)
            yield
    finally:
        await pc.close()


async def test_the_end_of_the_addresses_of_an_offer_that_was_taken_back(hub: RunningHub) -> None:
    """A browser whose own offer had to go may say after its answer that it has no more addresses for that."""
    async with a_stranger_that_connects(hub, None):
        pass


async def test_names_that_nobody_answers_for(hub: RunningHub) -> None:
    """A browser hides its addresses behind such names as long as it may not use a microphone."""
    name = "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f.local"
    async with a_stranger_that_connects(hub, f"candidate:1 1 udp 1 {name} 5000 typ host", None):
        pass


async def test_offers_without_end(hub: RunningHub) -> None:
    """They are answered no faster than stated, and the newest is."""
    dropped = metric("voice_agent_offers_dropped_total")
    offer, newest = await an_offer(), await an_offer(sections=2)
    async with alice_and_a_stranger(hub) as (_, stranger):
        for _ in range(60):
            await stranger.say(signals.description("offer", offer))
        await stranger.say(signals.description("offer", newest))
        answers = 1
        while sdp.section_count(await stranger.answered()) < 2:
            answers += 1
        assert answers + metric("voice_agent_offers_dropped_total") - dropped == 61
        assert answers <= 20


async def test_sound_under_numbers_without_end(hub: RunningHub) -> None:
    """It is heard as far as there is room, and the connection can be closed in time."""
    timeouts = metric("voice_agent_connection_close_timeouts_total")
    forgotten = metric("voice_agent_received_sources_forgotten_total")
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    sender = pc.addTrack(Hasty(np.zeros((1, FRAME), np.int16)))
    announced = sender._ssrc
    await pc.setLocalDescription(await pc.createOffer())
    try:
        async with alice_and_a_stranger(hub) as (alice, stranger):
            await stranger.say(signals.description("offer", pc.localDescription.sdp))
            await pc.setRemoteDescription(RTCSessionDescription(await stranger.answered(), "answer"))
            await alice.connected_to(STRANGER)
            while metric("voice_agent_received_sources_forgotten_total") < forgotten + 200:
                sender._ssrc += 1
                await asyncio.sleep(0.005)
            sender._ssrc = announced
            # A report comes all the same.
            while not any(stats.type == "remote-inbound-rtp" for stats in (await pc.getStats()).values()):
                await asyncio.sleep(0.01)
        assert metric("voice_agent_connection_close_timeouts_total") == timeouts
    finally:
        await pc.close()
