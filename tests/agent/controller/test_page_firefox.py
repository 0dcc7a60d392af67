"""The page in Firefox, in one room with the page in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsers import FAKE_MICROPHONE, chromium
from page_firefox import firefox
from page_service import serve_page
from playwright.async_api import async_playwright, expect

#: Two browsers at once are not everyday matter.
pytestmark = [pytest.mark.browser, pytest.mark.network]

HEARS_SOMEBODY = "Object.values(v.stats.voices ?? {}).some((rms) => rms > 0.001)"


async def test_firefox_and_chromium_hear_one_another(tmp_path: Path) -> None:
    async with serve_page() as service, firefox(tmp_path) as fox, async_playwright() as playwright:
        await fox.goto(f"{service.url}/?room=mixed")
        await fox.until("!document.querySelector('#engines').hidden")
        await fox.click("#call")
        await fox.until("v.state === 'listening'")
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", *FAKE_MICROPHONE]
        )
        page = await (await browser.new_context(permissions=["microphone"])).new_page()
        await page.goto(f"{service.url}/?room=mixed")
        await page.click("#call")
        await fox.until("v.peers.some((peer) => peer.state === 'connected')")
        await fox.until("await v.packetsReceived() > 20")
        # Without a sound device Firefox measures no levels.
        if await fox.evaluate("voiceAgent.stats.audio") == "running":
            await fox.until(HEARS_SOMEBODY)
            await fox.until("v.stats.micRms > 0.001")
        agent = service.dispatcher.present["mixed"]
        await agent.tell(
            type="agent.caption", speaker="agent", id="1", text="Hello, both of you.", final=True
        )
        await fox.until("v.captions.some((caption) => caption.text === 'Hello, both of you.')")
        await page.evaluate(
            f"() => new Promise((done) => {{ const v = voiceAgent;"
            f" const look = () => {HEARS_SOMEBODY} ? done() : setTimeout(look, 20); look(); }})"
        )
        await fox.click("#hangup")
        await fox.until("v.phase === 'idle' && v.problem === null")
        await expect(page.locator("#connection")).to_have_text("mixed")
        await browser.close()
        assert fox.complaints == []
