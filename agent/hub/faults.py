"""Faults on purpose, between the hub and the connections it serves: how a client behaves on a bad day.

Written as they are on the command line::

    drop=P          a frame is lost                                   0 … 1
    duplicate=P     a frame arrives twice                             0 … 1
    reorder=P       a frame is overtaken by those after it            0 … 1
    malformed=P     a frame is cut off somewhere                      0 … 1
    delay_ms=MS     every frame takes this much longer                0 … 60000
    close=CODE@N    the connection is closed with CODE at its N-th frame, counted both ways (N: 1)
    omit_snapshot   a subscribe is answered without the roster
    deny_send       every send is answered action_not_permitted
    expire_s=S      the connection is closed with 4002 after S seconds, whatever its token says
    seed=N          other dice

The first five concern both directions, or one: ``in:drop=0.1`` what clients send, ``out:drop=0.1`` what they
receive. The welcome and going_away are spared: faults begin where a connection has begun and end before it
ends. The dice of one connection depend on the seed and on how many connected before it, nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import Counter

from agent.realtime.codes import CloseCode, ErrorCode
from agent.realtime.frames import ClientFrame, ErrorFrame, FrameError, Send, encode
from agent.realtime.frames import parse_client_frame as parse

from .connection import Connection

ACCEPTED = (
    "accepted are drop=P, duplicate=P, reorder=P, malformed=P (0-1) and delay_ms=MS (0-60000), each for one "
    "direction with in: or out: before it; close=CODE@N (1000-1003, 1007-1014, 3000-4999), omit_snapshot, "
    "deny_send, expire_s=S, seed=N"
)
#: How long a frame is held back so that others overtake it.
REORDER_S = 0.1
#: Frames on their way in one direction of one connection; more are lost.
MAX_HELD_FRAMES = 1024
_SPARED = ('{"type":"welcome"', '{"type":"going_away"')

FAULTS = Counter("voice_agent_hub_faults", "Faults made on purpose.", ["fault"])


@dataclass(frozen=True, slots=True)
class Odds:
    """What happens to the frames of one direction: probabilities, and a delay for all of them."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    malformed: float = 0.0
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of every connection of a hub."""

    #: What clients send, and what they receive.
    inward: Odds = field(default_factory=Odds)
    outward: Odds = field(default_factory=Odds)
    close_code: int | None = None
    close_at_frame: int = 1
    omit_snapshot: bool = False
    deny_send: bool = False
    expire_s: float | None = None
    seed: int = 0


def parse_faults(items: Iterable[str]) -> Faults:
    """Read faults as they are written on the command line. Raises `ValueError` naming what is accepted."""
    faults = Faults()
    for item in items:
        try:
            faults = _with(faults, item)
        except ValueError:
            raise ValueError(f"'{item}' is not a fault: {ACCEPTED}") from None
    return faults


def _with(faults: Faults, item: str) -> Faults:
    name, equals, value = item.partition("=")
    direction, colon, odd = name.rpartition(":")
    if odd in Odds.__dataclass_fields__:
        if direction not in {"", "in", "out"} or (colon and not direction):
            raise ValueError
        change = {odd: _between(value, 0, 60_000 if odd == "delay_ms" else 1)}
        inward = faults.inward if direction == "out" else replace(faults.inward, **change)
        outward = faults.outward if direction == "in" else replace(faults.outward, **change)
        return replace(faults, inward=inward, outward=outward)
    match name:
        case "omit_snapshot" if not equals:
            return replace(faults, omit_snapshot=True)
        case "deny_send" if not equals:
            return replace(faults, deny_send=True)
        case "expire_s":
            return replace(faults, expire_s=_between(value, 0, 86_400))
        case "seed":
            return replace(faults, seed=int(value))
        case "close":
            code, at, count = value.partition("@")
            after = int(count) if at else 1
            if after < 1 or not _is_sendable(int(code)):
                raise ValueError
            return replace(faults, close_code=int(code), close_at_frame=after)
    raise ValueError


def _between(text: str, low: float, high: float) -> float:
    number = float(text)
    if not low <= number <= high:
        raise ValueError
    return number


def _is_sendable(code: int) -> bool:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


class Dice:
    """Decides what becomes of each frame of one direction. Pure."""

    def __init__(self, odds: Odds, seed: str) -> None:
        self._odds = odds
        # Not for secrets: the same seed has to give the same faults.
        self._random = random.Random(seed)

    def throw(self, text: str) -> list[tuple[float, str]]:
        """What arrives in place of `text`, each with its delay in seconds."""
        delay_s = self._odds.delay_ms / 1000
        if self._happens("drop"):
            return []
        if self._happens("malformed"):
            text = text[: self._random.randrange(len(text))] if text else "{"
        if self._happens("reorder"):
            delay_s += REORDER_S
        return [(delay_s, text)] * (2 if self._happens("duplicate") else 1)

    def _happens(self, fault: str) -> bool:
        # Thrown whatever the odds, so that one fault does not change the luck of the others.
        happens: bool = self._random.random() < getattr(self._odds, fault)
        if happens:
            FAULTS.labels(fault).inc()
        return happens


class _Line:
    """One direction: hands frames on when their time has come, in order where times are equal."""

    def __init__(self, dice: Dice, deliver: Callable[[str], None]) -> None:
        self._dice = dice
        self._deliver = deliver
        self._held: list[tuple[float, int, str]] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._count = itertools.count()

    def put(self, text: str) -> None:
        for delay_s, arriving in self._dice.throw(text):
            if delay_s == 0 and not self._held:
                self._deliver(arriving)
            elif len(self._held) < MAX_HELD_FRAMES:
                loop = asyncio.get_running_loop()
                due_s = loop.time() + delay_s
                heapq.heappush(self._held, (due_s, next(self._count), arriving))
                self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
                self._timers.add(loop.call_at(due_s, self._next))

    def _next(self) -> None:
        if self._held:
            self._deliver(heapq.heappop(self._held)[2])

    def stop(self) -> None:
        self._held.clear()
        for timer in self._timers:
            timer.cancel()


class FaultyConnection(Connection):
    """A connection with `faults` between it and the hub."""

    def __init__(self, *arguments: Any, faults: Faults, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._faults = faults
        self._handle: Callable[[ClientFrame], None] | None = None
        self._frames_seen = 0
        dice = [
            Dice(odds, f"{faults.seed}/{self.id}/{direction}")
            for direction, odds in (("in", faults.inward), ("out", faults.outward))
        ]
        self._in, self._out = _Line(dice[0], self._take_arrived), _Line(dice[1], super().send)

    async def run(
        self,
        handle: Callable[[ClientFrame], None],
        leave: Callable[[], None],
        drained: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._handle = handle
        expiry = None
        if (expire_s := self._faults.expire_s) is not None:
            loop = asyncio.get_running_loop()
            expiry = loop.call_later(expire_s, self._make, "expire", CloseCode.TOKEN_EXPIRED)
        try:
            await super().run(handle, leave, drained)
        finally:
            if expiry is not None:
                expiry.cancel()
            self._in.stop()
            self._out.stop()

    def send(self, text: str, size_bytes: int | None = None) -> None:
        if text.startswith(_SPARED):
            super().send(text, size_bytes)
        else:
            self._out.put(text)
        self._count_frame()

    def send_roster(self, text: str, size_bytes: int) -> None:
        if self._faults.omit_snapshot:
            FAULTS.labels("omit_snapshot").inc()
            self._count_frame()
        else:
            super().send_roster(text, size_bytes)

    def _take(self, text: str | None, data: bytes | None, handle: Callable[[ClientFrame], None]) -> None:
        if text is None:
            super()._take(text, data, handle)
        else:
            self._in.put(text)
        self._count_frame()

    def _take_arrived(self, text: str) -> None:
        if self._closing is not None or self._handle is None:
            return
        frame = _parsed(text)
        if self._faults.deny_send and isinstance(frame, Send):
            FAULTS.labels("deny_send").inc()
            refusal = ErrorFrame(ErrorCode.ACTION_NOT_PERMITTED, frame.request_id, "denied on purpose")
            self.send(encode(refusal))
            return
        super()._take(text, None, self._handle)

    def _count_frame(self) -> None:
        self._frames_seen += 1
        if self._faults.close_code is not None and self._frames_seen == self._faults.close_at_frame:
            self._make("close", self._faults.close_code)

    def _make(self, fault: str, code: int) -> None:
        FAULTS.labels(fault).inc()
        self.close(code, "closed on purpose")


def _parsed(text: str) -> ClientFrame | None:
    try:
        return parse(text)
    except FrameError:
        return None
