"""Our peer and the vendor's Python client in one room, through our hub."""

from __future__ import annotations

import functools

import pytest

from agent.realtime import IceServer
from tests.agent.realtime.peer_parts import Cable
from tests.conftest import RunningHub, StartHub
from tests.interop.scenarios import (
    HZ,
    NO_SERVERS,
    both,
    come_back_from_a_lost_path,
    come_back_from_a_lost_server,
    hear_each_other,
    leave_and_return,
    orders,
    read_each_other,
    roles,
    slow_roles,
)
from tests.interop.sides import ours, vendor_python
from tests.turn_server import turn_server

VOICE = ["vendor-voice"]


@roles
@orders
async def test_sound_and_messages_both_ways(hub: RunningHub, our_id: str, swapped: bool) -> None:
    async with both(hub, ours, vendor_python, (our_id, "caller"), swapped=swapped) as (we, they):
        await hear_each_other(we, they)
        await read_each_other(we, they)
        assert they.tracks == [(our_id, [f"{our_id}-voice"], {"role": "test"})]
        assert we.tracks() == [("caller", "vendor-voice", {"role": "caller"})]


@roles
async def test_one_that_only_listens_hears(hub: RunningHub, our_id: str) -> None:
    async with ours(hub, our_id, HZ[0]) as we, vendor_python(hub, "caller") as they:
        await they.hears(we)
        assert they.tracks == [(our_id, [f"{our_id}-voice"], {"role": "test"})]


@slow_roles
async def test_one_that_only_listens_is_us(hub: RunningHub, our_id: str) -> None:
    async with ours(hub, our_id) as we, vendor_python(hub, "caller", HZ[1]) as they:
        await we.hears(they)
        assert we.tracks() == [("caller", "vendor-voice", {"role": "caller"})]


@pytest.mark.parametrize("swapped", [False, True], ids=["we return", "they return"])
@slow_roles
async def test_leaving_and_returning(hub: RunningHub, our_id: str, swapped: bool) -> None:
    stays, comes = (vendor_python, ours) if not swapped else (ours, vendor_python)
    await leave_and_return(hub, stays, comes, our_id)


@slow_roles
async def test_we_lose_the_server(hub: RunningHub, our_id: str) -> None:
    async with Cable(hub.port) as cable:
        tied = functools.partial(ours, url=cable.url)
        async with both(hub, tied, vendor_python, (our_id, "caller")) as (we, they):
            await come_back_from_a_lost_server(cable, we, they)


@slow_roles
async def test_they_lose_the_server(hub: RunningHub, our_id: str) -> None:
    async with Cable(hub.port) as cable:
        tied = functools.partial(vendor_python, url=cable.url)
        async with both(hub, ours, tied, (our_id, "caller")) as (we, they):
            await come_back_from_a_lost_server(cable, they, we)


@pytest.mark.parametrize("swapped", [False, True], ids=["we drop", "they drop"])
async def test_publishable_keys_and_another_id_after_each_drop(start_hub: StartHub, swapped: bool) -> None:
    async with start_hub(NO_SERVERS) as hub, Cable(hub.port) as cable:
        one, other = (vendor_python, ours) if swapped else (ours, vendor_python)
        tied = functools.partial(one, url=cable.url)
        async with both(hub, tied, other, (None, None)) as (dropped, stays):
            before = dropped.peer_id
            await come_back_from_a_lost_server(cable, dropped, stays)
            assert dropped.peer_id != before


@slow_roles
@pytest.mark.network
async def test_our_path_is_lost(hub: RunningHub, our_id: str) -> None:
    async with both(hub, ours, vendor_python, (our_id, "caller")) as (we, they):
        await come_back_from_a_lost_path(we, they)


@slow_roles
async def test_their_path_is_lost(hub: RunningHub, our_id: str) -> None:
    async with both(hub, ours, vendor_python, (our_id, "caller")) as (we, they):
        await come_back_from_a_lost_path(they, we)


@roles
async def test_we_are_reached_through_a_relay_that_is_found_after_the_description(
    hub: RunningHub, our_id: str
) -> None:
    async with turn_server() as server:
        relay = IceServer((server.udp,), server.username, server.password)
        only = {"ice_servers": [relay], "ice_transport_policy": "relay"}
        async with both(hub, functools.partial(ours, ice=only), vendor_python, (our_id, "caller")) as (
            we,
            they,
        ):
            await hear_each_other(we, they)
