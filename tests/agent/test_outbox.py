from __future__ import annotations

import asyncio

from agent.outbox import MAX_WAITING, Outbox
from agent.realtime import DataReceived, Peer
from pipelines.reports import Caption, Problem
from tests.conftest import RunningHub


async def test_captions_of_an_unfinished_sentence_do_not_queue_up(hub: RunningHub) -> None:
    async with Peer(hub.url, key=hub.key) as agent, Peer(hub.url, key=hub.key) as caller:
        await agent.join("lobby")
        await caller.join("lobby")
        outbox = Outbox("a1", agent)
        for n in range(MAX_WAITING):
            outbox.report(Caption("caller", "ada", "s1", f"word {n}", final=False))
            outbox.report(Caption("caller", "bob", "s2", f"other {n}", final=False))
        outbox.report(Caption("caller", "ada", "s1", "all the words", final=True))
        outbox.report(Problem("one more"))
        delivery = asyncio.create_task(outbox.run())
        got = []
        async for event in caller.events():
            if isinstance(event, DataReceived):
                got.append((event.data.get("id"), event.data.get("text"), event.data.get("final")))
            if len(got) == 3:
                # A sentence that goes on is told again.
                outbox.report(Caption("caller", "bob", "s2", "goes on", final=False))
            if len(got) == 5:
                break
        last = MAX_WAITING - 1
        assert got == [
            ("s1", f"word {last}", False),
            ("s2", f"other {last}", False),
            ("s1", "all the words", True),
            (None, None, None),
            ("s2", "goes on", False),
        ]
        delivery.cancel()
