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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from agent.realtime import mint_token
from tests.netlab import certificates
from tests.netlab.hearing import Heard
from tests.netlab.namespaces import ROOT, Namespace, PathControl, connected, namespace

HUB_HOST, TURN_HOST, CALLER_HOST = "10.99.0.1", "10.99.0.9", "10.99.0.2"
HUB_PORT = 8443
KEY_ID, SECRET = "sk_id_lab", "sk_secret_" + "l" * 32
END_S = 5.0

Side = Literal["room", "caller"]
#: Who speaks: the module that does it.
Client = Literal["ours", "vendor", "page"]
MODULES: dict[str, str] = {
    "ours": "tests.netlab.our_speaker",
    "vendor": "tests.netlab.vendor_speaker",
    "page": "tests.netlab.page_speaker",
}


class Process:
    """A process that reports in JSON lines; killed, by its own id, when its block is left."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self.events: list[dict[str, Any]] = []
        self.heard = Heard()
        self._process = process
        self._changed = asyncio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "heard":
                self.heard.add(event["heard"])
            else:
                self.events.append(event)
            self._changed.set()

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until something reported makes `condition` true; False if nothing did in time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def has(self, event: str, *, after_s: float = 0.0, **fields: Any) -> bool:
        return any(
            seen["event"] == event
            and seen["t"] >= after_s
            and all(seen.get(name) == value for name, value in fields.items())
            for seen in self.events
        )

    async def hears_after(self, moment_s: float, within_s: float) -> float | None:
        """When, at or after `moment_s`, sound flowed; None if not `within_s` from now."""
        await self.until(lambda: self.heard.back_s(moment_s) is not None, within_s)
        return self.heard.back_s(moment_s)

    async def end(self) -> None:
        """Ask it to end, and make it."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(END_S):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Lab:
    """See `open_lab`."""

    def __init__(
        self, folder: Path, spaces: Mapping[Side, Namespace], path: PathControl, stack: AsyncExitStack
    ) -> None:
        self.path = path
        self.url = f"wss://{HUB_HOST}:{HUB_PORT}"
        self.folder = folder
        self.certificates = certificates.make(folder, HUB_HOST, TURN_HOST)
        self._spaces = spaces
        self._stack = stack
        self._caller_host = CALLER_HOST
        self._logs = 0

    async def run(
        self, side: Side, module: str, arguments: Mapping[str, Any], *, python: str = sys.executable
    ) -> Process:
        """Start a module on one side; it ends with the lab at the latest."""
        self._logs += 1
        log = self.folder / f"{self._logs}-{module.rpartition('.')[2]}.log"
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": str(self.certificates.authority),
            # Threads for such small sums do nothing but wait for one another, busily.
            "OPENBLAS_NUM_THREADS": "1",
        }
        words = self._spaces[side].inside(python, "-m", module, json.dumps(arguments))
        with log.open("wb") as errors:
            started = await asyncio.create_subprocess_exec(
                *words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
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
        files = self.certificates
        process = await self.run(
            "room",
            "tests.netlab.hub_process",
            {
                "host": HUB_HOST,
                "port": HUB_PORT,
                "key_id": KEY_ID,
                "secret": SECRET,
                "certificate": str(files.certificate),
                "private_key": str(files.private_key),
            },
        )
        if not await process.until(lambda: process.has("ready"), 20):
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
        arguments = {"url": self.url, "room": "room", "token": token}
        return await self.run(side, MODULES[client], arguments, python=python)

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

    def logs(self) -> dict[str, str]:
        """The last words of each process."""
        return {log.name: log.read_text()[-2000:] for log in sorted(self.folder.glob("*.log"))}

    def beside_the_hub(self, *words: str) -> tuple[str, ...]:
        """The command line that runs `words` on the side of the hub."""
        return self._spaces["room"].inside(*words)


@asynccontextmanager
async def open_lab(folder: Path, *, seed: int = 1) -> AsyncIterator[Lab]:
    """Two namespaces, and the path between them without any fault yet."""
    async with AsyncExitStack() as outer:
        room = await outer.enter_async_context(namespace("room"))
        caller = await outer.enter_async_context(namespace("caller"))
        ends = (room, f"{HUB_HOST}/24"), (caller, f"{CALLER_HOST}/24")
        path = await outer.enter_async_context(connected(*ends, seed=seed))
        await room.ip("address", "add", f"{TURN_HOST}/24", "dev", "net")
        async with AsyncExitStack() as inner:
            yield Lab(folder, {"room": room, "caller": caller}, path, inner)


def now_s() -> float:
    return time.monotonic()
