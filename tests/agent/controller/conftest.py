"""The page in a browser, against the real controller and hub."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from browsers import FAKE_MICROPHONE
from page_service import PageService, serve_page
from playwright.async_api import Browser, BrowserContext

from tests.agent.controller.page_parts import browser_with


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browser_with(*FAKE_MICROPHONE) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(permissions=["microphone"])
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def service() -> AsyncIterator[PageService]:
    async with serve_page() as service:
        yield service
