"""A hub process is killed: its members leave, its clients go on at another."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from subprocess import PIPE

import pytest

from agent.hub import cluster
from tests.agent.hub.cluster_parts import seat, start_cluster
from tests.agent.hub.hub_parts import metric
from tests.agent.realtime.peer_parts import Cable, participant
from tests.conftest import RunningHub, StartHub
from tests.redis_server import RedisServer, redis_server

#: Of the process that is killed. The others have a long one: a busy machine must not end it.
LEASE_S = 2.0


@asynccontextmanager
async def hub_process(
    like: RunningHub, redis: RedisServer
) -> AsyncIterator[tuple[RunningHub, asyncio.subprocess.Process]]:
    """One more hub of the cluster, in a process of its own. What is said of its inside is that of `like`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.agent.hub.cluster_process"),
        stdout=PIPE,
        env=os.environ
        | {"HUB_KEY_ID": like.key_id, "HUB_SECRET": like.secret}
        | {"HUB_REDIS_URL": redis.url, "HUB_LEASE_S": str(LEASE_S)},
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield replace(like, url=f"ws://127.0.0.1:{port}", port=port), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_of_a_killed_hub_everybody_leaves_once_and_may_come_back_elsewhere(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_BEAT_S", 0.2)
    found = metric("voice_agent_hub_cluster_dead_processes_total")
    async with (
        redis_server() as redis,
        start_cluster(start_hub, redis) as (one, two),
        hub_process(one, redis) as (far, process),
        Cable(far.port) as address,
        seat(one, "watch-1") as first,
        seat(two, "watch-2") as second,
        participant(one, "ann", says_hz=440) as ann,
        participant(far, "bob", says_hz=880, url=address.url) as bob,
        seat(far, "gone") as gone,
        # Is at the far hub and at this one: must not leave with the far one.
        seat(far, "both") as both,
        seat(two, "both") as still,
    ):
        watchers = (first, second)
        for someone in (*watchers, gone, both, still):
            await someone.join()
        for watcher in watchers:
            others = {"ann", "bob", "gone", "both", "watch-1", "watch-2"} - {watcher.peer_id}
            await watcher.sees(*others)
        await ann.hears("bob", 880)
        address.lead_to(two.port)
        process.kill()
        await process.wait()
        # Redis knows who listens, as soon as it has seen the connection end.
        while (await first.ask(type="send", to="gone", data=1)).get("code") != "peer_not_found":
            await asyncio.sleep(0.01)
        for watcher in watchers:
            await watcher.until(lambda watcher=watcher: "gone" not in watcher.rosters["room"])  # type: ignore[misc]
            assert "both" in watcher.rosters["room"]
        assert metric("voice_agent_hub_cluster_dead_processes_total") > found
        # Its client has come back behind the same address, and is still heard.
        for watcher in watchers:
            await watcher.until(lambda watcher=watcher: "bob" in watcher.rosters["room"])  # type: ignore[misc]
        bob.speak(660)
        await ann.hears("bob", 660)
        async with seat(one, "gone") as back:
            await back.join()
            await second.until(lambda: "gone" in second.rosters["room"])
        for watcher in watchers:
            lefts = [peer["peerId"] for frame in watcher.of_type("presence") for peer in frame["left"]]
            assert "both" not in lefts
