"""Drives Firefox through WebDriver BiDi, which it speaks itself: no driver program is needed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

NAMES = ("firefox", "firefox-esr")
#: A microphone that is there, allowed, and hums; and nothing that looks for updates.
PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "remote.active-protocols": 1,
}


class FirefoxPage:
    """One tab. Errors of the page are collected in `complaints`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""
        self.complaints: list[str] = []

    async def begin(self) -> None:
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded"])
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        await self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        answer = await self._command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"]) if "value" in answer["result"] else None

    async def click(self, selector: str) -> None:
        """Presses the mouse where the element is, as a person would: the page sees a user's gesture."""
        x, y = await self.evaluate(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]; })()"
        )
        press = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": press}
        await self._command("input.performActions", context=self._context, actions=[mouse])

    async def until(self, condition: str) -> None:
        """Waits until an expression over `window.voiceAgent`, here `v`, holds."""
        failure = await self.evaluate(
            "new Promise((resolve) => { const v = window.voiceAgent; const end = Date.now() + 20000;"
            f" const look = async () => {{ if ({condition}) resolve(null);"
            " else if (Date.now() > end) resolve([v.state, v.problem, v.peers, v.stats]);"
            " else setTimeout(look, 20); }; look(); })"
        )
        assert failure is None, f"never: {condition}; the page was at {failure}"

    async def end(self) -> None:
        await self._command("browser.close")

    async def _command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.recv())
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.complaints.append(message["params"]["text"])
            if message.get("id") == number:
                assert message["type"] == "success", message
                result: dict[str, Any] = message["result"]
                return result


@asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[FirefoxPage]:
    """A fresh headless Firefox, its profile in the folder `profile`. Without one the test is skipped, or
    fails where CI is set."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Firefox here")
        pytest.skip("no Firefox here: install it to run this test")
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items())
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        address = None
        async for line in process.stderr:
            if address := re.search(
                r"WebDriver BiDi listening on (ws://\S+)", line.decode("utf-8", "replace")
            ):
                break
        assert address is not None, "Firefox ended before it listened"
        async with asyncio.TaskGroup() as tasks:
            drain = tasks.create_task(process.stderr.read())
            async with connect(f"{address[1]}/session", max_size=None) as socket:
                page = FirefoxPage(socket)
                await page.begin()
                yield page
                await page.end()
            await drain
    finally:
        if process.returncode is None:
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()
