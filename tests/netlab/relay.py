"""A bad path where namespaces are not allowed: everything two people exchange goes through this process.

The caller reaches the hub through a WebSocket relay, which puts the addresses of UDP relays in the place of
all candidates it sees. What `Conditions` say happens to the UDP packets, one by one; the WebSocket stands
still while the path is down, as TCP does. It knows no TURN and cannot take anybody's address away.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.netlab.path import TCP, UDP, Conditions, Counters, Fate

HOST = "127.0.0.1"
Address = tuple[str, int]


class Relay:
    """Use `open_relay`. Told what the path is like as `namespaces.PathControl` is."""

    def __init__(self, hub_port: int, seed: int) -> None:
        self.url = ""
        self._hub = f"ws://{HOST}:{hub_port}"
        self._seed = seed
        self._conditions = Conditions()
        self._counters = Counters()
        self._passable = asyncio.Event()
        self._passable.set()
        #: Each stands for one address of one of the two, towards the other.
        self._stand_ins: dict[Address, _StandIn] = {}
        self._lock = asyncio.Lock()

    async def set(self, conditions: Conditions) -> Counters:
        self._conditions = conditions
        if conditions.up and TCP not in conditions.blocked:
            self._passable.set()
        else:
            self._passable.clear()
        return self._counters

    async def counters(self) -> Counters:
        return self._counters

    async def serve(self) -> Server:
        server = await serve(self._relay, HOST, 0, ping_interval=None, max_size=None)
        self.url = f"ws://{HOST}:{server.sockets[0].getsockname()[1]}"
        return server

    def close(self) -> None:
        for stand_in in self._stand_ins.values():
            stand_in.close()

    # ---- UDP ----------------------------------------------------------------------------------------

    async def stand_in(self, address: Address) -> Address:
        """The address under which the other side reaches `address`."""
        async with self._lock:
            if address not in self._stand_ins:
                made = _StandIn(self, address, Fate(self._seed + len(self._stand_ins)))
                await made.open()
                self._stand_ins[address] = made
        return self._stand_ins[address].address

    def take(self, packet: bytes, sender: Address, to: Address, fate: Fate) -> None:
        now_s, conditions = time.monotonic(), self._conditions
        if not conditions.up or UDP in conditions.blocked or fate.is_lost(conditions, now_s):
            self._counters.lost += 1
            return
        loop = asyncio.get_running_loop()
        loop.call_later(fate.due_s(conditions, now_s) - now_s, self._deliver, packet, sender, to)

    def _deliver(self, packet: bytes, sender: Address, to: Address) -> None:
        # Whose address was never announced is not known to the other side either.
        if self._conditions.up and (as_sender := self._stand_ins.get(sender)):
            self._counters.passed += 1
            as_sender.send(packet, to)

    # ---- signalling ---------------------------------------------------------------------------------

    async def _relay(self, caller: ServerConnection) -> None:
        await self._passable.wait()
        assert caller.request is not None
        try:
            async with connect(self._hub + caller.request.path, ping_interval=None, max_size=None) as hub:
                ways = [asyncio.ensure_future(self._pump(*way)) for way in ((caller, hub), (hub, caller))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                with suppress(websockets.ConnectionClosed):
                    await caller.close(hub.close_code or 1001, hub.close_reason or "")
        except (OSError, websockets.WebSocketException):
            caller.transport.abort()

    async def _pump(self, source: Any, target: Any) -> None:
        with suppress(websockets.ConnectionClosed):
            async for text in source:
                await self._passable.wait()
                delay_s = self._conditions.delay_ms / 1000
                await asyncio.sleep(delay_s)
                await target.send(json.dumps(await self._with_stand_ins(json.loads(text))))

    async def _with_stand_ins(self, frame: Any) -> Any:
        data = frame.get("data")
        match data:
            case {"type": "rtc-description", "description": {"sdp": str(sdp)}}:
                lines = [await self._candidate(line) for line in sdp.splitlines()]
                data["description"]["sdp"] = "\r\n".join(line for line in lines if line) + "\r\n"
            case {"type": "rtc-ice", "candidate": {"candidate": str(text)}} if text:
                data["candidate"]["candidate"] = await self._candidate(text)
        return frame

    async def _candidate(self, line: str) -> str:
        """The line with the stand-in's address, if it is a candidate; nothing for one there is no way to."""
        if "candidate:" not in line or line.startswith("a=end-of"):
            return line
        words = line.split(" ")
        if words[2].lower() != "udp" or ":" in words[4]:
            return ""
        host, port = await self.stand_in((words[4], int(words[5])))
        return " ".join([*words[:4], host, str(port), *words[6:]])


class _StandIn(asyncio.DatagramProtocol):
    """A socket: what is sent to it goes to `real`, from whoever stands in for the sender."""

    def __init__(self, relay: Relay, real: Address, fate: Fate) -> None:
        self.address: Address = ("", 0)
        self._relay = relay
        self._real = real
        self._fate = fate
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))
        self.address = self._transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._relay.take(data, addr, self._real, self._fate)

    def send(self, packet: bytes, to: Address) -> None:
        if self._transport is not None:
            self._transport.sendto(packet, to)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def open_relay(hub_port: int, *, seed: int) -> AsyncIterator[Relay]:
    async with AsyncExitStack() as stack:
        relay = Relay(hub_port, seed)
        stack.callback(relay.close)
        server = await relay.serve()

        async def end() -> None:
            server.close()
            await server.wait_closed()

        stack.push_async_callback(end)
        yield relay
