"""Several hubs and a Redis that is not there, forgets, or stands still."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from agent.hub import ClusterError, Hub, HubOptions, cluster, redis_link
from tests.agent.hub.cluster_parts import seat, start_cluster
from tests.agent.hub.hub_parts import metric
from tests.conftest import StartHub
from tests.redis_server import RedisServer


async def test_without_redis_at_the_start_it_says_what_to_do() -> None:
    url = "redis://someone:very-secret@127.0.0.1:1/0"
    with pytest.raises(ClusterError, match=r"redis://127.0.0.1:1/0: start Redis") as refused:
        async with Hub(HubOptions(redis_url=url)):
            pass
    assert "very-secret" not in str(refused.value)
    assert "very-secret" not in repr(HubOptions(redis_url=url))


@pytest.mark.parametrize("url", ["http://x:very-secret@h", "redis://u:very-secret@h:port", "redis://h:1:2/x"])
async def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ClusterError, match="must look like redis://") as refused:
        Hub(HubOptions(redis_url=url))
    assert "very-secret" not in str(refused.value)


async def test_a_wrong_password_is_refused(redis: RedisServer) -> None:
    await redis.stop()
    await redis.start("--requirepass", "right")
    hub = Hub(HubOptions(redis_url=redis.url.replace("unix://", "unix://:very-secret@")))
    with pytest.raises(ClusterError, match="refuses") as refused:
        await hub.start()
    assert "very-secret" not in str(refused.value)


async def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ClusterError, match=r"pip install 'voice-agent\[redis\]'"):
        Hub(HubOptions(redis_url="redis://localhost"))


async def test_while_redis_is_away_rooms_go_on_and_afterwards_nobody_was_gone(
    start_hub: StartHub, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    lost = metric("voice_agent_hub_cluster_lost_total")
    alone = metric("voice_agent_hub_cluster_local_only_total", request="publish")
    async with (
        start_cluster(start_hub, redis) as (one, two),
        seat(one, "a") as a,
        seat(one, "a2") as a2,
        seat(two, "b") as b,
    ):
        for someone in (a, a2, b):
            await someone.join()
        await a.sees("a2", "b")
        await redis.stop()
        while metric("voice_agent_hub_cluster_lost_total") < lost + 2:
            await asyncio.sleep(0.001)
        assert metric("voice_agent_hub_cluster_up") == 0
        # Here everything works; elsewhere nobody can be reached.
        await a.ask(type="publish", channel="room", data="here")
        await a2.until(lambda: a2.data() == ["here"])
        assert (await a.ask(type="send", to="a2", data="x"))["type"] == "ack"
        assert (await a.ask(type="send", to="b", data="x"))["code"] == "backend_error"
        async with seat(one, "late") as late:
            await late.join()
            assert set(late.rosters["room"]) == {"a", "a2", "b"}
            await late.join("another")
            await a.sees("a2", "b", "late")
        await a.sees("a2", "b")
        await a2.raw.websocket.close()
        await a.sees("b")
        async with seat(two, "b2") as b2:
            await b2.join()
            await redis.start()
            await a.sees("b", "b2")
            await b.until(lambda: set(b.rosters["room"]) == {"a", "b2"} or "a2" in b.rosters["room"])
            assert (await a.ask(type="send", to="b", data="again"))["type"] == "ack"
            await b.until(lambda: b.data() == ["again"])
            for watcher, others in ((a, ("b",)), (b, ("a",))):
                gone = [peer for frame in watcher.of_type("presence") for peer in frame["left"]]
                assert not [peer for peer in gone if peer["peerId"] in others]
    assert metric("voice_agent_hub_cluster_local_only_total", request="publish") == alone + 1
    assert "served by this process alone" in caplog.text
    assert "shared again" in caplog.text


async def test_a_redis_that_forgets_everything_is_told_again(
    start_hub: StartHub, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_BEAT_S", 0.2)
    lost = metric("voice_agent_hub_cluster_lost_total")
    async with (
        start_cluster(start_hub, redis) as (one, two),
        seat(one, "a") as a,
        seat(two, "b") as b,
    ):
        for someone in (a, b):
            await someone.join()
        await a.sees("b")
        await redis.command("FLUSHALL")
        while metric("voice_agent_hub_cluster_lost_total") < lost + 2:
            await asyncio.sleep(0.001)
        async with seat(two, "c") as c:
            await c.join()
            await a.sees("b", "c")
            await c.sees("a", "b")
        await a.sees("b")
        assert [frame["left"] for frame in b.of_type("presence") if frame["left"]] == [[{"peerId": "c"}]]


async def test_a_redis_that_is_stuck_holds_nobody_up_for_long(
    start_hub: StartHub, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        start_cluster(start_hub, redis) as (one, two),
        seat(one, "a") as a,
        seat(two, "b") as b,
    ):
        for someone in (a, b):
            await someone.join()
        monkeypatch.setattr(redis_link, "TIMEOUT_S", 0.1)
        with redis.stuck():
            assert (await a.ask(type="publish", channel="room", data="lost"))["type"] == "ack"
            assert (await a.ask(type="send", to="b", data="x"))["code"] == "backend_error"
        monkeypatch.undo()
        while (await a.ask(type="send", to="b", data="again"))["type"] != "ack":
            await asyncio.sleep(0.01)
        await b.until(lambda: "again" in b.data())
