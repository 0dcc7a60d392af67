"""The systems that are called: which program, in which environment, found how; and starting them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.common.environments import Environment, EnvironmentFailedError
from benchmarks.common.setup import Setup
from benchmarks.common.signalling import HttpOffer, Room, Signalling

ROOT = Path(__file__).parents[2]
#: Models are loaded before a peer says where it is.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
#: A line that a program prints, and how much of its log is shown when it does not start.
MAX_LOG_CHARS = 4000


class StartFailedError(Exception):
    """A program did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class System:
    """Something that answers calls."""

    name: str
    title: str
    #: The module of its program.
    module: str
    #: None: this project's own environment.
    environment: Environment | None
    signalling: Callable[[str], Signalling]
    #: The package whose version is stated.
    package: str | None = None

    def python(self) -> Path:
        """The interpreter; makes the environment if it is not there, which takes minutes."""
        return self.environment.make() if self.environment else Path(sys.executable)

    @property
    def version(self) -> str:
        return self.environment.version(self.package) if self.environment and self.package else ""


OURS = System("ours", "voice-agent", "benchmarks.common.peers.ours", None, Room)
PIPECAT = System(
    "pipecat",
    "Pipecat",
    "benchmarks.common.peers.pipecat_bot",
    Environment("pipecat", ("pipecat-ai[webrtc,silero,openai,runner,whisper,piper]==1.14.0",)),
    lambda url: HttpOffer(url, "/api/offer"),
    "pipecat-ai",
)
FASTRTC = System(
    "fastrtc",
    "FastRTC",
    "benchmarks.common.peers.fastrtc_bot",
    Environment(
        "fastrtc",
        ("fastrtc[vad]==0.0.34", "openai", "faster-whisper", "piper-tts"),
        wheels=("faster-whisper==1.0.0",),
    ),
    lambda url: HttpOffer(url, "/webrtc/offer"),
    "fastrtc",
)
PEERS = (PIPECAT, FASTRTC)


def ready(peers: str, console: Console) -> list[System]:
    """Ours and the named peers (``none``, ``all`` or one) whose environment can be made."""
    systems = [OURS]
    for peer in PEERS:
        if peers not in {"all", peer.name}:
            continue
        with console.status(f"making an environment for {peer.title}, which takes minutes the first time"):
            try:
                peer.python()
            except EnvironmentFailedError as error:
                console.print(f"[yellow]without {peer.title}: {error}")
                continue
        systems.append(peer)
    return systems


@asynccontextmanager
async def running(system: System, setup: Setup, log: Path) -> AsyncIterator[str]:
    """The address of `system`, which runs in a process of its own until the block ends.

    What it prints goes to `log`. Raises `StartFailedError`.
    """
    async with program(system.python(), system.module, setup.dumps(), log=log) as url:
        yield url


@asynccontextmanager
async def chat_server(note_file: Path, log: Path) -> AsyncIterator[str]:
    """The base URL of a language model that answers what is noted in `note_file`."""
    module = "benchmarks.common.chat_server"
    async with program(Path(sys.executable), module, str(note_file), log=log) as url:
        yield url


@asynccontextmanager
async def program(python: Path, module: str, argument: str, *, log: Path) -> AsyncIterator[str]:
    """Run a module with one argument; the address that it announces in its first line."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    async with AsyncExitStack() as stack:
        with log.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                python, "-m", module, argument, stdout=asyncio.subprocess.PIPE, stderr=sink, env=environ
            )
        stack.push_async_callback(_stop, process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                # Libraries print things of their own before.
                while not (line := await process.stdout.readline()).startswith(b'{"url"'):
                    if not line:
                        raise StartFailedError(f"{module} did not start:\n{_end_of(log)}")
        except TimeoutError:
            raise StartFailedError(
                f"{module} did not start within {START_TIMEOUT_S:g} s:\n{_end_of(log)}"
            ) from None
        reading = asyncio.create_task(_discard(process.stdout))
        stack.callback(reading.cancel)
        yield json.loads(line)["url"]


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-MAX_LOG_CHARS:]
