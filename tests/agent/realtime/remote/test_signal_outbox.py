"""Signals whose delivery the server confirms late, never, or denies."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.realtime import AudioSource
from agent.realtime.negotiation import signals
from agent.realtime.negotiation.signals import Candidate, TrackMeta, Unusable
from agent.realtime.remote.outbox import MAX_UNDER_WAY, Outbox
from agent.realtime.remote.remote_peer import RemotePeer
from agent.realtime.remote.surroundings import Surroundings
from agent.realtime.room.pacing import Pacer
from agent.realtime.sending.tracks import Outgoing


def a_track(metadata: dict[str, Any] | None) -> Outgoing:
    return Outgoing(AudioSource(), "voice", metadata, None, asyncio.create_task)


class Post:
    """Takes everything; what it says of that, and when, is for the test to decide."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.answers: list[asyncio.Future[bool]] = []
        self._changed = asyncio.Event()

    async def send(self, data: Any) -> bool:
        self.taken.append(data)
        self.answers.append(asyncio.get_running_loop().create_future())
        self._changed.set()
        return await self.answers[-1]

    async def until(self, count: int) -> None:
        while len(self.taken) < count:
            self._changed.clear()
            await self._changed.wait()


async def test_all_leaves_in_order_before_anything_is_confirmed() -> None:
    post, undelivered = Post(), list[str]()
    track = a_track({"role": "agent"})
    async with Outbox(post.send, turn=Pacer().turn, undelivered=undelivered.append) as outbox:
        await outbox.tell([track])
        await outbox.describe("offer", "one", is_complete=False)
        await outbox.propose(Candidate("candidate:1", "0", 0))
        await outbox.describe("answer", "two", is_complete=True)
        await post.until(5)
        assert post.taken == [
            signals.track_meta(track.meta()),
            signals.description("offer", "one"),
            signals.candidate(Candidate("candidate:1", "0", 0)),
            signals.description("answer", "two"),
            signals.candidate(Candidate(None)),
        ]
        for answer, is_taken in zip(post.answers, (True, False, False, True, False), strict=True):
            answer.set_result(is_taken)
    assert undelivered == ["one"]


async def test_what_was_not_told_is_told_the_next_time_and_the_rest_is_not() -> None:
    post = Post()
    track = a_track({"role": "agent"})
    clear = signals.track_meta(TrackMeta(track.track_id, None))

    async with Outbox(post.send, turn=Pacer().turn, undelivered=lambda _: None) as outbox:
        for number, (wanted, is_taken) in enumerate(
            [([track], False), ([track], True), ([], False), ([], True)], start=1
        ):
            await outbox.tell(wanted)
            await post.until(number)
            post.answers[-1].set_result(is_taken)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await outbox.tell([])
    said = signals.track_meta(track.meta())
    assert post.taken == [said, said, clear, clear]


async def test_few_are_under_way_and_leaving_gives_them_up() -> None:
    post = Post()

    async def propose_without_end() -> None:
        async with Outbox(post.send, turn=Pacer().turn, undelivered=lambda _: None) as outbox:
            while True:
                await outbox.propose(Candidate("candidate:1", "0", 0))

    proposing = asyncio.create_task(propose_without_end())
    await post.until(MAX_UNDER_WAY)
    await asyncio.sleep(0)
    assert len(post.taken) == MAX_UNDER_WAY
    post.answers[3].set_result(True)
    await post.until(MAX_UNDER_WAY + 1)
    proposing.cancel()
    await asyncio.wait([proposing])
    assert proposing.cancelled()
    assert [answer.cancelled() for answer in post.answers] == [n != 3 for n in range(MAX_UNDER_WAY + 1)]


async def test_nothing_leaves_before_its_turn() -> None:
    post, turns = Post(), asyncio.Semaphore(0)

    async def turn() -> None:
        await turns.acquire()

    async with Outbox(post.send, turn=turn, undelivered=lambda _: None) as outbox:
        describing = asyncio.create_task(outbox.describe("offer", "one", is_complete=True))
        for count in (1, 2):
            await asyncio.sleep(0)
            assert len(post.taken) == count - 1
            turns.release()
            await post.until(count)
        await describing
        for answer in post.answers:
            answer.set_result(True)


async def test_two_peers_connect_though_the_server_confirms_nothing() -> None:
    """Neither waits for the word of the server: an answer shows that an offer arrived."""
    peers: dict[str, RemotePeer] = {}

    async def never_confirmed(to: str, data: Any) -> bool:
        # Each sees the other under the other's id.
        signal = signals.parse(data)
        assert signal is not None
        assert not isinstance(signal, Unusable)
        peers["alice" if to == "bob" else "bob"].deliver(signal)
        await asyncio.Event().wait()
        return False

    async with asyncio.TaskGroup() as tasks:
        around = Surroundings(
            send=never_confirmed,
            turn=Pacer().turn,
            is_online=lambda: True,
            check_line=lambda: None,
            ice_servers=lambda: (),
            relay_only=False,
            outgoing=lambda _: (),
            receive_video=False,
            emit=lambda _: None,
            spawn=tasks.create_task,
        )
        runs = []
        for name in ("alice", "bob"):
            peers[name] = RemotePeer(name, None, polite=name == "alice", around=around)
            runs.append(tasks.create_task(peers[name].run()))
        channel = await peers["bob"].create_data_channel("hello")
        assert channel.state == "open"
        for run in runs:
            run.cancel()
