"""A person in a browser calls the agent: real Chromium, a real voice in its microphone, sound coming back."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium, until
from playwright.async_api import async_playwright

from agent.service import running_service
from agent.settings import load_settings
from pipelines.engines import Engines

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.browser, pytest.mark.alone]

PERSON = Path(__file__).parents[2] / "samples" / "fellow-americans.wav"


def with_silence(source: Path, target: Path, *, before_s: float, after_s: float) -> Path:
    """The fake microphone plays its file again and again: silence keeps one round from the next."""
    with wave.open(str(source)) as file:
        rate_hz, speech = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    silence = [np.zeros(int(rate_hz * s), np.int16) for s in (before_s, after_s)]
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.concatenate([silence[0], speech, silence[1]]).tobytes())
    return target


@pytest.mark.timeout(120)
async def test_a_person_presses_call_speaks_and_is_answered_aloud(engines: Engines, tmp_path: Path) -> None:
    microphone = with_silence(PERSON, tmp_path / "microphone.wav", before_s=1, after_s=60)
    settings = load_settings(environ={}, overrides=["server.port=0"]).settings
    async with running_service(settings, engines=engines) as service, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{service.url}/?room=lobby")
        await page.click("#call")
        mine, _reply = (f"c => c.side === '{side}' && c.final && c.text" for side in ("me", "agent"))
        await until(page, f"v.captions.some({mine})")
        await until(page, "v.state === 'speaking' && v.stats.agentRms > 0.01")
        await until(
            page, "v.latencies.length && v.captions.some(c => c.side === 'agent' && c.final && c.text)"
        )
        heard = await page.evaluate(
            "voiceAgent.captions.find(c => c.side === 'me' && c.final && c.text).text"
        )
        # "And so, my fellow Americans", of which the embedded recogniser hears "Mike Bell American" at times.
        assert "american" in heard.lower(), heard
        await page.click("#hangup")
        await until(page, "v.phase === 'idle'")
        assert errors == []
        await browser.close()
