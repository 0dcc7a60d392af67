"""Several hubs that share their rooms through a real Redis: what clients see of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from agent.hub import parse_faults
from tests.agent.hub.cluster_parts import Barrier, seat, start_cluster
from tests.agent.hub.hub_parts import client, metric, token
from tests.agent.realtime.peer_parts import participant
from tests.conftest import RunningHub, StartHub
from tests.redis_server import RedisServer

# ---- rooms across processes -----------------------------------------------------------------------------


async def test_no_roster_on_purpose_but_news(start_hub: StartHub, redis: RedisServer) -> None:
    faults = parse_faults(["omit_snapshot"])
    async with start_cluster(start_hub, redis, faults=faults) as hubs, AsyncExitStack() as stack:
        raws = []
        for hub, peer_id in zip((*hubs, hubs[0]), "abc", strict=True):
            raw = await stack.enter_async_context(client(hub, token(hub, peer_id=peer_id)))
            assert (await raw.read())["type"] == "welcome"
            await raw.write(type="subscribe", channel="room", requestId="s")
            assert await raw.read() == {"type": "ack", "requestId": "s"}
            raws.append(raw)
        for peer_id in "bc":
            assert (await raws[0].read())["joined"] == [{"peerId": peer_id}]
        await raws[2].write(type="ping")
        assert await raws[2].read() == {"type": "pong"}


async def test_peers_of_different_hubs_are_in_one_room(start_hub: StartHub, redis: RedisServer) -> None:
    async with start_cluster(start_hub, redis) as (one, two):
        async with seat(one, "a", peer_metadata={"name": "A"}) as a, seat(two, "b") as b:
            await a.join(includeSenderMetadata=True)
            await b.join()
            assert b.rosters["room"] == {"a": {"name": "A"}}
            await a.sees("b")
            assert [frame["type"] for frame in b.frames] == ["ack", "presence"]

            await b.ask(type="publish", channel="room", data={"ü": [None]})
            await a.ask(type="publish", channel="room", data=1)
            await a.until(lambda: a.data() == [{"ü": [None]}])
            await b.until(lambda: b.data() == [1])
            assert b.of_type("message") == [{"type": "message", "channel": "room", "from": "a", "data": 1}]

            assert (await a.ask(type="send", to="b", data="x"))["type"] == "ack"
            await b.until(lambda: b.data() == [1, "x"])
            direct = {"type": "direct", "from": "a", "data": "x", "fromMetadata": {"name": "A"}}
            assert b.of_type("direct") == [direct]
            assert (await a.ask(type="send", to="nobody", data=1))["code"] == "peer_not_found"

            await b.ask(type="unsubscribe", channel="room")
            await a.sees()
            assert (await b.ask(type="send", to="a", data=1))["type"] == "ack"
        async with seat(two, "b") as b, seat(one, "c") as c:
            await b.join()
            await c.join()
            assert set(c.rosters["room"]) == {"b"}
            b.raw.websocket.transport.abort()
            await c.sees()
            assert (await c.ask(type="send", to="b", data=1))["code"] == "peer_not_found"
    assert await redis.command("KEYS", "*[^qe][^:]*room*") == ""


async def test_messages_and_directs_of_one_sender_stay_in_order(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async with (
        start_cluster(start_hub, redis) as (one, two),
        seat(one, "a") as a,
        seat(two, "b") as b,
    ):
        await b.join()
        for number in range(100):
            kind = {"type": "send", "to": "b"} if number % 2 else {"type": "publish", "channel": "room"}
            await a.write(**kind, data=number)
        await b.until(lambda: len(b.data()) == 100)
        assert b.data() == list(range(100))


async def test_who_reacts_to_a_newcomer_finds_it_already_knows_them(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async with start_cluster(start_hub, redis) as (one, two), seat(two, "old") as old:
        await old.join()
        for number in range(20):
            async with seat(one, f"new{number}") as new:
                await new.write(type="subscribe", channel="room")
                await old.sees(f"new{number}")
                await old.ask(type="send", to=f"new{number}", data="offer")
                await new.until(lambda new=new: bool(new.data()))  # type: ignore[misc]
                assert [frame["type"] for frame in new.frames] == ["ack", "presence", "direct"]
            await old.sees()


async def test_wildcards_hear_other_hubs_once_and_only_what_matches(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async with (
        start_cluster(start_hub, redis) as (one, two),
        seat(one, "watcher") as watcher,
        seat(two, "speaker") as speaker,
        seat(one, "other") as other,
    ):
        for name in ("x/*/z", "x/**", "x/1/z"):
            await watcher.join(name)
        await other.join(r"x/[a]?/*/\\\*")
        odd = r"x/[a]?/b/\*"
        for channel in ("x/1/z", "x/1/2/z", "y/1/z", r"x/a/b/\*", "x/[a]?/c", odd):
            await speaker.ask(type="publish", channel=channel, data=channel)
        await other.until(lambda: other.data() == [odd])
        await watcher.until(lambda: odd in watcher.data())
        assert watcher.data() == ["x/1/z", "x/1/2/z", r"x/a/b/\*", "x/[a]?/c", odd]
        # Redis takes both for the same; nobody goes deaf because another has heard enough.
        await other.join("x/**/z")
        await other.ask(type="unsubscribe", channel="x/**/z")
        await watcher.ask(type="unsubscribe", channel="x/**")
        await speaker.ask(type="publish", channel="x/9/9/9", data="unheard")
        await speaker.ask(type="publish", channel="x/9/z", data="heard")
        await watcher.until(lambda: watcher.data()[-1] == "heard")
        assert "unheard" not in watcher.data()


async def test_a_hub_follows_only_the_rooms_of_its_own_clients(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async def followed() -> set[str]:
        names = (await redis.command("PUBSUB", "CHANNELS")).split()
        return {name.partition(":0:")[2] for name in names if ":n:" not in name}

    async with start_cluster(start_hub, redis) as (one, two):
        limited = {"channels": ["mine"], "permissions": ["subscribe", "publish"]}
        async with seat(one, "a", **limited) as a, seat(two, "b") as b:
            assert (await a.ask(type="subscribe", channel="theirs"))["code"] == "channel_not_authorized"
            assert (await a.ask(type="send", to="b", data=1))["code"] == "action_not_permitted"
            assert (await a.ask(type="publish", channel="theirs", data=1))["code"] == "channel_not_authorized"
            await b.ask(type="publish", channel="theirs", data=1)
            assert await followed() == set()
            assert (await a.ask(type="subscribe", channel="mine"))["type"] == "ack"
            assert await followed() == {"m:mine", "p:mine"}
            await b.join("mine")
            await b.sees("a", channel="mine")
            await a.settle()
            assert a.of_type("presence") == []
        async with seat(two, "b") as b:
            await b.settle()
            assert await followed() == set()
    keys = {key.partition(":0:")[2].partition(":")[0] for key in (await redis.command("KEYS", "*")).split()}
    assert keys <= {"seq", "usage"}


async def test_one_peer_at_two_hubs_joins_once_and_leaves_once(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async with (
        start_cluster(start_hub, redis, 3) as hubs,
        seat(hubs[0], "w0") as w0,
        seat(hubs[1], "w1") as w1,
        seat(hubs[2], "w2") as w2,
        seat(hubs[2], "m2") as m2,
    ):
        watchers = (w0, w1, w2)
        barrier = Barrier([w0, w1, m2])
        await barrier.join()
        for watcher in watchers:
            await watcher.join()
        async with seat(hubs[1], "mover") as after:
            async with seat(hubs[0], "mover") as before:
                await before.join()
                await after.join()
                assert set(after.rosters["room"]) == {"w0", "w1", "w2"}
                assert (await w2.ask(type="send", to="mover", data="both"))["type"] == "ack"
                await before.until(lambda: before.data() == ["both"])
                await after.until(lambda: after.data() == ["both"])
                before.raw.websocket.transport.abort()
            while hubs[0].hub.rooms.connections_of("mover"):
                await asyncio.sleep(0.001)
            await barrier(*watchers)
            for watcher in watchers:
                assert "mover" in watcher.rosters["room"]
        for watcher in watchers:
            await watcher.sees(*{"w0", "w1", "w2"} - {watcher.peer_id})
            news = [frame for frame in watcher.of_type("presence") if "mover" in str(frame["left"])]
            assert len(news) == 1


# ---- the control plane ----------------------------------------------------------------------------------


async def test_the_control_plane_of_any_hub_reaches_everybody(
    start_hub: StartHub, redis: RedisServer
) -> None:
    async with start_cluster(start_hub, redis) as (one, two), httpx.AsyncClient() as http:

        async def rest(hub: RunningHub, method: str, path: str, **options: object) -> dict[str, object]:
            bearer = {"authorization": f"Bearer {hub.key_id}:{hub.secret}"}
            url = f"http://127.0.0.1:{hub.port}/v1/{path}"
            answer = await http.request(method, url, headers=bearer, **options)  # type: ignore[arg-type]
            assert answer.status_code == 200
            return answer.json()  # type: ignore[no-any-return]

        async with (
            seat(one, "a", peer_metadata={"name": "A"}) as a,
            seat(two, "a") as twin,
            seat(two, "b") as b,
        ):
            for someone in (a, twin, b):
                await someone.join()
            await a.sees("b")
            roster = await rest(two, "GET", "channels/room/peers")
            assert {peer["peerId"] for peer in roster["peers"]} == {"a", "b"}  # type: ignore[attr-defined]
            await rest(one, "POST", "channels/room/publish", json={"data": 7, "from": "system"})
            for someone in (a, twin, b):
                await someone.until(lambda someone=someone: someone.data() == [7])  # type: ignore[misc]
            await rest(two, "GET", "usage")
            usage = await rest(one, "GET", "usage")
            assert (usage["concurrentNow"], usage["peakConcurrent"], usage["messagesUsed"]) == (3, 3, 1)
            assert await rest(two, "DELETE", "peers/nobody") == {"peerId": "nobody", "closed": 0}
            assert await rest(one, "DELETE", "peers/a") == {"peerId": "a", "closed": 2}
            for someone in (a, twin):
                await someone.until(lambda someone=someone: someone.is_closed)  # type: ignore[misc]
                assert someone.raw.websocket.close_code == 4020
            await b.sees()
        assert (await rest(two, "GET", "usage"))["messagesUsed"] == 1


# ---- what comes from Redis ------------------------------------------------------------------------------


async def test_what_no_hub_wrote_is_dropped_and_counted(start_hub: StartHub, redis: RedisServer) -> None:
    before = metric("voice_agent_hub_cluster_malformed_total")
    async with start_cluster(start_hub, redis, 1) as (hub,), seat(hub, "a") as a:
        await a.join()
        node = next(name for name in (await redis.command("PUBSUB", "CHANNELS")).split() if ":n:" in name)
        await redis.command("HSET", "voice-agent:0:room:other", "x\ny", "not json")
        for channel, payload in (
            ("m:room", "rubbish"),
            ("m:room", 'node\n1\n{"type":"message","channel":"elsewhere","from":"x","data":1}'),
            ("m:room", "node\n1\n" + "[" * 2000),
            ("p:room", 'node\n1\n+{"peerId":""}'),
            ("p:room", 'node\none\n+{"peerId":"x"}'),
            (node.partition(":0:")[2], "kick"),
            (node.partition(":0:")[2], 'direct\na\n{"type":"welcome"}'),
        ):
            assert await redis.command("PUBLISH", f"voice-agent:0:{channel}", payload) == "1"
        await redis.command(
            "PUBLISH",
            "voice-agent:0:m:room",
            'node\n1\n{"type":"message","channel":"room","from":"x","data":"fine"}',
        )
        await a.until(lambda: a.data() == ["fine"])
        assert [frame["type"] for frame in a.frames] == ["ack", "presence", "message"]
    assert metric("voice_agent_hub_cluster_malformed_total") == before + 7


# ---- sound ----------------------------------------------------------------------------------------------


async def test_callers_of_different_hubs_hear_each_other(start_hub: StartHub, redis: RedisServer) -> None:
    async with (
        start_cluster(start_hub, redis) as (one, two),
        participant(one, "ann", says_hz=440) as ann,
        participant(two, "bob", says_hz=880) as bob,
    ):
        await ann.hears("bob", 880)
        await bob.hears("ann", 440)
