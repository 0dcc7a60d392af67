"""Our page in Chromium, with the vendor's Python client and with our peer."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.agent.controller.page_service import PageService, serve_page
from tests.agent.realtime.peer_parts import Cable
from tests.conftest import RunningHub
from tests.interop.pages import OurPage, browser_open, our_page
from tests.interop.scenarios import (
    both,
    chat,
    come_back_from_a_lost_path,
    come_back_from_a_lost_server,
    hear_each_other,
    leave_and_return,
    orders,
    roles,
    slow_roles,
)
from tests.interop.sides import OpenSide, ours, vendor_python

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

#: Our own peer every day; the vendor's with the bad networks, where `partners` does not ask for both daily.
slow_partners = pytest.mark.parametrize(
    "partner",
    [
        pytest.param(ours, id="ours"),
        pytest.param(vendor_python, id="vendor's Python", marks=pytest.mark.network),
    ],
)
partners = pytest.mark.parametrize("partner", [ours, vendor_python], ids=["ours", "vendor's Python"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browser_open() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def service() -> AsyncIterator[PageService]:
    async with serve_page() as service:
        yield service


@pytest.fixture
def hub(service: PageService) -> RunningHub:
    """The hub behind the page."""
    return RunningHub(None, service.hub_url, service.port, "", service.pair.key_id, service.pair.secret)


@pytest.fixture
def page(service: PageService, browser: Browser) -> OpenSide:
    return functools.partial(our_page, service=service, browser=browser)


@slow_partners
@roles
@orders
async def test_sound_and_messages_both_ways(
    hub: RunningHub, page: OpenSide, partner: OpenSide, our_id: str, swapped: bool
) -> None:
    async with both(hub, partner, page, (our_id, None), swapped=swapped) as (they, caller):
        await hear_each_other(they, caller)
        await chat(they, caller)


@partners
async def test_leaving_and_returning(hub: RunningHub, page: OpenSide, partner: OpenSide) -> None:
    await leave_and_return(hub, partner, page, "~agent", chat)


@slow_partners
@slow_roles
async def test_the_page_loses_the_server(
    hub: RunningHub, page: OpenSide, partner: OpenSide, our_id: str
) -> None:
    async with Cable(hub.port) as cable:
        tied = functools.partial(page, url=cable.url)
        async with both(hub, partner, tied, (our_id, None)) as (they, caller):
            await come_back_from_a_lost_server(cable, caller, they, chat)


@partners
@roles
@pytest.mark.network
async def test_the_partner_loses_the_server(
    hub: RunningHub, page: OpenSide, partner: OpenSide, our_id: str
) -> None:
    async with Cable(hub.port) as cable:
        tied = functools.partial(partner, url=cable.url)
        async with both(hub, tied, page, (our_id, None)) as (they, caller):
            await come_back_from_a_lost_server(cable, they, caller, chat)


@pytest.mark.parametrize("page_drops", [True, False], ids=["the page drops", "we drop"])
async def test_sound_that_flows_is_left_alone_when_the_server_is_lost(
    hub: RunningHub, page: OpenSide, page_drops: bool
) -> None:
    async with Cable(hub.port) as cable:
        tied = functools.partial(page if page_drops else ours, url=cable.url)
        ends = (ours, tied) if page_drops else (tied, page)
        async with both(hub, *ends, ("~agent", None)) as (we, caller):
            assert isinstance(caller, OurPage)
            await hear_each_other(we, caller)
            before = await caller.connected()
            dropped, other = (caller, we) if page_drops else (we, caller)
            await come_back_from_a_lost_server(cable, dropped, other, chat)
            assert await caller.connected() == before


@slow_partners
@slow_roles
@pytest.mark.network
async def test_the_partners_path_is_lost(
    hub: RunningHub, page: OpenSide, partner: OpenSide, our_id: str
) -> None:
    async with both(hub, partner, page, (our_id, None)) as (they, caller):
        await come_back_from_a_lost_path(they, caller, chat)


@slow_partners
@slow_roles
@pytest.mark.network
async def test_the_pages_path_is_lost(
    hub: RunningHub, page: OpenSide, partner: OpenSide, our_id: str
) -> None:
    async with both(hub, partner, page, (our_id, None)) as (they, caller):
        await come_back_from_a_lost_path(caller, they, chat)
