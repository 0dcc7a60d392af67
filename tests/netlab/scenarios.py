"""What networks do to calls: each scenario is played in a lab and ends in an `Outcome`.

The tests of networks and the benchmark of networks share them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.netlab.lab import HUB_HOST, HUB_PORT, TURN_HOST, Client, Lab, NamespaceLab, now_s
from tests.netlab.path import TCP, UDP, Conditions
from tests.netlab.processes import Process
from tests.turn_server import turn_server

#: To join and hear each other.
CONNECT_S = 30.0
#: Both hear each other for so long before anything happens, and for so long after all is well.
STEADY_S = 2.0
AFTER_S = 4.0
#: What is heard in so long a time of somebody who is heard at all: over a bad path half of it is missing.
LAST_S = 3.0
HEARD_MS = 750

TURN_PORT, TURNS_PORT = 3478, 5349
HUB = (TCP, HUB_HOST, HUB_PORT)
Transport = Literal["udp", "tcp", "tls"]
TURN_ENDS: dict[Transport, tuple[int, str, int]] = {
    "udp": (UDP, TURN_HOST, TURN_PORT),
    "tcp": (TCP, TURN_HOST, TURN_PORT),
    "tls": (TCP, TURN_HOST, TURNS_PORT),
}


@dataclass(frozen=True)
class Pair:
    """Who calls whom. With other ids it is the other side that yields when both offer at once."""

    room: Client
    caller: Client
    room_id: str = "agent"
    caller_id: str = "caller"
    #: The interpreter of the vendor's client.
    vendor_python: str = sys.executable

    @property
    def name(self) -> str:
        return f"{self.room}-{self.caller}"


@dataclass
class Outcome:
    """Seconds; of both directions always the worse one."""

    scenario: str
    pair: str
    #: They heard each other, within `CONNECT_S`, before anything happened to them.
    connected: bool = False
    #: From both joining to both heard.
    connected_after_s: float | None = None
    #: They hear each other again in the end.
    back: bool = False
    #: From the moment the network works again until sound flows, and goes on doing so.
    back_after_s: float | None = None
    #: The same for data messages.
    data_back_after_s: float | None = None
    #: Sound that was said and not heard, from the first fault on.
    missed_s: float | None = None
    #: The longest time without any sound.
    gap_s: float | None = None
    #: How long was listened, from the first fault on.
    listened_s: float | None = None
    #: How many packets tried a way they were not allowed.
    refused_udp: int = 0
    refused_tcp: int = 0


@dataclass(frozen=True)
class Stage:
    """A lab with two people in it."""

    lab: Lab
    room: Process
    caller: Process
    hub: Process

    @property
    def both(self) -> tuple[Process, Process]:
        return self.room, self.caller


@dataclass(frozen=True)
class Scenario:
    name: str
    #: As the table shows it.
    title: str
    #: Does its worst, and returns the moment from which the network works again.
    hurt: Callable[[Stage], Awaitable[float]]
    #: How long it takes without the wait for what comes back.
    takes_s: float
    #: What the path is like from the beginning.
    conditions: Conditions = field(default_factory=Conditions)
    #: TURN servers by all three transports are offered, of which this one works and no direct way does.
    turn: Transport | None = None

    #: A relay of packets cannot play it.
    needs_namespaces: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether the path stays as it is, so that there is nothing to come back from."""
        return self.hurt is _nothing_more


async def _nothing_more(stage: Stage) -> float:
    moment_s = now_s()
    await asyncio.sleep(10)
    return moment_s


def _for_a_while(seconds: float, conditions: Conditions) -> Callable[[Stage], Awaitable[float]]:
    async def hurt(stage: Stage) -> float:
        await stage.lab.path.set(conditions)
        await asyncio.sleep(seconds)
        await stage.lab.path.set(Conditions())
        return now_s()

    return hurt


async def _device_down(stage: Stage) -> float:
    assert isinstance(stage.lab, NamespaceLab)
    await stage.lab.link(up=False)
    await asyncio.sleep(3)
    await stage.lab.link(up=True)
    return now_s()


async def _other_address(stage: Stage) -> float:
    assert isinstance(stage.lab, NamespaceLab)
    await stage.lab.change_address()
    return now_s()


async def _hub_killed(stage: Stage) -> float:
    await stage.hub.kill()
    await asyncio.sleep(2)
    await stage.lab.hub()
    return now_s()


def _turn_only(transport: Transport) -> Scenario:
    allowed = Conditions(delay_ms=10, allowed=(HUB, TURN_ENDS[transport]))
    title = f"TURN only, {transport.upper()}"
    return Scenario(f"turn-{transport}", title, _nothing_more, 16, allowed, transport, True)


LOSS_5 = Conditions(loss=0.05, delay_ms=40)
BURSTS_20 = Conditions(loss=0.20, burst_ms=80, delay_ms=20)
ALL = (
    Scenario("loss-5", "5 % loss, 40 ms delay each way", _nothing_more, 16, LOSS_5),
    Scenario("bursts-20", "20 % loss in bursts of 80 ms", _nothing_more, 16, BURSTS_20),
    Scenario("device-down", "network device down for 3 s", _device_down, 10, needs_namespaces=True),
    Scenario("outage-45", "45 s without network", _for_a_while(45, Conditions(up=False)), 52),
    Scenario("address", "caller gets another address", _other_address, 8, needs_namespaces=True),
    Scenario("hub-killed", "hub killed, back after 2 s", _hub_killed, 10),
    Scenario("signalling", "20 s without signalling", _for_a_while(20, Conditions(blocked=(TCP,))), 27),
    *(_turn_only(transport) for transport in TURN_ENDS),
)
BY_NAME = {scenario.name: scenario for scenario in ALL}


async def play(lab: Lab, scenario: Scenario, pair: Pair, *, wait_s: float) -> Outcome:
    """Have two people talk, do `scenario` to them, and wait up to `wait_s` until they talk again."""
    outcome = Outcome(scenario.name, pair.name)
    await lab.path.set(scenario.conditions)
    async with _turn_servers(lab, scenario) as ice_servers, _stage(lab, pair, ice_servers) as stage:
        started_s = now_s()
        heard_s = await _hear_each_other(stage, started_s, CONNECT_S)
        if heard_s is not None:
            joining_s = max(
                event["t"] for one in stage.both for event in one.events if event["event"] == "joining"
            )
            outcome.connected, outcome.connected_after_s = True, heard_s - joining_s
            await asyncio.sleep(STEADY_S)
            await _hurt(stage, scenario, wait_s, outcome)
        counters = await lab.path.counters()
        outcome.refused_udp, outcome.refused_tcp = counters.refused_udp, counters.refused_tcp
    return outcome


async def _hurt(stage: Stage, scenario: Scenario, wait_s: float, outcome: Outcome) -> None:
    start_s = now_s()
    restored_s = await scenario.hurt(stage)
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await _settled(stage, restored_s)
    end_s = now_s()
    heard = [one.heard for one in stage.both]
    outcome.back = all(one.heard_ms(end_s - LAST_S, end_s) >= HEARD_MS for one in heard)
    if outcome.back:
        outcome.back_after_s = max(one.gap_ends_s(restored_s, end_s) for one in heard) - restored_s
    data_s = [_first_data_s(one, restored_s) for one in stage.both]
    if None not in data_s:
        outcome.data_back_after_s = max(filter(None, data_s)) - restored_s
    outcome.missed_s = max(one.missed_ms(start_s, end_s) for one in heard) / 1000
    outcome.gap_s = max(one.longest_gap_s(start_s, end_s) for one in heard)
    outcome.listened_s = end_s - start_s


async def _settled(stage: Stage, after_s: float) -> None:
    """Messages flow, and sound has flowed for a while since: whatever their return sets off is over."""
    while (quiet_s := _all_back_since_s(stage, after_s) + AFTER_S - now_s()) > 0:
        await asyncio.sleep(min(quiet_s, 0.5))


def _all_back_since_s(stage: Stage, after_s: float) -> float:
    moments = []
    for one in stage.both:
        data_s = _first_data_s(one, after_s)
        if data_s is None:
            return now_s()
        moments += [data_s, one.heard.gap_ends_s(after_s, now_s())]
    return max(moments)


async def _hear_each_other(stage: Stage, after_s: float, within_s: float) -> float | None:
    moments = await asyncio.gather(*(one.hears_after(after_s, within_s) for one in stage.both))
    return None if None in moments else max(moments)  # type: ignore[type-var]


def _first_data_s(one: Process, after_s: float) -> float | None:
    """When the first data message came that was sent after that moment."""
    came = (event for event in one.events if event["event"] == "data" and event["sent_s"] >= after_s)
    return min((event["t"] for event in came), default=None)


@asynccontextmanager
async def _stage(lab: Lab, pair: Pair, ice_servers: list[dict[str, Any]]) -> AsyncIterator[Stage]:
    hub = await lab.hub()
    room, caller = [
        await lab.speaker(side, client, peer_id, ice_servers=ice_servers, python=pair.vendor_python)
        if client == "vendor"
        else await lab.speaker(side, client, peer_id, ice_servers=ice_servers)
        for side, client, peer_id in (
            ("room", pair.room, pair.room_id),
            ("caller", pair.caller, pair.caller_id),
        )
    ]
    yield Stage(lab, room, caller, hub)


@asynccontextmanager
async def _turn_servers(lab: Lab, scenario: Scenario) -> AsyncIterator[list[dict[str, Any]]]:
    if scenario.turn is None:
        yield []
        return
    assert isinstance(lab, NamespaceLab)
    files = lab.certificates
    # Behind the server's own options: these count.
    options = (f"--cert={files.certificate}", f"--pkey={files.private_key}")
    # See `reports.before_others`.
    first = ("chrt", "--rr", "1") if shutil.which("chrt") else ()
    server = turn_server(host=TURN_HOST, port=TURN_PORT, prefix=lab.inside("room", *first), options=options)
    async with server as running:
        # As a deployment lists them: which of them works is for the client to find out.
        urls = [running.udp, running.tcp, f"turns:{TURN_HOST}:{TURNS_PORT}?transport=tcp"]
        yield [{"urls": urls, "username": running.username, "credential": running.password}]


def why_no_turn() -> str | None:
    return None if shutil.which("turnserver") else "no turnserver found: install coturn"
