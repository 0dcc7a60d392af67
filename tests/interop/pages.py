"""Pages in Chromium as ends of a call: the vendor's JavaScript client, and our own page."""

from __future__ import annotations

import functools
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.agent.controller.page_service import PageService
from tests.agent.realtime.peer_parts import token_provider
from tests.browsers import FAKE_MICROPHONE, chromium
from tests.conftest import RunningHub
from tests.interop.sides import Side

HERE = Path(__file__).parent
CLIENT = HERE / "node_modules" / "@metered-ca" / "realtime"
#: An `AnalyserNode` of 4096 samples at 48 kHz tells tones apart that are this far from one another.
PITCH_HZ = 25

FLAGS = (
    "--no-sandbox",
    *FAKE_MICROPHONE,
    "--autoplay-policy=no-user-gesture-required",
    # Addresses instead of names: whether a name can be looked up is the network's affair.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)


def vendor_client() -> Path:
    """The vendor's client as npm installed it. Without it the test is skipped, or fails where CI is set."""
    if not CLIENT.exists():
        npm = "run `make tools`" if shutil.which("npm") else "install npm and run `make tools`"
        reason = f"the vendor's JavaScript client is not installed: {npm}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return CLIENT


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def files_served() -> Iterator[str]:
    """This folder over HTTP; the address of it."""
    handler = functools.partial(_Quiet, directory=str(HERE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@asynccontextmanager
async def browser_open() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        yield browser
        await browser.close()


async def until(page: Page, condition: str, show: str = "null") -> None:
    """Wait until an expression holds in the page; `show` is what a failure tells of."""
    failure = await page.evaluate(
        f"""() => new Promise((resolve) => {{
            const end = Date.now() + 30_000;
            const look = () => {{
                if ({condition}) resolve(null);
                else if (Date.now() > end) resolve(JSON.stringify({show}));
                else setTimeout(look, 20);
            }};
            look();
        }})"""
    )
    assert failure is None, f"never: {condition}; {failure}"


class _InBrowser:
    """What both kinds of pages can do with `sound.js` in them."""

    def __init__(self, page: Page, peer_id: str, says_hz: float | None) -> None:
        self.page = page
        self._peer_id = peer_id
        self.says_hz = says_hz

    @property
    def peer_id(self) -> str:
        return self._peer_id

    async def hears(self, other: Side) -> None:
        near = f"sound.pitches().some((hz) => Math.abs(hz - {other.says_hz}) <= {PITCH_HZ})"
        await until(self.page, near, "[sound.pitches(), sound.connections.map((c) => c.connectionState)]")

    async def connected(self) -> list[int]:
        """Which of all connections so far work."""
        return list(
            await self.page.evaluate(
                "sound.connections.flatMap((c, n) => c.connectionState === 'connected' ? [n] : [])"
            )
        )


class VendorJs(_InBrowser):
    """The vendor's JavaScript client in a page."""

    stream_id: str | None = None

    async def misses(self, peer_id: str) -> None:
        await until(self.page, f"!they.remote({peer_id!r})", "they.peer.remotePeers")

    async def send(self, data: Any) -> None:
        await self.page.evaluate("(data) => they.peer.send(data)", data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        await self.page.evaluate("([id, data]) => they.peer.sendTo(id, data)", [peer_id, data])

    async def got(self, kind: str, data: Any, sender: Side) -> None:
        same = json.dumps(json.dumps(data, separators=(",", ":")))
        await until(
            self.page,
            f"they.data.some((m) => m.kind === {kind!r} && m.from === {sender.peer_id!r} "
            f"&& JSON.stringify(m.data) === {same})",
            "they.data",
        )

    async def break_media(self, other: Side) -> None:
        await self.page.evaluate("(id) => they.loseThePath(id)", other.peer_id)

    async def forget(self) -> None:
        await self.page.evaluate("void they.states.splice(0)")

    async def back_with(self, other: Side) -> None:
        connected = f"they.states.some(([id, state]) => id === {other.peer_id!r} && state === 'connected')"
        await until(self.page, f"{connected} && they.peer.state === 'joined'", "[they.states, they.errors]")
        # With a publishable key it is another now.
        self._peer_id = await self.page.evaluate("they.peer.peerId")

    async def tracks(self) -> list[dict[str, Any]]:
        return list(await self.page.evaluate("they.tracks"))

    async def connected_to(self, other: Side) -> None:
        await until(self.page, f"they.remote({other.peer_id!r})?.state === 'connected'", "they.states")


@asynccontextmanager
async def vendor_js(
    hub: RunningHub,
    peer_id: str | None,
    says_hz: float | None = None,
    *,
    context: BrowserContext,
    files: str,
    room: str = "room",
    url: str | None = None,
    **claims: Any,
) -> AsyncIterator[VendorJs]:
    vendor_client()
    page = await context.new_page()
    try:
        await page.goto(f"{files}/vendor.html")
        await until(page, "window.they")
        credential = (
            {"token": await token_provider(hub, peer_id, **claims)()} if peer_id else {"key": hub.key}
        )
        options = {"url": url or hub.url, "credential": credential, "room": room, "hz": says_hz}
        joined_as = await page.evaluate("(o) => they.join(o)", {**options, "metadata": {"role": "caller"}})
        side = VendorJs(page, joined_as, says_hz)
        side.stream_id = await page.evaluate("they.voice?.id ?? null")
        yield side
        await page.evaluate("they.peer.close()")
    finally:
        await page.close()


#: Says a tone instead of the microphone, and keeps what the page shows on the way.
PREPARED = """(() => {
    navigator.mediaDevices.getUserMedia = async () => sound.tone(%s);
    window.shown = new Set();
    setInterval(() => {
        if (!window.voiceAgent) return;
        shown.add(voiceAgent.network);
        for (const peer of voiceAgent.peers) shown.add(`${peer.id} ${peer.state}`);
    }, 5);
})();"""


class OurPage(_InBrowser):
    """The page callers use, in the middle of a call."""

    async def misses(self, peer_id: str) -> None:
        await until(
            self.page, f"voiceAgent.peers.every((peer) => peer.id !== {peer_id!r})", "voiceAgent.peers"
        )

    async def send(self, data: Any) -> None:
        """`data` is a message of the page's chat."""
        await self.page.fill("#text", data["text"])
        await self.page.click("#send")

    async def got(self, kind: str, data: Any, sender: Side) -> None:
        await until(
            self.page,
            f"voiceAgent.captions.some((said) => said.text === {data['text']!r})",
            "voiceAgent.captions",
        )

    async def break_media(self, other: Side) -> None:
        # What the page looks at stands still, as on a dead path.
        await self.page.evaluate(
            """() => sound.connections.forEach((connection) => {
                const last = connection.getStats();
                connection.getStats = () => last;
            })"""
        )

    async def forget(self) -> None:
        await self.page.evaluate("shown.clear()")

    async def back_with(self, other: Side) -> None:
        lost = f"shown.has('reconnecting') || shown.has({other.peer_id + ' reconnecting'!r})"
        back = f"peer.id === {other.peer_id!r} && peer.state === 'connected'"
        await until(
            self.page,
            f"({lost}) && voiceAgent.network === 'connected' && voiceAgent.peers.some((peer) => {back})",
            "[voiceAgent.network, voiceAgent.peers, [...shown]]",
        )


@asynccontextmanager
async def our_page(
    hub: RunningHub,
    peer_id: str | None,
    says_hz: float | None = None,
    *,
    service: PageService,
    browser: Browser,
    url: str | None = None,
) -> AsyncIterator[OurPage]:
    """`service` belongs to `hub`; it gives the id."""
    service.advertised_url = url or hub.url
    context = await browser.new_context(permissions=["microphone"])
    try:
        await context.add_init_script(path=HERE / "sound.js")
        await context.add_init_script(PREPARED % says_hz)
        page = await context.new_page()
        await page.goto(f"{service.url}/?room=room")
        await page.click("#call")
        await until(page, "voiceAgent.phase === 'live'", "[voiceAgent.phase, voiceAgent.problem]")
        yield OurPage(page, await page.evaluate("voiceAgent.peerId"), says_hz)
        await page.click("#hangup")
    finally:
        await context.close()
