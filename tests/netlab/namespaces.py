"""Network namespaces with a path between them, gone when the block is left, whatever happened in it."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from tests.netlab.path import Conditions, Counters

ROOT = Path(__file__).parents[2]
PREFIX = "vanet"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_numbers = itertools.count()
#: No command here takes longer unless something hangs.
COMMAND_S = 10


class CommandError(Exception):
    """A command of the system failed; the text is what it said."""


@cache
def why_not() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    if shutil.which("ip") is None:
        return "the `ip` command (iproute2) is not installed"
    if os.geteuid() != 0:
        return "network namespaces are made by root only"
    name = f"{PREFIX}{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    try:
        os.close(_open_tun()[0])
    except OSError as error:
        return f"TUN devices cannot be made here: {error.strerror}"
    return None


def remove_left_over() -> None:
    """Remove namespaces of processes that were killed before they could do so."""
    listed = subprocess.run(["ip", "-j", "netns", "list"], check=False, capture_output=True, text=True)
    for entry in json.loads(listed.stdout or "[]"):
        owner = entry["name"].removeprefix(PREFIX).partition("-")[0]
        if entry["name"].startswith(PREFIX) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            subprocess.run(["ip", "netns", "del", entry["name"]], check=False, capture_output=True)


async def command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandError(f"{' '.join(words)}: no end within {COMMAND_S} s") from None
    if process.returncode:
        raise CommandError(f"{' '.join(words)}: {said.decode().strip()}")


class Namespace:
    """A network of its own: a loopback and, once connected, a device called ``net``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def inside(self, *words: str) -> tuple[str, ...]:
        """The command line that runs `words` in here. It has the process id of what it runs."""
        return ("ip", "netns", "exec", self.name, *words)

    async def ip(self, *words: str) -> None:
        await command("ip", "-netns", self.name, *words)


@asynccontextmanager
async def namespace(label: str) -> AsyncIterator[Namespace]:
    space = Namespace(f"{PREFIX}{os.getpid()}-{next(_numbers)}{label}")
    await command("ip", "netns", "add", space.name)
    try:
        await space.ip("link", "set", "lo", "up")
        # Link-local addresses would be one more path, and one that no test here looks at.
        setting = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        with suppress(CommandError):
            await command(*space.inside("sh", "-c", setting))
        yield space
    finally:
        await asyncio.shield(command("ip", "netns", "del", space.name))


class PathControl:
    """Tells the process that moves the packets what the path is like."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def set(self, conditions: Conditions) -> Counters:
        return await self._order(asdict(conditions))

    async def counters(self) -> Counters:
        return await self._order({})

    async def _order(self, order: dict[str, object]) -> Counters:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(order).encode() + b"\n")
        await stdin.drain()
        async with asyncio.timeout(COMMAND_S):
            return Counters(**json.loads(await stdout.readline()))


@asynccontextmanager
async def connected(
    left: tuple[Namespace, str], right: tuple[Namespace, str], *, seed: int
) -> AsyncIterator[PathControl]:
    """A path between two namespaces, with an address like ``10.99.0.1/24`` at each end."""
    fds: list[int] = []
    try:
        for space, address in (left, right):
            fd, device = _open_tun()
            fds.append(fd)
            await command("ip", "link", "set", device, "netns", space.name)
            await space.ip("link", "set", device, "name", "net")
            await space.ip("address", "add", address, "dev", "net")
            await space.ip("link", "set", "net", "up")
        arguments = ("-m", "tests.netlab.path", *map(str, fds), str(seed))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
    finally:
        for fd in fds:
            os.close(fd)
    try:
        control = PathControl(process)
        await control.counters()
        yield control
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.shield(process.wait())


def _open_tun() -> tuple[int, str]:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", f"{PREFIX}%d".encode(), _IFF_TUN | _IFF_NO_PI)
        made = fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError:
        os.close(fd)
        raise
    return fd, made[:16].rstrip(b"\0").decode()
