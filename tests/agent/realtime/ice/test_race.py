"""Several ways to the same end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from agent.realtime.ice.race import race

NEVER_S = 3600.0


class Ways:
    """Ways that end when told to, and what became of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.errors: list[BaseException] = []

    def hangs(self, name: str) -> Callable[[], Coroutine[None, None, str]]:
        async def way() -> str:
            self.started.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(name)
            return name

        return way

    def succeeds(self, name: str) -> Callable[[], Coroutine[None, None, str]]:
        async def way() -> str:
            self.started.append(name)
            return name

        return way

    def fails(self, name: str) -> Callable[[], Coroutine[None, None, str]]:
        async def way() -> str:
            self.started.append(name)
            raise OSError(name)

        return way

    async def race(self, *ways: Callable[[], Coroutine[None, None, str]], stagger_s: float) -> list[str]:
        return await race(ways, stagger_s=stagger_s, failed=self.errors.append)


async def test_the_first_way_that_works_is_enough():
    ways = Ways()
    assert await ways.race(ways.succeeds("a"), ways.succeeds("b"), stagger_s=NEVER_S) == ["a"]
    assert ways.started == ["a"]


async def test_after_a_failure_the_next_way_follows_at_once():
    ways = Ways()
    assert await ways.race(ways.fails("a"), ways.fails("b"), ways.succeeds("c"), stagger_s=NEVER_S) == ["c"]
    assert [str(error) for error in ways.errors] == ["a", "b"]


async def test_a_way_that_hangs_holds_nobody_up_and_ends():
    ways = Ways()
    assert await ways.race(ways.hangs("a"), ways.hangs("b"), ways.succeeds("c"), stagger_s=0.001) == ["c"]
    assert sorted(ways.ended) == ["a", "b"]


async def test_without_a_way_that_works_there_is_nothing():
    ways = Ways()
    assert await ways.race(ways.fails("a"), ways.fails("b"), stagger_s=NEVER_S) == []
    assert await ways.race(stagger_s=NEVER_S) == []


async def test_cancelled_it_leaves_nothing_running():
    ways = Ways()
    racing = asyncio.create_task(ways.race(ways.hangs("a"), ways.hangs("b"), stagger_s=0.001))
    while len(ways.started) < 2:
        await asyncio.sleep(0.001)
    racing.cancel()
    await asyncio.wait([racing])
    assert sorted(ways.ended) == ["a", "b"]
