"""What the page says when something does not work, in a real browser against the real controller and hub."""

from __future__ import annotations

import pytest
from browsers import until
from page_service import PageService, Wire, serve_page
from playwright.async_api import Browser, BrowserContext, expect

from agent.dispatch.base import CapacityError
from tests.agent.controller.page_parts import browser_with, open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


#: Collects every state the connection to the other caller passes through.
WATCH_STATES = """() => {
    window.states = new Set();
    setInterval(() => voiceAgent.peers.forEach((peer) => peer.isAgent || states.add(peer.state)), 5);
}"""


@pytest.mark.parametrize("silently", [True, False], ids=["unnoticed by the server", "noticed by the server"])
async def test_a_lost_room_server_is_come_back_to_as_the_same_peer(
    context: BrowserContext, service: PageService, silently: bool
) -> None:
    wire = Wire(service.port)
    await wire.open()
    service.advertised_url = f"ws://127.0.0.1:{wire.port}"
    page, _ = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    service.advertised_url = None
    other, _ = await open_page(context, service)
    await other.click("#call")
    await until(page, "v.peers.some((peer) => peer.state === 'connected')")
    before = await page.evaluate("voiceAgent.peerId")
    await page.evaluate(WATCH_STATES)
    await wire.cut(silently=silently)
    await expect(page.locator("#state")).to_have_text("Reconnecting…")
    await expect(page.locator("#connection")).to_have_text("Reconnecting…")
    await expect(page.locator("#text")).to_be_disabled()
    await wire.open()
    await expect(page.locator("#state")).to_have_text("Listening")
    assert wire.connections == 2
    assert await page.evaluate("voiceAgent.peerId") == before
    agent = service.dispatcher.present["lobby"]
    await agent.tell(**agent.hello())
    await agent.tell(type="agent.caption", speaker="agent", id="1", text="Still here.", final=True)
    await expect(page.locator(".bubble.agent .words")).to_have_text("Still here.")
    # What the agent warned of at first was read then.
    await expect(page.locator("#captions .note")).to_have_text(["I speak English only."])
    for end in (page, other):
        await until(end, "v.peers.some((peer) => peer.state === 'connected')")
        await until(end, "Object.values(v.stats.voices).some((rms) => rms > 0.001)")
    if silently:
        # Nobody saw us leave: the sound never stopped, and nothing was negotiated anew.
        assert await page.evaluate("[...states]") == ["connected"]
    await page.close()
    await wire.cut()


async def test_a_room_server_out_of_reach_is_said(context: BrowserContext, service: PageService) -> None:
    wire = Wire(service.port)
    await wire.open()
    service.advertised_url = f"ws://127.0.0.1:{wire.port}"
    await wire.cut()
    page, _ = await open_page(context, service)
    await page.click("#call")
    await expect(page.locator("#notice h2")).to_have_text("The room server cannot be reached")
    await expect(page.locator("#call")).to_be_visible()
    assert service.dispatcher.requests == []


async def test_an_agent_that_cannot_be_had_is_said_in_the_services_words(
    context: BrowserContext, service: PageService
) -> None:
    service.dispatcher.refuse = CapacityError("All 2 agents are in use.")
    page, _ = await open_page(context, service)
    await page.click("#call")
    await expect(page.locator("#notice h2")).to_have_text("Every agent is busy")
    await expect(page.locator("#notice")).to_contain_text("All 2 agents are in use.")
    await expect(page.locator("#call")).to_be_visible()
    service.dispatcher.refuse = None
    await page.click("#call")
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#state")).to_have_text("Listening")


async def test_a_room_name_the_service_would_refuse_is_stopped_in_the_form(
    context: BrowserContext, service: PageService
) -> None:
    page, _ = await open_page(context, service, "no%20blanks")
    await page.click("#call")
    assert await page.evaluate("document.querySelector('#room').validity.patternMismatch")
    assert await page.evaluate("voiceAgent.phase") == "idle"


async def test_an_agent_that_left_can_be_brought_back(context: BrowserContext, service: PageService) -> None:
    page, _ = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    agent = service.dispatcher.present.pop("lobby")
    await agent.tell(
        type="agent.caption", speaker="agent", peer="~agent-1", id="1", text="I have to", final=False
    )
    await agent.leave()
    service.dispatcher.statuses.clear()
    await expect(page.locator("#notice h2")).to_have_text("The agent left the room")
    await expect(page.locator(".bubble.partial")).to_have_count(0)
    await page.get_by_role("button", name="Bring it back").click()
    await expect(page.locator("#state")).to_have_text("Listening")


async def test_a_key_is_asked_for_when_it_is_needed(context: BrowserContext) -> None:
    async with serve_page(api_key="s3cret") as service:
        page, _ = await open_page(context, service)
        await page.fill("#key", "wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("#key")).to_have_value("")
        await page.fill("#key", "s3cret")
        await page.keyboard.press("Enter")
        await expect(page.locator("#key-dialog")).to_be_hidden()
        await expect(page.locator("#engines-short")).to_have_text("pocketsphinx · scripted · piper")
        await page.click("#call")
        await expect(page.locator("#state")).to_have_text("Listening")
        await page.reload()
        await expect(page.locator("#engines-short")).to_have_text("pocketsphinx · scripted · piper")
        await expect(page.locator("#key-dialog")).to_be_hidden()


@pytest.mark.parametrize(
    ("flags", "title", "advice"),
    [
        (
            ["--use-fake-device-for-media-stream", "--deny-permission-prompts"],
            "The microphone is blocked",
            "set Microphone to “Allow”",
        ),
        ([], "No microphone was found", "Plug one in"),
    ],
)
async def test_without_a_microphone_the_way_to_one_is_shown_and_typing_still_works(
    service: PageService, flags: list[str], title: str, advice: str
) -> None:
    async with browser_with(*flags) as browser:
        page, complaints = await open_page(await browser.new_context(), service)
        await page.click("#call")
        await expect(page.locator("#notice h2")).to_have_text(title)
        await expect(page.locator("#notice")).to_contain_text(advice)
        assert await page.evaluate("document.querySelector('#notice').getAttribute('role')") == "alert"
        assert service.dispatcher.requests == []
        await page.get_by_role("button", name="Join without a microphone").click()
        await expect(page.locator("#hint")).to_have_text("Type below: your microphone is off.")
        await expect(page.locator("#mute")).to_be_hidden()
        await page.fill("#text", "I can type")
        await page.keyboard.press("Enter")
        _, data = await service.dispatcher.present["lobby"].chats.get()
        assert data["text"] == "I can type"
        assert complaints == []


async def test_an_address_without_https_is_told_what_to_do(browser: Browser, service: PageService) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    # What a browser does on http:// anywhere but on this machine: the interface is not there.
    await page.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"
    )
    await page.goto(service.url)
    await page.click("#call")
    await expect(page.locator("#notice h2")).to_have_text("This address cannot use the microphone")
    await expect(page.locator("#notice")).to_contain_text(f"http://localhost:{service.port}")
    await context.close()
