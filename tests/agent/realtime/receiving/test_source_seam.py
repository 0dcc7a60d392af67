"""Whom a receiver hears; fails when a new aiortc no longer has the private parts that are reached into."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pylibsrtp
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.rtp import RtcpRrPacket

from agent.realtime.connections import aiortc_seam
from agent.realtime.receiving.received_audio import ReceivedAudio
from agent.realtime.receiving.source_seam import FAILED_REPORTS, FORGOTTEN, MAX_CONTEXTS, MAX_SOURCES
from tests.agent.realtime.connections.test_aiortc_seam import negotiate, new_connection
from tests.agent.realtime.opus_parts import FRAME, voice
from tests.agent.realtime.sending_parts import Hasty

#: More than any report of aiortc's can hold.
MANY = 200


class Talk:
    """Somebody on aiortc who says something in each of some sections of sound, and we who listen."""

    def __init__(self) -> None:
        self.other, self.pc = new_connection(), new_connection()
        self.tracks: list[ReceivedAudio] = []
        #: Of those that tell of the first section.
        self.reports: asyncio.Queue[RtcpRrPacket] = asyncio.Queue()
        self.pc.on("track", self._announced)

    async def connect(self, sections: int) -> None:
        for _ in range(sections):
            self.other.addTrack(Hasty(voice(0.2).reshape(-1, FRAME)))
        await negotiate(self.other, self.pc)
        self._listen_to_reports()
        for section in range(sections):
            await self.heard(section, 5)

    async def heard(self, section: int, packets: int) -> None:
        """So many more have come."""
        while section >= len(self.tracks):
            await asyncio.sleep(0.01)
        counts = self.tracks[section].counts
        until = counts.received + packets
        while counts.received < until:
            await asyncio.sleep(0.01)

    async def reported(self) -> RtcpRrPacket:
        while not self.reports.empty():
            self.reports.get_nowait()
        return await self.reports.get()

    async def send_as(self, sources: range) -> None:
        """A packet under each of these numbers, which do not say what section they are of."""
        transport = self.other.getSenders()[0].transport
        for source in sources:
            header = struct.pack("!BBHLL", 0x80, 96, 1, 960, source)
            await transport._send_rtp(header + b"\xf8\xff\xfe")
            # Lest they be too many for the socket.
            await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.gather(self.other.close(), self.pc.close())

    def _announced(self, track: MediaStreamTrack) -> None:
        received = aiortc_seam.prepare_received_track(self.pc, track)
        assert isinstance(received, ReceivedAudio)
        self.tracks.append(received)

    def _listen_to_reports(self) -> None:
        sender: Any = self.other.getSenders()[0]
        handle = sender._handle_rtcp_packet

        async def handle_packet(packet: Any) -> None:
            if isinstance(packet, RtcpRrPacket):
                self.reports.put_nowait(packet)
            await handle(packet)

        sender._handle_rtcp_packet = handle_packet


@asynccontextmanager
async def talk(sections: int = 1) -> AsyncIterator[Talk]:
    talking = Talk()
    try:
        await talking.connect(sections)
        yield talking
    finally:
        await talking.close()


@pytest.fixture
def frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as chance may have it."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def table_of(pc: RTCPeerConnection) -> dict[int, Any]:
    table: dict[int, Any] = pc.getReceivers()[0].transport._rtp_router.ssrc_table
    return table


def streams(pc: RTCPeerConnection) -> dict[int, Any]:
    (receiver,) = pc.getReceivers()
    known: dict[int, Any] = receiver._RTCRtpReceiver__remote_streams
    return known


@pytest.mark.usefixtures("frequent_reports")
async def test_one_that_sends_under_many_numbers_gets_its_reports_and_can_be_left():
    tasks, before = asyncio.all_tasks(), descriptors()
    async with talk() as talking:
        forgotten = FORGOTTEN._value.get()
        await talking.send_as(range(1000, 1000 + MANY))
        while FORGOTTEN._value.get() < forgotten + MANY - MAX_SOURCES:
            await asyncio.sleep(0.01)
        await talking.heard(0, 5)
        report = await talking.reported()
        assert len(report.reports) == len(streams(talking.pc)) == MAX_SOURCES
        assert talking.other.getSenders()[0]._ssrc in {info.ssrc for info in report.reports}
        assert len(talking.pc.getReceivers()[0].getSynchronizationSources()) == MAX_SOURCES
        assert len(table_of(talking.pc)) == MAX_SOURCES
    while asyncio.all_tasks() != tasks or descriptors() != before:
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("frequent_reports")
async def test_reports_go_on_after_one_that_could_not_be_sent():
    async with talk() as talking:
        await talking.reported()
        failed = FAILED_REPORTS._value.get()
        for stream in streams(talking.pc).values():
            # As time stamps that leap to and fro bring it about.
            stream._jitter_q4 = 1 << 200
        while FAILED_REPORTS._value.get() == failed:
            await asyncio.sleep(0.01)
        assert len((await talking.reported()).reports) == 1


async def test_what_is_needed_to_decrypt_is_forgotten_but_not_of_those_who_speak():
    async with talk() as talking:
        contexts = talking.pc.getReceivers()[0].transport._rx_srtp
        first = range(1000, 1000 + MAX_CONTEXTS)
        await talking.send_as(first)
        await talking.heard(0, 5)
        assert len(contexts._sources) == MAX_CONTEXTS
        with pytest.raises(pylibsrtp.Error):
            contexts._session.remove_stream(first[0])
        contexts._session.remove_stream(first[-1])
        counts = talking.tracks[0].counts
        assert counts.lost == 0


async def test_a_source_that_was_not_announced_is_heard_in_the_section_it_says_it_is_of():
    async with talk(sections=2) as talking:
        for section in (1, 0):
            sender: Any = talking.other.getSenders()[section]
            sender._ssrc ^= 1
            await talking.heard(section, 10)
            await talking.heard(1 - section, 10)
            assert table_of(talking.pc)[sender._ssrc] is talking.pc.getReceivers()[section]


async def test_one_that_does_not_say_its_section_or_one_there_is_not_is_not_taken_for_another():
    async with talk(sections=2) as talking:
        before = dict(table_of(talking.pc))
        sender: Any = talking.other.getSenders()[1]
        sender._RTCRtpSender__mid = "none"
        sender._ssrc ^= 1
        await talking.send_as(range(1000, 1002))
        await talking.heard(0, 10)
        assert table_of(talking.pc) == before


async def test_a_source_that_a_later_description_announces_is_heard():
    async with talk(sections=2) as talking:
        sender: Any = talking.other.getSenders()[1]
        sender._RTCRtpSender__mid = None
        sender._ssrc ^= 1
        received = talking.tracks[1].counts.received
        await talking.heard(0, 10)
        assert talking.tracks[1].counts.received <= received + 5
        await negotiate(talking.other, talking.pc)
        await talking.heard(1, 10)


async def test_a_connection_that_only_sends_forgets_as_well_what_is_needed_to_decrypt():
    other, pc = new_connection(), new_connection()
    try:
        other.addTransceiver("audio", "recvonly")
        pc.addTrack(Hasty(voice(0.2).reshape(-1, FRAME)))
        await other.setLocalDescription(await other.createOffer())
        await pc.setRemoteDescription(other.localDescription)
        for _ in range(2):
            aiortc_seam.guard_sources(pc)
        await pc.setLocalDescription(await pc.createAnswer())
        await other.setRemoteDescription(pc.localDescription)
        while {other.connectionState, pc.connectionState} != {"connected"}:
            await asyncio.sleep(0.01)
        ours, theirs = (end.getReceivers()[0].transport for end in (pc, other))
        source = 1000
        while (contexts := ours._rx_srtp) is None or len(contexts._sources) < MAX_CONTEXTS:
            await theirs._send_rtp(struct.pack("!BBHLL", 0x80, 96, 1, 960, source))
            source += 1
            await asyncio.sleep(0.001)
        for late in range(10):
            await theirs._send_rtp(struct.pack("!BBHLL", 0x80, 96, 1, 960, source + late))
        while struct.pack("!L", source + 9) not in contexts._sources:
            await asyncio.sleep(0.01)
        assert len(contexts._sources) == MAX_CONTEXTS
    finally:
        await asyncio.gather(other.close(), pc.close())
