"""The gate of a reply: an event that says whether it may sound, and that may be taken back until it does."""

from __future__ import annotations

import asyncio


async def opened(gate: asyncio.Event) -> None:
    """Returns when `gate` is open: now, not merely since we were woken up for it."""
    while not gate.is_set():
        await gate.wait()
