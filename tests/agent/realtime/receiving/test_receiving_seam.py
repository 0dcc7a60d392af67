"""Fails when a new aiortc or aioice no longer has the private parts that are reached into to hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import is_rtcp

from agent.realtime.ice.ice_seam import ice_connections
from agent.realtime.receiving.receive import iter_speech
from agent.realtime.receiving.received_audio import DROPPED_FRAMES, ReceivedAudio
from agent.realtime.receiving.receiving_seam import MAX_DATAGRAM_BYTES, MAX_SRTP_BYTES, REFUSED
from tests.agent.realtime.connections.test_aiortc_seam import noisy_pair


class Path:
    """What comes to a connection is kept back, so that it can be handed on here, or something else."""

    def __init__(self, pc: RTCPeerConnection, track: ReceivedAudio) -> None:
        self.pc = pc
        self.track = track
        (self.connection,) = ice_connections(pc)
        self.hand_on = self.connection.data_received
        self.packets: list[bytes] = []
        self._more = asyncio.Event()

    def keep(self, data: bytes, component: int) -> None:
        if is_sound(data):
            self.packets.append(data)
            self._more.set()
        else:
            self.hand_on(data, component)

    async def kept(self, packets: int) -> list[bytes]:
        """That many packets of sound that have not been handed on, in their order."""
        while len(self.packets) < packets:
            self._more.clear()
            await self._more.wait()
        return self.packets

    async def stats(self, kind: str) -> Any:
        report = await self.pc.getStats()
        return next(stats for stats in report.values() if stats.type == kind)

    async def rested(self) -> None:
        """aiortc's task has fetched everything, and waits."""
        while not self.connection._queue.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def is_sound(data: bytes) -> bool:
    return 127 < data[0] < 192 and not is_rtcp(data)


@asynccontextmanager
async def held_up(packets: int) -> AsyncIterator[Path]:
    """A connection on which sound has come, and so many packets more lie on the path."""
    async with noisy_pair() as (noise, track, receiver):
        assert isinstance(track, ReceivedAudio)
        await track.recv()
        path = Path(receiver, track)
        path.connection.data_received = path.keep
        await path.kept(packets)
        noise.go.clear()
        await path.rested()
        yield path


async def test_sound_of_a_known_source_is_there_at_once():
    async with held_up(20) as path:
        before = path.track.counts.received
        for number, packet in enumerate(path.packets[:20], 1):
            path.hand_on(packet, 1)
            assert path.track.counts.received == before + number


async def test_what_took_the_shortcut_is_counted_as_ever():
    async with held_up(20) as path:
        before = await path.stats("transport")
        packets, octets = before.packetsReceived, before.bytesReceived
        for packet in path.packets[:20]:
            path.hand_on(packet, 1)
        after = await path.stats("transport")
        # Reports come in between.
        assert after.packetsReceived >= packets + 20
        assert after.bytesReceived >= octets + sum(map(len, path.packets[:20]))
        inbound = await path.stats("inbound-rtp")
        assert (inbound.packetsReceived, inbound.packetsLost) == (path.track.counts.received, 0)
        (source,) = path.pc.getReceivers()[0].getSynchronizationSources()
        assert source.source == inbound.ssrc


async def test_what_comes_at_once_after_a_stall_is_heard():
    """As from a relay that is reached over TCP, which hands it over in one go."""
    packets, heard = 150, 0
    async with held_up(packets) as path:
        dropped = DROPPED_FRAMES._value.get()

        async def listen() -> None:
            nonlocal heard
            async for _ in iter_speech(path.track):
                heard += 1

        listening = asyncio.create_task(listen())
        while not path.track._is_awaited:
            await asyncio.sleep(0)
        heard = 0
        before = path.track.counts.received
        for packet in path.packets[:packets]:
            path.hand_on(packet, 1)
        assert path.track.counts.received == before + packets
        while heard < packets - 1:
            await asyncio.sleep(0)
        assert DROPPED_FRAMES._value.get() == dropped
        await path.pc.close()
        await listening


async def test_nothing_overtakes_what_waits():
    async with held_up(3) as path:
        before = path.track.counts.received
        path.connection._queue.put_nowait((path.packets[0], 1))
        path.hand_on(path.packets[1], 1)
        assert path.track.counts.received == before
        await path.rested()
        assert path.track.counts.received == before + 2
        path.hand_on(path.packets[2], 1)
        assert path.track.counts.received == before + 3
        assert path.track.counts.lost == path.track.counts.late == 0


async def test_a_source_that_is_not_known_is_assigned_by_aiortc():
    async with held_up(2) as path:
        before = path.track.counts.received
        path.pc.getReceivers()[0].transport._rtp_router.ssrc_table.clear()
        path.hand_on(path.packets[0], 1)
        assert path.track.counts.received == before
        await path.rested()
        assert path.track.counts.received == before + 1
        path.hand_on(path.packets[1], 1)
        assert path.track.counts.received == before + 2


@pytest.mark.parametrize(
    "make",
    [
        lambda packet: b"",
        lambda packet: packet + bytes(MAX_SRTP_BYTES),
        lambda packet: packet[:12],
        lambda packet: packet[:-1] + bytes([packet[-1] ^ 1]),
        lambda packet: packet[:1] + packet[1:12] + bytes(40),
    ],
    ids=["empty", "too long", "cut off", "changed", "not encrypted"],
)
async def test_what_makes_no_sense_is_dropped_and_the_call_goes_on(make):
    async with held_up(2) as path:
        before, refused = path.track.counts.received, REFUSED._value.get()
        path.hand_on(make(path.packets[0]), 1)
        assert REFUSED._value.get() == refused + 1
        await path.rested()
        path.hand_on(path.packets[0], 1)
        assert path.track.counts.received == before + 1
        path.hand_on(path.packets[0], 1)
        assert (path.track.counts.received, REFUSED._value.get()) == (before + 1, refused + 2), "sent twice"
        assert path.pc.connectionState == "connected"


async def test_a_receiver_that_stopped_or_is_not_wanted_hears_nothing():
    async with held_up(4) as path:
        before, receiver = path.track.counts.received, path.pc.getReceivers()[0]
        receiver._enabled = False
        path.hand_on(path.packets[0], 1)
        receiver._enabled = True
        path.hand_on(path.packets[1], 1)
        assert path.track.counts.received == before + 1
        await receiver.stop()
        path.hand_on(path.packets[2], 1)
        await path.rested()
        assert path.track.counts.received == before + 1
        await path.pc.close()
        path.hand_on(path.packets[3], 1)
        assert path.track.counts.received == before + 1


async def test_as_much_as_a_datagram_holds_is_made_ready_for_it():
    async with held_up(1) as path:
        assert path.connection._protocols
        for protocol in path.connection._protocols:
            assert protocol.transport.max_size == MAX_DATAGRAM_BYTES
            assert type(protocol.transport).max_size > MAX_DATAGRAM_BYTES, "as asyncio has it"
