"""Joining when the server is not there to the end of it, and what comes after the end."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent.realtime import DisconnectedError, FatalError, NotConnectedError, Peer, PeerJoined
from tests.agent.realtime.peer_parts import PROMPT
from tests.agent.realtime.scripted_server import TEXT, WELCOME, Wire, scripted_server


async def lost_while_joining(wire: Wire) -> None:
    await wire.accept()
    wire.say(WELCOME)
    await wire.hear_text()


async def test_a_room_can_be_joined_after_the_line_was_lost_while_joining_another() -> None:
    subscribed: list[str] = []

    async def obliging(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        while (frame := await wire.hear())[0] == TEXT:
            request = json.loads(frame[1])
            if request["type"] == "subscribe":
                subscribed.append(request["channel"])
            wire.say(json.dumps({"type": "ack", "requestId": request["requestId"]}))

    async with (
        scripted_server(lost_while_joining, obliging) as url,
        Peer(url, key="k", reconnect=PROMPT) as peer,
    ):
        with pytest.raises(DisconnectedError):
            await peer.join("room")
        assert (peer.state, peer.channel) == ("idle", None)
        while peer.state != "joined":
            try:
                await peer.join("another")
            except (NotConnectedError, DisconnectedError):
                assert (peer.state, peer.channel) == ("idle", None)
                await asyncio.sleep(0.01)
        assert peer.channel == "another"
    assert set(subscribed) == {"another"}, "nobody is to be a member of a room without knowing"


async def test_after_a_fatal_error_nobody_comes_any_more() -> None:
    came_back = asyncio.Event()

    async def thrown_out(wire: Wire) -> None:
        await wire.accept()
        wire.say(WELCOME)
        request = json.loads(await wire.hear_text())
        wire.say(
            json.dumps({"type": "ack", "requestId": request["requestId"]}),
            json.dumps({"type": "presence", "channel": "room", "joined": [], "left": []}),
            json.dumps({"type": "error", "code": "channel_not_authorized"}),
            json.dumps({"type": "presence", "channel": "room", "joined": [{"peerId": "bob"}], "left": []}),
        )
        await wire.flush()

    async def again(wire: Wire) -> None:
        await wire.accept()
        came_back.set()
        await wire.until_gone()

    met: list[str] = []
    async with (
        scripted_server(thrown_out, again) as url,
        Peer(url, key="k", reconnect=PROMPT) as peer,
    ):
        peer.on(PeerJoined, lambda event: met.append(event.remote.id))
        await peer.join("room")
        events = [event async for event in peer.events()]
        assert [event.code for event in events if isinstance(event, FatalError)] == ["channel_not_authorized"]
        await came_back.wait()
        assert (met, dict(peer.remote_peers)) == ([], {})
        assert peer.state == "closed"
