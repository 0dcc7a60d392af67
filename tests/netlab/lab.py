"""Two networks with a bad path between them: a hub and somebody on one side, a caller on the other.

room: 10.99.0.1 hub, agent     10.99.0.9 TURN server
  │
  │  the path, see `path.Conditions`
  │
caller: 10.99.0.2
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from agent.realtime import mint_token
from tests.netlab import certificates
from tests.netlab.namespaces import ROOT, Namespace, connected, namespace
from tests.netlab.path import Conditions, Counters
from tests.netlab.processes import Process
from tests.netlab.relay import HOST as RELAY_HOST
from tests.netlab.relay import Relay, open_relay
from tests.turn_server import free_port

HUB_HOST, TURN_HOST, CALLER_HOST = "10.99.0.1", "10.99.0.9", "10.99.0.2"
HUB_PORT = 8443
KEY_ID, SECRET = "sk_id_lab", "sk_secret_" + "l" * 32

Side = Literal["room", "caller"]
#: Who speaks: the module that does it.
Client = Literal["ours", "vendor", "page"]
MODULES: dict[str, str] = {
    "ours": "tests.netlab.our_speaker",
    "vendor": "tests.netlab.vendor_speaker",
    "page": "tests.netlab.page_speaker",
}


class BadPath(Protocol):
    """What the path between the two is told, and tells."""

    async def set(self, conditions: Conditions) -> Counters: ...

    async def counters(self) -> Counters: ...


class Lab:
    """A hub and people on two sides of `path`. See `open_lab`."""

    #: How the hub is reached from each side.
    urls: Mapping[Side, str]
    _hub_listens: Mapping[str, Any]

    def __init__(self, folder: Path, path: BadPath, stack: AsyncExitStack) -> None:
        self.path = path
        self.folder = folder
        self._stack = stack
        self._logs = 0

    def inside(self, _side: Side, *words: str) -> tuple[str, ...]:
        """The command line that runs `words` on one side."""
        return words

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        # Threads for such small sums do nothing but wait for one another, busily.
        return {**kept, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

    async def run(
        self, side: Side, module: str, arguments: Mapping[str, Any], *, python: str = sys.executable
    ) -> Process:
        """Start a module on one side; it ends with the lab at the latest."""
        self._logs += 1
        log = self.folder / f"{self._logs}-{module.rpartition('.')[2]}.log"
        words = self.inside(side, python, "-m", module, json.dumps(arguments))
        with log.open("wb") as errors:
            started = await asyncio.create_subprocess_exec(
                *words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment(),
                cwd=ROOT,
                limit=1_048_576,
            )
        process = Process(started, log)
        reading = asyncio.create_task(process.read())

        async def end() -> None:
            await process.end()
            await reading

        self._stack.push_async_callback(end)
        return process

    async def hub(self) -> Process:
        """Start the hub; returns when it listens."""
        arguments = {"key_id": KEY_ID, "secret": SECRET, **self._hub_listens}
        process = await self.run("room", "tests.netlab.hub_process", arguments)
        if not await process.until(lambda: process.has("ready"), 60):
            raise RuntimeError(f"the hub did not start: {process.log.read_text()}")
        return process

    async def speaker(
        self,
        side: Side,
        client: Client,
        peer_id: str,
        *,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        python: str = sys.executable,
    ) -> Process:
        """Somebody who joins the room, says tones and tells what comes back."""
        # Without any servers the vendor's client asks a public one; no client here has a use for this one.
        servers = list(ice_servers) or [{"urls": "stuns:localhost"}]
        metadata = {"iceServers": servers}
        token, _ = mint_token(KEY_ID, SECRET, peer_id=peer_id, channels=["room"], metadata=metadata)
        arguments = {"url": self.urls[side], "room": "room", "token": token}
        if client == "page":
            # The hub serves it, and the relay takes nothing but WebSockets.
            arguments["page"] = self.urls["room"].replace("ws", "http", 1)
        return await self.run(side, MODULES[client], arguments, python=python)

    def logs(self) -> dict[str, str]:
        """The last words of each process."""
        return {log.name: log.read_text()[-2000:] for log in sorted(self.folder.glob("*.log"))}


class NamespaceLab(Lab):
    """Each side is a network of its own, and the hub speaks TLS."""

    def __init__(
        self,
        folder: Path,
        path: BadPath,
        stack: AsyncExitStack,
        spaces: Mapping[Side, Namespace],
    ) -> None:
        super().__init__(folder, path, stack)
        self.certificates = certificates.make(folder, HUB_HOST, TURN_HOST)
        self.urls = dict.fromkeys(spaces, f"wss://{HUB_HOST}:{HUB_PORT}")
        self._hub_listens = {
            "host": HUB_HOST,
            "port": HUB_PORT,
            "certificate": str(self.certificates.certificate),
            "private_key": str(self.certificates.private_key),
        }
        self._spaces = spaces
        self._caller_host = CALLER_HOST

    def inside(self, side: Side, *words: str) -> tuple[str, ...]:
        return self._spaces[side].inside(*words)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SSL_CERT_FILE": str(self.certificates.authority)}

    async def link(self, *, up: bool) -> None:
        """Switch the caller's network device."""
        await self._spaces["caller"].ip("link", "set", "net", "up" if up else "down")

    async def change_address(self) -> None:
        """Give the caller another address, as when a phone goes from Wi-Fi to another one."""
        caller, old = self._spaces["caller"], self._caller_host
        self._caller_host = "10.99.0.3" if old == CALLER_HOST else CALLER_HOST
        await caller.ip("address", "del", f"{old}/24", "dev", "net")
        await asyncio.sleep(1)
        await caller.ip("address", "add", f"{self._caller_host}/24", "dev", "net")


class RelayLab(Lab):
    """Both sides are this machine, and all they exchange goes through `relay.Relay`."""

    def __init__(self, folder: Path, relay: Relay, stack: AsyncExitStack, hub_port: int) -> None:
        super().__init__(folder, relay, stack)
        self.urls = {"room": f"ws://{RELAY_HOST}:{hub_port}", "caller": relay.url}
        self._hub_listens = {"host": RELAY_HOST, "port": hub_port}


@asynccontextmanager
async def open_lab(folder: Path, *, seed: int = 1) -> AsyncIterator[NamespaceLab]:
    """Two namespaces, and the path between them without any fault yet."""
    async with AsyncExitStack() as outer:
        room = await outer.enter_async_context(namespace("room"))
        caller = await outer.enter_async_context(namespace("caller"))
        ends = (room, f"{HUB_HOST}/24"), (caller, f"{CALLER_HOST}/24")
        path = await outer.enter_async_context(connected(*ends, seed=seed))
        await room.ip("address", "add", f"{TURN_HOST}/24", "dev", "net")
        async with AsyncExitStack() as inner:
            yield NamespaceLab(folder, path, inner, {"room": room, "caller": caller})


@asynccontextmanager
async def open_relay_lab(folder: Path, *, seed: int = 1) -> AsyncIterator[RelayLab]:
    """A relay between two people on this machine, for where namespaces are not allowed."""
    hub_port = free_port()
    async with open_relay(hub_port, seed=seed) as relay, AsyncExitStack() as inner:
        yield RelayLab(folder, relay, inner, hub_port)


def now_s() -> float:
    return time.monotonic()
