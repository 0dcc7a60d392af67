"""A browser that is told of losses tells of the packets before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from aiortc import MediaStreamTrack, RTCSessionDescription
from browsers import chromium
from playwright.async_api import async_playwright

from agent.realtime.connections import aiortc_seam
from agent.realtime.opus import has_fec
from agent.realtime.receiving.receive import iter_speech
from agent.realtime.receiving.rtp_header import RtpSound
from tests.agent.realtime.connections.test_aiortc_seam import new_connection

pytestmark = [pytest.mark.browser, pytest.mark.network]

SPEECH = Path(__file__).parents[4] / "samples" / "fellow-americans.wav"
OFFER = """async () => {
    const stream = await navigator.mediaDevices.getUserMedia({audio: true});
    window.pc = new RTCPeerConnection();
    pc.addTrack(stream.getTracks()[0], stream);
    const gathered = new Promise(resolve => pc.onicecandidate = e => e.candidate || resolve());
    await pc.setLocalDescription(await pc.createOffer());
    await gathered;
    return pc.localDescription.sdp;
}"""


async def test_chromium_sends_fec_once_packets_get_lost_and_time_keeps_its_length():
    aiortc_seam.ask_for_fec()
    pc = new_connection()
    tracks: list[MediaStreamTrack] = []
    pc.on("track", lambda track: tracks.append(aiortc_seam.prepare_received_track(pc, track)))
    fate, told, came = random.Random(1), 0, 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={SPEECH}",
            ],
        )
        page = await browser.new_page()
        # Only pages of a secure origin get a microphone.
        await page.route("http://localhost/**", lambda route: route.fulfill(body="<title>caller</title>"))
        await page.goto("http://localhost/")
        try:
            await pc.setRemoteDescription(RTCSessionDescription(await page.evaluate(OFFER), "offer"))
            await pc.setLocalDescription(await pc.createAnswer())
            ears = pc.getReceivers()[0]._RTCRtpReceiver__jitter_buffer
            hear = ears.hear

            def lossy(sound: RtpSound, payload_type: int) -> None:
                nonlocal told, came
                # Before it is counted, or no loss is reported.
                if fate.random() < 0.1:
                    return
                came += 1
                told += has_fec(sound.payload)
                hear(sound, payload_type)

            ears.hear = lossy
            answer = pc.localDescription.sdp
            await page.evaluate("sdp => pc.setRemoteDescription({type: 'answer', sdp})", answer)
            blocks = 0
            async for _ in iter_speech(tracks[0]):
                blocks += 1
                if told > 100:
                    break
        finally:
            await pc.close()
            await browser.close()
    assert came < 0.97 * blocks
    assert tracks[0].counts.skipped_ms == 0
