"""One stay of one process in the cluster: its lease, what it says to the others, and what it hears."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from agent.realtime.frames import Member
from agent.realtime.names import fixed_ends

from .cluster_wire import Beat, encode_member, encode_note
from .redis_link import RedisLink, database
from .redis_scripts import scripts
from .usage import Load, Totals

#: Beats that may be under way at a time; more of them unheard mean that the feed is dead.
MAX_UNHEARD_BEATS = 3

DEAD_PROCESSES = Counter(
    "voice_agent_hub_cluster_dead_processes", "Processes of the cluster that this one found dead."
)


def key_prefix(url: str) -> str:
    """What all names in Redis begin with. Pub/sub knows no databases, so the number is part of it."""
    return f"voice-agent:{database(url)}:"


def redis_glob(wildcard: str) -> str:
    """Redis' pattern for the channels that begin and end like those `wildcard` matches.

    It has one star, whatever the wildcard: Redis' matcher backtracks, and clients choose the wildcards.
    """
    before, after = (re.sub(r"[\\*?\[\]]", r"\\\g<0>", end) for end in fixed_ends(wildcard))
    return f"{before}*{after}"


@dataclass(frozen=True, slots=True)
class Room:
    """One room as Redis has it: after change `seq`, with the nodes whose lease has not ended."""

    seq: int
    alive: frozenset[str]
    #: (field, value) as they are stored.
    entries: tuple[tuple[bytes, bytes], ...]


class Bus:
    """Speaks to the others as `node`. Use `open`, then keep `run` running.

    Awaited methods raise `LinkLostError` when Redis is lost; the others are silent then.
    """

    def __init__(
        self, url: str, node: str, lease_s: float, on_message: Callable[[str, bytes, bytes], None]
    ) -> None:
        """`on_message` gets the kind of what arrives (``p`` presence, ``m`` message, ``n`` note), the
        channel and the payload."""
        self.node = node
        self._prefix = key_prefix(url)
        self._lease_s = lease_s
        self._on_message = on_message
        self._link = RedisLink(url, self._hear)
        self._scripts: dict[str, str] = {}
        self._unheard = 0
        self._is_new = True
        self._started_s = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether a whole lease has passed here: time enough for everybody to have come back."""
        return self._age_s >= self._lease_s

    @property
    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._started_s

    async def open(self) -> None:
        self._scripts = await self._link.open(scripts(self._prefix))

    async def run(self) -> None:
        """Until the link is lost, and raises `LinkLostError` then."""
        await self._link.run()

    async def register(self, load: Load) -> Totals:
        """Take the lease; from now on others reach this node."""
        await self._link.subscribe(f"{self._prefix}n:{self.node}")
        self._started_s = asyncio.get_running_loop().time()
        return await self.beat(load)

    async def beat(self, load: Load) -> Totals:
        """Renew the lease, and clear away what dead processes left behind.

        Who has just come back does not judge those whose lease ended before: after an outage that all of
        them saw that is everybody, and the first to return would declare the rest dead.
        """
        if self._unheard >= MAX_UNHEARD_BEATS:
            self._link.lose("messages do not come through any more")
        self._unheard += 1
        judges_ms = "" if self.is_settled else str(int(self._age_s * 1000))
        answer = await self._run(
            "beat",
            int(self._lease_s * 1000),
            "1" if self._is_new else "0",
            judges_ms,
            encode_note(Beat()),
            load.connections,
            load.messages,
            load.month,
        )
        self._is_new = False
        found, waiting, connections, messages, peak = answer
        DEAD_PROCESSES.inc(found)
        if waiting:
            await self._reap()
        return Totals(connections, messages, peak)

    async def bury(self, node: str) -> None:
        """Clear away what a former stay of this process, or this one at its end, left behind."""
        await self._link.call("EVALSHA", self._scripts["bury"], 0, node)
        await self._reap()

    def lose(self, why: str) -> None:
        self._link.lose(why)

    # ---- saying -------------------------------------------------------------------------------------

    def join(self, channel: str, member: Member) -> None:
        self._tell("join", channel, member.peer_id, encode_member(member))

    def leave(self, channel: str, peer_id: str) -> None:
        self._tell("leave", channel, peer_id)

    def peer(self, peer_id: str, connections: int) -> asyncio.Future[Any]:
        """How many connections this peer has here."""
        return self._run("peer", peer_id, connections)

    def publish(self, channel: str, payload: str) -> asyncio.Future[Any]:
        return self._link.call("PUBLISH", f"{self._prefix}m:{channel}", payload)

    async def notify(self, peer_id: str, note: str) -> int:
        """Say something to every other process the peer is connected to; returns how many connections of
        it those have."""
        return int(await self._run("notify", peer_id, note))

    async def load(self, channel: str) -> Room:
        """Who is in `channel`, everywhere."""
        seq, alive, flat = await self._link.call("EVALSHA", self._scripts["load"], 0, channel)
        nodes = frozenset(node.decode(errors="replace") for node in alive)
        return Room(int(seq), nodes, tuple(zip(flat[::2], flat[1::2], strict=True)))

    # ---- listening ----------------------------------------------------------------------------------

    async def follow(self, channel: str) -> None:
        """Hear of a room's messages and changes from now on."""
        await self._link.subscribe(f"{self._prefix}m:{channel}", f"{self._prefix}p:{channel}")

    def unfollow(self, channel: str) -> None:
        self._link.unsubscribe(f"{self._prefix}m:{channel}", f"{self._prefix}p:{channel}")

    async def follow_wildcard(self, wildcard: str) -> None:
        """Hear of the messages of every channel that `wildcard` matches, and of some that it does not."""
        await self._link.psubscribe(f"{self._prefix}m:{redis_glob(wildcard)}")

    def unfollow_wildcard(self, wildcard: str) -> None:
        self._link.punsubscribe(f"{self._prefix}m:{redis_glob(wildcard)}")

    def _hear(self, name: bytes, payload: bytes) -> None:
        kind, _, channel = name[len(self._prefix) :].partition(b":")
        if kind == b"n" and payload.startswith(b"beat\n"):
            self._unheard = 0
            return
        self._on_message(kind.decode(errors="replace"), channel, payload)

    # ---- scripts ------------------------------------------------------------------------------------

    def _tell(self, script: str, *arguments: str | int) -> None:
        self._link.tell("EVALSHA", self._scripts[script], 0, self.node, *arguments)

    def _run(self, script: str, *arguments: str | int) -> asyncio.Future[Any]:
        return self._link.call("EVALSHA", self._scripts[script], 0, self.node, *arguments)

    async def _reap(self) -> None:
        while await self._link.call("EVALSHA", self._scripts["reap"], 0):
            pass
