"""A browser hears what we leave out of pauses and what we tell of lost packets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from browsers import chromium
from playwright.async_api import Page, async_playwright

from agent.realtime.sending.encoding import PAUSE_WITHOUT_BODY
from tests.agent.realtime.opus_parts import FRAME, voice
from tests.agent.realtime.sending_parts import RealTime, Speaking, asking_for

pytestmark = [pytest.mark.browser, pytest.mark.network]

SAID_MS, SILENT_MS = 600, 1000
ANSWER = """async sdp => {
    window.pc = new RTCPeerConnection();
    const arrived = new Promise(resolve => pc.ontrack = event => resolve(event.track));
    await pc.setRemoteDescription({type: 'offer', sdp});
    const gathered = new Promise(resolve => pc.onicecandidate = e => e.candidate || resolve());
    await pc.setLocalDescription(await pc.createAnswer());
    await gathered;
    const track = await arrived;
    // Without somebody who plays it nothing is decoded.
    window.player = new Audio();
    player.muted = true;
    player.srcObject = new MediaStream([track]);
    await player.play();
    const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
    window.levels = [];
    (async () => {
        for (;;) {
            const {value, done} = await reader.read();
            if (done) return;
            const samples = new Float32Array(value.numberOfFrames);
            value.copyTo(samples, {planeIndex: 0, format: 'f32-planar'});
            levels.push(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
            value.close();
        }
    })();
    return pc.localDescription.sdp;
}"""
STATS = """async () => [...(await pc.getStats()).values()].find(s => s.type === 'inbound-rtp') || {}"""


@asynccontextmanager
async def heard_by_chromium(fmtp: str) -> AsyncIterator[tuple[Speaking, Page]]:
    """Speech and pauses, to a browser that asks for `fmtp`; `levels` of the page are of 10 ms each."""
    said = voice(SAID_MS / 1000).reshape(-1, FRAME)
    speaker = Speaking(RealTime(np.concatenate([said, np.zeros((SILENT_MS // 20, FRAME), np.int16)])))
    async with async_playwright() as playwright:
        # Whoever has no microphone hides its addresses behind names.
        args = ["--no-sandbox", "--disable-features=WebRtcHideLocalIpsWithMdns"]
        browser = await playwright.chromium.launch(executable_path=chromium(), args=args)
        page = await browser.new_page()
        await page.route("http://localhost/**", lambda route: route.fulfill(body="<title>listener</title>"))
        await page.goto("http://localhost/")
        try:
            offer = await speaker.offer()
            answer = await page.evaluate(ANSWER, offer)
            await speaker.answered(asking_for(answer, fmtp))
            yield speaker, page
        finally:
            await speaker.close()
            await browser.close()


async def levels(page: Page, seconds: float) -> np.ndarray:
    while len(found := await page.evaluate("levels")) < 100 * seconds:
        await page.wait_for_timeout(200)
    return np.array(found)


async def test_chromium_hears_every_word_at_its_length_when_pauses_are_not_sent():
    async with heard_by_chromium("useinbandfec=1;usedtx=1") as (speaker, page):
        found = await levels(page, 8.0)
        assert sum(packet.payload == PAUSE_WITHOUT_BODY for packet in speaker.packets) >= 8
        stats = await page.evaluate(STATS)
    runs = [(key, 10 * len(list(run))) for key, run in itertools.groupby(found > 0.01)]
    # While the first words come the browser looks for a delay, and the last run may not have ended.
    runs = runs[3:-1]
    assert len(runs) >= 4
    for is_loud, length_ms in runs:
        assert length_ms == pytest.approx(SAID_MS if is_loud else SILENT_MS, abs=60)
    # A pause is none of the losses that it makes up for.
    assert stats["concealedSamples"] < 0.05 * stats["totalSamplesReceived"]


async def test_chromium_gets_back_what_was_lost():
    async with heard_by_chromium("useinbandfec=1") as (speaker, page):
        speaker.is_lost = lambda number: number % 10 == 7
        # It says how much it loses every few seconds.
        while (await page.evaluate(STATS)).get("fecPacketsReceived", 0) < 5:
            await page.wait_for_timeout(200)
        assert speaker.mouth._loss.percent >= 2
