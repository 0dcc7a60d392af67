"""The callers' side: any number of calls in this process, connected by aiortc, then by hand (`wire`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from agent.realtime.connections import aiortc_seam
from benchmarks.common.signalling import HubRoom
from benchmarks.media.agent import Agent, HubProcess
from benchmarks.media.hub import NO_SERVER
from benchmarks.media.sides import CallSetup, Voice, in_background
from benchmarks.media.speech import FRAME_S
from benchmarks.media.wire import Arrivals, Wire

CONNECT_TIMEOUT_S = 60.0
REPORT_TICKS = 50
#: How exactly a caller keeps its 20 ms.
STEP_S = 0.001
#: Further behind than this, the machine was held up, and time that has passed is left out.
MAX_BEHIND_S = 0.2

#: What becomes of a packet: given its number, the data and how to send it.
Send = Callable[[int, bytes, Callable[[bytes], None]], None]


def at_once(_number: int, data: bytes, send: Callable[[bytes], None]) -> None:
    send(data)


class _Nothing(MediaStreamTrack):
    """aiortc's sender waits for it for ever; packets are sent past it."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._stopped = asyncio.Event()

    async def recv(self) -> Any:
        await self._stopped.wait()
        raise MediaStreamError

    def stop(self) -> None:
        super().stop()
        self._stopped.set()


class Caller:
    """One call. `connect`, then `tick` every 20 ms, and `close`."""

    def __init__(self, number: int, packets: Sequence[bytes], send: Send = at_once) -> None:
        """`packets` are said over and over; without any it only listens. `send` decides on their way."""
        self.number = number
        self.arrivals = Arrivals()
        #: Packets said so far.
        self.said = 0
        #: Whether there is anything to hear of it, and whether the agent says anything to it.
        self.speaks, self.listens = bool(packets), False
        self._packets = packets
        self._send = send
        self._ticks = 0
        self._ticked = asyncio.Event()
        self._track = _Nothing()
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connected = asyncio.Event()
        self._pc.on("connectionstatechange", self._on_state)
        self._room: HubRoom | None = None
        self._wire: Wire | None = None

    async def connect(self, agent: Agent, voice: Voice, hub: HubProcess) -> dict[str, Any]:
        """Set the call up; what the agent's side told. In a room of `hub`, where its system needs one."""
        if self._packets:
            self._pc.addTrack(self._track)
        self.listens = voice != "none"
        if not self.listens:
            self._pc.getTransceivers()[0].direction = "sendonly"
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if agent.setup.system == "aiortc":
                told = await self._offer(agent, voice)
            else:
                told = await self._meet(agent, voice, hub)
            await self._connected.wait()
        self._wire = Wire(self._pc)
        return told

    async def _offer(self, agent: Agent, voice: Voice) -> dict[str, Any]:
        if not self._packets:
            self._pc.addTransceiver("audio", "recvonly")
        await self._pc.setLocalDescription(await self._pc.createOffer())
        told = await agent.open(CallSetup(self.number, voice, offer=self._pc.localDescription.sdp))
        await self._pc.setRemoteDescription(RTCSessionDescription(told["answer"], "answer"))
        return told

    async def _meet(self, agent: Agent, voice: Voice, hub: HubProcess) -> dict[str, Any]:
        name, token = secrets.token_hex(4), hub.access.token
        room = f"room-{name}"
        self._room = HubRoom(hub.url, room, token(f"caller-{name}", room))
        # Who sorts last is the one that offers.
        ticket = token(f"~agent-{name}", room, metadata=NO_SERVER)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._room.connect(self._pc, lambda _: None))
            return await agent.open(CallSetup(self.number, voice, hub.url, room, ticket))

    def _on_state(self) -> None:
        if self._pc.connectionState == "connected":
            self._connected.set()

    async def has_said(self, packets: int) -> None:
        """Return when it has said so many."""
        while self.said < packets:
            self._ticked.clear()
            await self._ticked.wait()

    async def hears(self) -> None:
        """Return when the first packet of the agent's voice is there."""
        while not len(self.arrivals):
            self._ticked.clear()
            await self._ticked.wait()

    def payloads(self) -> list[bytes]:
        """What was in the packets that `arrivals` kept since the last time."""
        assert self._wire is not None
        packets, self.arrivals.kept = self.arrivals.kept or (), []
        return list(self._wire.opened(packets))

    def tick(self) -> None:
        """Say the next 20 ms, and look what has come."""
        assert self._wire is not None
        if self._packets:
            data = self._wire.packet(self._packets[self.said % len(self._packets)], self.said)
            self._send(self.said, data, self._wire.send)
            self.said += 1
        self._wire.take(self.arrivals)
        self._ticks += 1
        self._ticked.set()
        if self._ticks % REPORT_TICKS == 0 and len(self.arrivals):
            self._wire.report(self.arrivals)

    async def close(self) -> None:
        self._track.stop()
        if self._room is not None:
            await self._room.close()
        await self._pc.close()


class Callers:
    """Ticks whoever is connected, each on a clock of its own, evenly spread."""

    def __init__(self) -> None:
        self._due_s: dict[Caller, float] = {}

    def begin(self, caller: Caller) -> None:
        # Multiples of the golden ratio lie evenly, however many there are.
        self._due_s[caller] = time.monotonic() + FRAME_S * (0.618034 * caller.number % 1.0)

    def end(self, caller: Caller) -> None:
        self._due_s.pop(caller, None)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            now_s = time.monotonic()
            for caller, due_s in list(self._due_s.items()):
                if due_s <= now_s:
                    self._due_s[caller] = (due_s if now_s - due_s < MAX_BEHIND_S else now_s) + FRAME_S
                    caller.tick()


@asynccontextmanager
async def callers() -> AsyncIterator[Callers]:
    """They tick until the block ends. They describe themselves as browsers do, who want in-band FEC."""
    aiortc_seam.ask_for_fec()
    running = Callers()
    async with in_background(running.run()):
        yield running
