"""A network path in user space: what is written to one TUN device comes out of the other, or does not.

    python -m tests.netlab.path FD FD SEED

Runs as a process of its own, so that a busy test delays no packet. It is told what the path is like by JSON
lines on its standard input (the fields of `Conditions`), answers each with its counters, and ends with that
input.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import selectors
import struct
import sys
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from tests.netlab.reports import before_others

MAX_PACKET_BYTES = 65_536
#: More packets than these under way are dropped, as a router's queue would.
MAX_UNDER_WAY = 2000
TCP, UDP = 6, 17


@dataclass(frozen=True)
class Conditions:
    """What a path does to packets, in either direction."""

    delay_ms: float = 0.0
    #: Added to the delay, evenly between nothing and this. Packets never overtake each other.
    jitter_ms: float = 0.0
    #: The part of all packets that is lost.
    loss: float = 0.0
    #: Losses come in bursts which last so long on average (Gilbert's model, in time); 0: one by one.
    burst_ms: float = 0.0
    #: False: nothing gets through, and nobody is told.
    up: bool = True
    #: Transport protocols that get lost, by number.
    blocked: tuple[int, ...] = ()
    #: Only packets from or to these pass: (protocol, address, port). None: all.
    allowed: tuple[tuple[int, str, int], ...] | None = None


@dataclass
class Counters:
    passed: int = 0
    lost: int = 0
    #: Packets that were not on the list of what is allowed, UDP and TCP.
    refused_udp: int = 0
    refused_tcp: int = 0


class Fate:
    """Decides what becomes of each packet of one direction."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._is_bad = False
        self._changes_s = 0.0
        self._last_due_s = 0.0

    def is_lost(self, conditions: Conditions, now_s: float) -> bool:
        if not conditions.loss:
            return False
        if not conditions.burst_ms:
            return self._random.random() < conditions.loss
        bad_s = conditions.burst_ms / 1000
        good_s = bad_s * (1 - conditions.loss) / conditions.loss
        if self._changes_s < now_s - 10:
            self._is_bad, self._changes_s = False, now_s + self._random.expovariate(1 / good_s)
        while self._changes_s <= now_s:
            self._is_bad = not self._is_bad
            self._changes_s += self._random.expovariate(1 / (bad_s if self._is_bad else good_s))
        return self._is_bad

    def due_s(self, conditions: Conditions, now_s: float) -> float:
        delay_ms = conditions.delay_ms + conditions.jitter_ms * self._random.random()
        self._last_due_s = max(self._last_due_s, now_s + delay_ms / 1000)
        return self._last_due_s


def endpoints(packet: bytes) -> tuple[int, set[tuple[int, str, int]]]:
    """The protocol of an IPv4 packet, and who it is from and to."""
    protocol, header = packet[9], (packet[0] & 15) * 4
    if protocol not in (TCP, UDP) or len(packet) < header + 4:
        return protocol, set()
    ports = struct.unpack_from("!HH", packet, header)
    hosts = [".".join(map(str, packet[start : start + 4])) for start in (12, 16)]
    return protocol, {(protocol, host, port) for host, port in zip(hosts, ports, strict=True)}


class Path:
    def __init__(self, fds: tuple[int, int], seed: int) -> None:
        self._out = {fds[0]: fds[1], fds[1]: fds[0]}
        self._fates = {fd: Fate(seed + end) for end, fd in enumerate(fds)}
        self._conditions = Conditions()
        self._counters = Counters()
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        for fd in self._out:
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ)
        os.set_blocking(0, False)
        selector.register(0, selectors.EVENT_READ)
        orders = b""
        while True:
            wait_s = self._under_way[0][0] - time.monotonic() if self._under_way else None
            for key, _ in selector.select(wait_s if wait_s is None else max(0.0, wait_s)):
                if key.fd:
                    self._take(key.fd)
                    continue
                read = os.read(0, MAX_PACKET_BYTES)
                if not read:
                    return
                *lines, orders = (orders + read).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            self._deliver()

    def _obey(self, order: dict[str, Any]) -> None:
        known = {field.name for field in fields(Conditions)}
        if given := {name: value for name, value in order.items() if name in known}:
            if given.get("allowed") is not None:
                given["allowed"] = tuple(tuple(entry) for entry in given["allowed"])
            self._conditions = Conditions(**given)
            # What was under way on the path of before is not delivered by a dead one.
            if not self._conditions.up:
                self._under_way.clear()
        print(json.dumps(asdict(self._counters)), flush=True)

    def _take(self, fd: int) -> None:
        for _ in range(64):
            try:
                packet = os.read(fd, MAX_PACKET_BYTES)
            except (BlockingIOError, OSError):
                # OSError: the device is down.
                return
            self._handle(fd, packet, time.monotonic())

    def _handle(self, fd: int, packet: bytes, now_s: float) -> None:
        conditions, fate = self._conditions, self._fates[fd]
        if packet[0] >> 4 != 4:
            return
        if self._is_refused(packet):
            return
        is_lost = fate.is_lost(conditions, now_s)
        if not conditions.up or is_lost or len(self._under_way) >= MAX_UNDER_WAY:
            self._counters.lost += 1
            return
        self._number += 1
        heapq.heappush(self._under_way, (fate.due_s(conditions, now_s), self._number, self._out[fd], packet))

    def _is_refused(self, packet: bytes) -> bool:
        conditions = self._conditions
        if not conditions.blocked and conditions.allowed is None:
            return False
        protocol, ends = endpoints(packet)
        if protocol not in conditions.blocked and (
            conditions.allowed is None or not ends.isdisjoint(conditions.allowed)
        ):
            return False
        self._counters.refused_udp += protocol == UDP
        self._counters.refused_tcp += protocol == TCP
        return True

    def _deliver(self) -> None:
        now_s = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now_s:
            _, _, fd, packet = heapq.heappop(self._under_way)
            try:
                os.write(fd, packet)
                self._counters.passed += 1
            except (BlockingIOError, OSError):
                self._counters.lost += 1


if __name__ == "__main__":
    before_others()
    Path((int(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])).run()
