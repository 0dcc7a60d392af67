"""What this process holds."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from dataclasses import dataclass
from pathlib import Path

#: The endings of calls go on for a moment after them.
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Holdings:
    rss_bytes: int
    threads: int
    descriptors: int
    tasks: int

    @classmethod
    def now(cls) -> Holdings:
        """After everything that can be freed has been."""
        gc.collect()
        # What was freed and only kept for reuse does not count.
        ctypes.CDLL(None).malloc_trim(0)
        return cls(
            cls.resident_bytes(),
            threading.active_count(),
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
            len(asyncio.all_tasks()),
        )

    @staticmethod
    def resident_bytes() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


async def settled(tasks: int) -> Holdings:
    """When no more than `tasks` are left, or after `SETTLE_S`."""
    for _ in range(int(SETTLE_S / 0.02)):
        if len(asyncio.all_tasks()) <= tasks:
            break
        await asyncio.sleep(0.02)
    return Holdings.now()
