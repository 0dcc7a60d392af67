"""Several ways to the same end, each started when those before it take long: the idea of RFC 8305."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def race(
    ways: Iterable[Callable[[], Coroutine[Any, Any, T]]],
    *,
    stagger_s: float,
    failed: Callable[[BaseException], None],
) -> list[T]:
    """What the first way to succeed returned; more than one if several did at the same moment.

    The next way is started as soon as all running ones have failed, or `stagger_s` after the last. When there
    is a result, the others are cancelled, and have ended on return. `failed` is told of each error.
    """
    waiting, running = list(ways), set[asyncio.Task[T]]()
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(waiting.pop(0)()))
            done, running = await asyncio.wait(
                running, timeout=stagger_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            results = []
            for task in done:
                if error := task.exception():
                    failed(error)
                else:
                    results.append(task.result())
            if results:
                return results
        return []
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
