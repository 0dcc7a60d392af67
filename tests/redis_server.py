"""A real Redis for tests: a child process without persistence, on a socket file of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest


class RedisServer:
    """Can be stopped and started again; it forgets everything then."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"unix://{self._socket}"

    async def start(self, *options: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *("redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", ""),
            *("--appendonly", "no", "--daemonize", "no", "--dir", str(self._socket.parent), *options),
            stdout=subprocess.DEVNULL,
        )
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self._socket))
                writer.close()
                return
            assert self._process.returncode is None, "redis-server did not start"
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End it without a goodbye. It accepts no connection after that."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._socket.unlink(missing_ok=True)

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Inside, it keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: str) -> str:
        """What redis-cli answers."""
        cli = await asyncio.create_subprocess_exec(
            "redis-cli", "-s", str(self._socket), *words, stdout=subprocess.PIPE
        )
        answer, _ = await cli.communicate()
        return answer.decode().strip()


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """A Redis that is running. Skips the test where there is none, which CI must not."""
    if shutil.which("redis-server") is None:
        message = "redis-server is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # A socket's path may have about a hundred characters: not pytest's folder.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
