"""Our page's room layer in a real browser, as `our_speaker` is our peer.

python -m tests.netlab.page_speaker '{"url": …, "room": …, "token": …, "page": …}'
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from tests.browsers import FAKE_MICROPHONE, chromium
from tests.netlab import tones
from tests.netlab.reports import Report, in_background, keep_saying, until_told_to_end

MICROPHONE_RATE_HZ = 48_000


async def main(url: str, room: str, token: str, page: str) -> None:
    report = Report()

    def tell(event: str, what: Any) -> None:
        match event:
            case "heard":
                for age_ms, tone in what:
                    report.hears(time.monotonic() - age_ms / 1000, tone)
            case "data":
                report.event("data", **what)
            case "state":
                report.event("state", who=what[0], state=what[1])
            case _:
                report.event(event, who=what)

    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "microphone.wav"
        _write(microphone)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium(),
                args=[
                    "--no-sandbox",
                    "--ignore-certificate-errors",
                    "--autoplay-policy=no-user-gesture-required",
                    *FAKE_MICROPHONE,
                    f"--use-file-for-fake-audio-capture={microphone}",
                ],
            )
            tab = await browser.new_page(ignore_https_errors=True)
            tab.on("pageerror", lambda error: print(error, file=sys.stderr, flush=True))
            tab.on("console", lambda message: print(message.text, file=sys.stderr, flush=True))
            await tab.expose_function("tell", tell)
            await tab.goto(page + "/index.html")
            await tab.wait_for_function("window.isReady")
            report.event("joining")
            await tab.evaluate("where => join(where)", {"url": url, "token": token, "name": room})
            report.event("joined")

            async def say(data: Any) -> None:
                await tab.evaluate("data => say(data)", data)

            async with in_background(report.keep_flushing(), keep_saying(report, say)):
                await until_told_to_end()
            await browser.close()


def _write(file: Path) -> None:
    """One cycle: the browser plays it again and again."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(MICROPHONE_RATE_HZ)
        out.writeframes(tones.cycle(MICROPHONE_RATE_HZ).tobytes())


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
