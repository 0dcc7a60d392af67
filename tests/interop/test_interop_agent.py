"""Callers with the vendor's JavaScript client talk to a whole agent: they speak, and are answered aloud.

How well they are understood is asked elsewhere; here, whether sound and messages get through both ways.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright

from agent.service import running_service
from agent.settings import load_settings
from pipelines.engines import Engines
from tests.agent.test_browser_call import PERSON, with_silence
from tests.browsers import chromium
from tests.interop.pages import FLAGS, files_served, until, vendor_client

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.browser, pytest.mark.alone]


@pytest.mark.timeout(120)
async def test_a_caller_with_the_vendors_javascript_is_answered_aloud(
    engines: Engines, tmp_path: Path
) -> None:
    vendor_client()
    microphone = with_silence(PERSON, tmp_path / "microphone.wav", before_s=1, after_s=60)
    settings = load_settings(environ={}, overrides=["server.port=0"]).settings
    async with (
        running_service(settings, engines=engines) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
        )
        with files_served() as files:
            page = await (await browser.new_context(permissions=["microphone"])).new_page()
            await page.goto(f"{files}/vendor.html")
            await until(page, "window.they")
            access = (await client.post("/tokens", json={"room": "lobby", "name": "Ada"})).json()
            await client.post("/agents", json={"room": "lobby"})
            await page.evaluate(
                "(o) => they.join(o)",
                {"url": access["url"], "credential": {"token": access["token"]}, "room": "lobby"},
            )
            await page.evaluate("they.openMicrophone()")
            said = "they.data.map(({ data }) => data)"
            await until(page, f"{said}.some((m) => m.type === 'agent.hello')", said)
            final = "m.type === 'agent.caption' && m.final && m.text"
            await until(page, f"{said}.some((m) => {final} && m.speaker === 'caller')", said)
            await until(page, f"{said}.some((m) => m.type === 'agent.latency')", said)
            await until(page, "sound.pitches('agent-voice').length > 0", "they.tracks")
            await page.evaluate("they.peer.close()")
        await browser.close()
