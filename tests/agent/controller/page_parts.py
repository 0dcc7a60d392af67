"""How the tests of the page open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from browsers import chromium
from page_service import PageService
from playwright.async_api import Browser, BrowserContext, Page, async_playwright


@asynccontextmanager
async def browser_with(*flags: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *flags])
        yield browser
        await browser.close()


async def open_page(
    context: BrowserContext, service: PageService, room: str = "lobby"
) -> tuple[Page, list[str]]:
    """A page, and the list that everything the browser complains about goes to."""
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective))"
    )
    await page.goto(f"{service.url}/?room={room}")
    return page, complaints
