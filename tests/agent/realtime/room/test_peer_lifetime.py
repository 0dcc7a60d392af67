"""What peers leave behind when they go, and what they refuse."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from agent.realtime import (
    FatalError,
    NotConnectedError,
    Peer,
    PeerJoined,
    PeerLeft,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
    StateChanged,
    mint_token,
)
from tests.agent.realtime.peer_parts import (
    Cable,
    both_hear,
    participant,
    token_provider,
)
from tests.conftest import RunningHub, StartHub


def open_sockets() -> int:
    entries = Path("/proc/self/fd").iterdir()
    return sum("socket:" in str(entry.readlink()) for entry in entries if entry.is_symlink())


def decoder_threads() -> int:
    """Threads, without those of the loop's pool, which stay for the next use."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def until_only(tasks: set[asyncio.Task]) -> None:
    """Wait for the end of every other task."""
    while others := asyncio.all_tasks() - tasks - {asyncio.current_task()}:
        await asyncio.wait(others)


async def test_joining_and_leaving_leaves_nothing_behind(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice:
        await alice.event(StateChanged, remote=None, state="joined")
        tasks, threads, sockets = asyncio.all_tasks(), decoder_threads(), open_sockets()
        for _ in range(5):
            alice.seen.clear()
            async with participant(hub, "bob", says_hz=1000) as bob:
                await both_hear(alice, bob)
            await alice.event(PeerLeft)
            await until_only(tasks)
            assert decoder_threads() <= threads
            while open_sockets() > sockets:
                await asyncio.sleep(0.01)


async def test_leaving_in_the_middle_of_connecting_leaves_nothing_behind(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice:
        await alice.event(StateChanged, remote=None, state="joined")
        tasks = asyncio.all_tasks()
        for _ in range(5):
            alice.seen.clear()
            async with participant(hub, "bob", says_hz=1000) as bob:
                await bob.event(PeerJoined, remote="alice")
            await alice.event(PeerLeft)
            await until_only(tasks)
        assert not alice.peer.remote_peers


async def test_an_error_in_the_block_arrives_as_it_was_raised(hub: RunningHub):
    async def call():
        async with Peer(hub.url, key=hub.key) as peer:
            await peer.join("room")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call()


async def test_cancelling_the_block_closes_the_peer(hub: RunningHub):
    joined = asyncio.Event()

    async def call():
        async with Peer(hub.url, key=hub.key) as peer:
            await peer.join("room")
            joined.set()
            async for _ in peer.events():
                pass

    calling = asyncio.create_task(call())
    await joined.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_what_a_peer_refuses(hub: RunningHub):
    async with Peer(hub.url, key=hub.key) as peer:
        with pytest.raises(NotConnectedError):
            await peer.send("too early")
        with pytest.raises(ValueError, match="reserved"):
            await peer.join("_Metered/x")
        with pytest.raises(ValueError, match="1-256"):
            await peer.join("")
        with pytest.raises(ValueError, match="stream_id"):
            peer.add_track(None, stream_id="a b")
        await peer.join("room")
        with pytest.raises(SignallingError, match="is in no room"):
            await peer.join("room")
        with pytest.raises(ValueError, match="itself"):
            await peer.send_to(peer.peer_id, "hello")
        with pytest.raises(ServerRequestError, match="peer_not_found"):
            await peer.send_to("nobody", "hello")


async def test_a_refused_room_can_be_followed_by_another(hub: RunningHub):
    async def provide() -> str:
        return mint_token(hub.key_id, hub.secret, peer_id="narrow", channels=["allowed"])[0]

    async with Peer(hub.url, token_provider=provide) as peer:
        with pytest.raises(ServerRequestError, match="channel_not_authorized"):
            await peer.join("forbidden")
        assert peer.state == "idle"
        await peer.join("allowed")
        assert (peer.state, peer.channel) == ("joined", "allowed")


async def test_a_failed_first_connection_can_be_tried_again(start_hub: StartHub):
    async with start_hub() as hub:
        port = hub.port
    async with Peer(f"ws://127.0.0.1:{port}", token_provider=token_provider(hub, "alice")) as peer:
        with pytest.raises(SignallingConnectError):
            await peer.join("room")
        assert peer.state == "idle"
        async with start_hub(port=port) as again:
            with pytest.raises(SignallingConnectError):
                await peer.join("room")
            assert again.key_id != hub.key_id


async def test_losing_the_room_for_good_is_a_fatal_error_and_ends_the_events(hub: RunningHub):
    async with Cable(hub.port) as cable, Peer(cable.url, key=hub.key, reconnect=None) as peer:
        await peer.join("room")
        cable.pull()
        events = [event async for event in peer.events()]
    assert isinstance(events[-2], FatalError)
    assert events[-1] == StateChanged(None, "closed")
