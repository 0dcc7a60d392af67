"""A browser for the tests that need one, and how they wait for its page."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.async_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: A microphone that is there, allowed, and beeps.
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


def chromium() -> str:
    """Path of the machine's Chromium. Without one the test is skipped, or fails where CI is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser found ({', '.join(NAMES)}): install Chromium to run this test"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


async def until(page: Page, condition: str) -> None:
    """Waits until an expression over `window.voiceAgent`, here `v`, holds. (Playwright's own wait needs
    `eval` in the page, which the page's policy forbids.)"""
    failure = await page.evaluate(
        f"""() => new Promise((resolve) => {{
            const v = window.voiceAgent;
            const end = Date.now() + 20_000;
            const look = () => {{
                if ({condition}) resolve(null);
                else if (Date.now() > end) resolve(JSON.stringify([v.state, v.problem, v.peers, v.stats]));
                else setTimeout(look, 20);
            }};
            look();
        }})"""
    )
    assert failure is None, f"never: {condition}; the page was at {failure}"
