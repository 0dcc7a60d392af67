"""The page in a real browser, against the real controller and hub."""

from __future__ import annotations

import pytest
from browsers import until
from page_service import PageService, SpokenFor
from playwright.async_api import BrowserContext, expect

from agent.dispatch.base import AgentRequest
from pipelines.timeline import Step, Timeline
from tests.agent.controller.page_parts import open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_call_from_first_click_to_hang_up(context: BrowserContext, service: PageService) -> None:
    page, complaints = await open_page(context, service, "team/red")
    await expect(page.locator("#room")).to_have_value("team/red")
    await expect(page.locator("#engines-short")).to_have_text("pocketsphinx · scripted · piper")
    await expect(page.locator("#text")).to_be_disabled()
    await page.click("#call")
    await expect(page.locator("#state")).to_have_text("Listening")
    await expect(page.locator("#connection")).to_have_text("team/red")
    await expect(page.locator("#engines-short")).to_have_text("told-by-the-agent")
    await expect(page.locator("#captions .note")).to_have_text("I speak English only.")
    await until(page, "v.stats.micRms > 0.001")
    assert service.dispatcher.requests[0].room == "team/red"
    await page.click("#mute")
    await expect(page.locator("#state")).to_have_text("You are muted")
    await until(page, "v.stats.micRms === 0")
    await page.keyboard.press("m")
    await expect(page.locator("#state")).to_have_text("Listening")
    await page.click("#hangup")
    await expect(page.locator("#call")).to_be_visible()
    assert await page.evaluate("[voiceAgent.phase, voiceAgent.problem]") == ["idle", None]
    assert complaints == []


async def test_what_is_said_is_shown_and_replaced_as_it_becomes_better_known(
    context: BrowserContext, service: PageService
) -> None:
    page, complaints = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    agent = service.dispatcher.present["lobby"]
    me = await page.evaluate("voiceAgent.peerId")
    caption = {"type": "agent.caption", "final": False}
    await agent.tell(**caption, speaker="caller", peer=me, id="1", text="a table for")
    await expect(page.locator(".bubble.me.partial .words")).to_have_text("a table for")
    await agent.tell(type="agent.state", state="thinking")
    await expect(page.locator("#state")).to_have_text("Thinking…")
    await agent.tell(
        type="agent.caption", final=True, speaker="caller", peer=me, id="1", text="A table for two."
    )
    await expect(page.locator(".bubble.me:not(.partial) .words")).to_have_text("A table for two.")
    await agent.tell(
        **caption, speaker="agent", peer="~agent-1", id="1", text="With pleasure. At seven or at eight?"
    )
    await expect(page.locator(".bubble.agent .who")).to_have_text("Sam")
    await agent.tell(
        type="agent.caption",
        final=True,
        interrupted=True,
        speaker="agent",
        peer="~agent-1",
        id="1",
        text="With pleasure.",
    )
    await expect(page.locator(".bubble.agent .cut")).to_have_text("cut off")
    await expect(page.locator(".bubble.agent .unheard")).to_have_text(" At seven or at eight?")
    await agent.tell(type="agent.error", message="The recogniser failed once.")
    await expect(page.locator("#captions .note").last).to_have_text("The recogniser failed once.")
    # A screen reader is told finished sentences only.
    announced = await page.locator("#announcer p").all_inner_texts()
    assert announced == [
        "I speak English only.",
        "You: A table for two.",
        "Sam: With pleasure.",
        "The recogniser failed once.",
    ]
    assert complaints == []


def measured_turn() -> Timeline:
    """An answer that was ready before the caller's turn was known to be over."""
    turn = Timeline(turn=1)
    moments = ((Step.SPEECH_END, 0), (Step.ASKED, 220), (Step.TRANSCRIBED, 320), (Step.FIRST_CLAUSE, 570))
    for step, at_ms in (*moments, (Step.FIRST_AUDIO, 650), (Step.RELEASED, 780), (Step.AUDIBLE, 800)):
        turn.mark(step, 5_000 + at_ms)
    return turn


async def test_what_an_answer_took_opens_into_its_parts(
    context: BrowserContext, service: PageService
) -> None:
    page, complaints = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    agent = service.dispatcher.present["lobby"]
    turn = measured_turn()
    await agent.tell(
        type="agent.latency", turn=1, total_ms=turn.total_ms, steps_ms=turn.steps_ms() | {"tea_break_ms": 7}
    )
    await agent.tell(type="agent.caption", speaker="agent", id="1", text="With pleasure.", final=True)
    chip, parts = page.locator(".bubble.agent .chip"), page.locator(".breakdown")
    await expect(chip).to_have_text("800 ms")
    await expect(parts).to_be_hidden()
    await chip.hover()
    await expect(parts).to_be_in_viewport(ratio=1)
    await expect(parts.locator("li")).to_have_text(
        [
            "Noticing your pause220 ms",
            "Recognising your words100 ms",
            "Thinking of an answer250 ms",
            "Making the voice80 ms",
            "Waiting for the end of your turn130 ms",
            "Starting to play20 ms",
            "tea_break_ms7 ms",
        ]
    )
    await page.hover("header")
    await expect(parts).to_be_hidden()
    await page.focus("#captions")
    await page.keyboard.press("Tab")
    await expect(parts).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(parts).to_be_hidden()
    await chip.click()
    await page.hover("header")
    await expect(parts).to_be_visible()
    await expect(chip).to_have_attribute("aria-expanded", "true")
    await chip.press("Escape")
    await expect(parts).to_be_hidden()
    for is_open in (True, False):
        await chip.click()
        await expect(parts).to_be_visible(visible=is_open)
    assert complaints == []


async def test_what_is_said_is_text_and_never_markup(context: BrowserContext, service: PageService) -> None:
    page, complaints = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    agent = service.dispatcher.present["lobby"]
    markup = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    await agent.tell(
        type="agent.caption", speaker="agent", peer="~agent-1", id=markup, text=markup, final=True
    )
    await agent.tell(type="agent.error", message=markup)
    await agent.tell(type="agent.latency", turn=1, total_ms=1, steps_ms={markup: 1, "stt_ms": markup})
    for odd in ({"text": None}, {"text": {}}, {"text": ["x"]}, {"id": {}}, {"speaker": "__proto__"}):
        await agent.tell(**{"type": "agent.caption", "speaker": "agent", "id": "odd", "text": "x"} | odd)
    await agent.tell(type="agent.state", state="made up")
    await agent.tell(type="agent.hello", engines="none", warnings={"a": 1}, name=7)
    await agent.tell(
        type="agent.caption", speaker="agent", peer="~agent-1", id="last", text="The end.", final=True
    )
    await expect(page.locator(".bubble.agent .words").last).to_have_text("The end.")
    await expect(page.locator(".bubble.agent .words").first).to_have_text(markup)
    assert await page.locator("#captions img, #captions script").count() == 0
    assert await page.title() == "Voice agent"
    assert complaints == []


async def test_what_is_typed_reaches_the_room_and_is_shown_once(
    context: BrowserContext, service: PageService
) -> None:
    page, _ = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    agent = service.dispatcher.present["lobby"]
    await page.fill("#text", "What time is it?")
    await page.keyboard.press("Enter")
    sender, data = await agent.chats.get()
    assert data == {"type": "chat", "text": "What time is it?"}
    assert sender == await page.evaluate("voiceAgent.peerId")
    caption = {"type": "agent.caption", "speaker": "caller", "peer": sender, "final": True}
    await agent.tell(**caption, id="1", text="What time is it?")
    # Saying it, too, is saying it again.
    await expect(page.locator(".bubble.me .words")).to_have_text(["What time is it?", "What time is it?"])


async def test_an_agent_that_is_there_already_is_not_joined_by_another(
    context: BrowserContext, service: PageService
) -> None:
    agent = await service.dispatcher.bring("agent-1", "lobby")
    page, complaints = await open_page(context, service)
    await page.click("#call")
    await expect(page.locator("#state")).to_have_text("Listening")
    await agent.tell(type="agent.caption", speaker="agent", id="1", text="There you are.", final=True)
    await expect(page.locator(".bubble.agent .words")).to_have_text("There you are.")
    assert service.dispatcher.requests == []
    assert complaints == []


async def test_an_agent_that_comes_in_just_now_is_met_and_not_doubled(
    context: BrowserContext, service: PageService
) -> None:
    await service.dispatcher.dispatch(AgentRequest(room="lobby"))
    agent = service.dispatcher.present["lobby"]
    await agent.leave()
    page, _ = await open_page(context, service)
    async with page.expect_response("**/agents") as answer:
        await page.click("#call")
    assert (await answer.value).status == 200
    agent = await service.dispatcher.bring(service.dispatcher.agents()[0].peer_id or "", "lobby")
    await agent.tell(type="agent.caption", speaker="agent", id="1", text="Here I am.", final=True)
    await expect(page.locator(".bubble.agent .words")).to_have_text("Here I am.")


async def test_two_callers_in_a_room_hear_and_read_one_another(
    context: BrowserContext, service: PageService
) -> None:
    first, first_complaints = await open_page(context, service)
    second, second_complaints = await open_page(context, service)
    for page in (first, second):
        await page.click("#call")
    for page in (first, second):
        await until(page, "v.peers.some((peer) => peer.state === 'connected' && !peer.isAgent)")
        await until(page, "Object.values(v.stats.voices ?? {}).some((rms) => rms > 0.001)")
        await expect(page.locator("#connection")).to_have_text("lobby · 1 other")
    await first.fill("#text", "Hello over there")
    await first.click("#send")
    await expect(second.locator(".bubble.other .words")).to_have_text("Hello over there")
    await expect(second.locator(".bubble.other .who")).to_have_text("Ada")
    await first.click("#hangup")
    await until(second, "v.peers.length === 1")
    assert first_complaints == second_complaints == []


async def test_a_caller_cannot_pass_for_the_agent(context: BrowserContext, service: PageService) -> None:
    page, _ = await open_page(context, service)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    impostor = SpokenFor(service.hub_url, service.mint("caller-evil", "lobby", {"role": "caller"}), "lobby")
    await impostor.join()
    await impostor.tell(
        type="agent.caption", speaker="agent", peer="~agent-1", id="1", text="Tell me your PIN.", final=True
    )
    await impostor.tell(type="agent.state", state="speaking")
    await impostor.tell(type="chat", text="I am only a caller.")
    await expect(page.locator(".bubble .words")).to_have_text(["I am only a caller."])
    assert await page.evaluate("voiceAgent.state") == "listening"
    await impostor.leave()


async def test_the_keyboard_reaches_everything_in_order(
    context: BrowserContext, service: PageService
) -> None:
    page, _ = await open_page(context, service)
    await expect(page.locator("#persona-field")).to_be_visible()
    reached = []
    await page.focus("#room")
    for _ in range(2):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id"))
    assert reached == ["persona", "call"]
    await page.keyboard.press("Enter")
    await until(page, "v.state === 'listening'")
    await page.focus("#mute")
    for expected in ("hangup", "captions", "text", "send"):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == expected


async def test_everything_fits_on_the_screen(context: BrowserContext, service: PageService) -> None:
    sizes = ((320, 568), (390, 844), (844, 390), (1280, 800))
    page, _ = await open_page(context, service)
    for width, height in sizes:
        await page.set_viewport_size({"width": width, "height": height})
        await expect(page.locator("#call")).to_be_in_viewport(ratio=1)
    await page.click("#call")
    await until(page, "v.state === 'listening'")
    for width, height in sizes:
        await page.set_viewport_size({"width": width, "height": height})
        for control in ("#mute", "#hangup", "#text", "#send"):
            await expect(page.locator(control)).to_be_in_viewport(ratio=1)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
