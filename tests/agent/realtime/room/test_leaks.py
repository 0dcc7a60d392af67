"""What joining and leaving costs for good: nothing."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from agent.realtime import PeerLeft
from tests.agent.realtime.peer_parts import Participant, participant
from tests.conftest import RunningHub

#: Calls before the first count: caches fill, pools reach their size.
WARM_UP = 10
#: What an allocator's pools may still grow by (2 MB measured between the 20th and the 340th call). One
#: connection that stays is 0.3 MB: 200 of them are five times this.
SLACK_BYTES = 12 * 1024 * 1024
#: Whose objects have to be gone. Others keep caches of their own.
PACKAGES = ("agent.", "aiortc.", "aioice.", "websockets.", "uvicorn.")


class Holdings:
    """What this process holds just now."""

    def __init__(self) -> None:
        gc.collect()
        names = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())
        self.objects = Counter(name for name in names if name.startswith(PACKAGES))
        self.descriptors = Counter(map(_kind, Path("/proc/self/fd").iterdir()))
        self.threads = threading.active_count()
        self.tasks = len(asyncio.all_tasks())
        # What was freed and only kept for reuse does not count.
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident_bytes = pages * os.sysconf("SC_PAGE_SIZE")


def _kind(path: Path) -> str:
    try:
        return str(path.readlink()).partition(":")[0]
    except FileNotFoundError:
        return "the one that lists the others"


async def settled(tasks: int) -> Holdings:
    """What is held when `tasks` are left: the endings of a call go on for a moment after it."""
    for _ in range(500):
        if len(asyncio.all_tasks()) <= tasks:
            break
        await asyncio.sleep(0.01)
    return Holdings()


async def call(hub: RunningHub, agent: Participant, caller_id: str) -> None:
    async with participant(hub, caller_id, says_hz=1000) as caller:
        await caller.hears("~agent", 440)
        await agent.hears(caller_id, 1000)
    await agent.event(PeerLeft, remote=caller_id)
    agent.forget()


async def use_every_pool_thread() -> None:
    """The default executor starts threads as they are wanted, up to its limit, and keeps them."""
    together = threading.Barrier(min(32, (os.cpu_count() or 1) + 4))
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(None, together.wait) for _ in range(together.parties)))


@pytest.mark.parametrize(
    "calls", [5, pytest.param(200, marks=[pytest.mark.network, pytest.mark.timeout(400)])]
)
async def test_calls_leave_nothing_behind(hub: RunningHub, calls: int) -> None:
    """Both ends and the hub live in this process, so whatever any of them kept would be seen here."""
    async with participant(hub, "~agent", says_hz=440) as agent:
        await use_every_pool_thread()
        tasks = len(asyncio.all_tasks())
        for number in range(WARM_UP):
            await call(hub, agent, f"early-{number}")
        before = await settled(tasks)
        for number in range(calls):
            await call(hub, agent, f"caller-{number}")
        after = await settled(tasks)
        assert not agent.peer.remote_peers
    assert after.tasks == before.tasks
    assert after.threads == before.threads
    assert after.descriptors == before.descriptors
    assert after.objects == before.objects
    assert after.resident_bytes - before.resident_bytes < SLACK_BYTES
