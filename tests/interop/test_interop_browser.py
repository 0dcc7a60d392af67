"""The vendor's JavaScript client in Chromium, with our peer and with the vendor's Python client."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc import VideoStreamTrack

from agent.realtime import DataChannel, DataChannelOpened, TrackEnded
from tests.agent.realtime.peer_parts import Cable
from tests.conftest import StartHub
from tests.interop.pages import VendorJs, browser_open, files_served, until, vendor_js
from tests.interop.scenarios import (
    HZ,
    both,
    come_back_from_a_lost_path,
    come_back_from_a_lost_server,
    hear_each_other,
    leave_and_return,
    orders,
    read_each_other,
    roles,
    slow_roles,
)
from tests.interop.sides import OpenSide, ours, vendor_python

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def js() -> AsyncIterator[OpenSide]:
    """Opens the vendor's client in a page of one browser."""
    with files_served() as files:
        async with browser_open() as browser:
            context = await browser.new_context()
            yield functools.partial(vendor_js, context=context, files=files)


@roles
@orders
async def test_sound_and_messages_both_ways(
    start_hub: StartHub, js: OpenSide, our_id: str, swapped: bool
) -> None:
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller"), swapped=swapped) as (we, they):
        await hear_each_other(we, they)
        await read_each_other(we, they)
        # What the vendor says of a track comes without the stream it belongs to, and is found all the same.
        assert we.tracks() == [("caller", they.stream_id, {"role": "caller"})]
        # Its client looks our metadata up by the id of its own receiver, which exists before any offer and
        # has a random one: the stream id is what it knows our voice by.
        [heard] = await they.tracks()
        assert (heard["streams"], heard["metadata"]) == ([f"{our_id}-voice"], None)


@roles
async def test_one_that_only_listens_hears_and_knows_what(
    start_hub: StartHub, js: OpenSide, our_id: str
) -> None:
    async with start_hub() as hub, ours(hub, our_id, HZ[0]) as we, js(hub, "caller") as they:
        await they.hears(we)
        [heard] = await they.tracks()
        assert (heard["streams"], heard["metadata"]) == ([f"{our_id}-voice"], {"role": "test"})


@slow_roles
async def test_one_that_only_listens_is_us(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    async with start_hub() as hub, ours(hub, our_id) as we, js(hub, "caller", HZ[1]) as they:
        await we.hears(they)
        assert we.tracks() == [("caller", they.stream_id, {"role": "caller"})]


@pytest.mark.parametrize("we_stay", [False, True], ids=["we return", "they return"])
@slow_roles
async def test_leaving_and_returning(start_hub: StartHub, js: OpenSide, our_id: str, we_stay: bool) -> None:
    async with start_hub() as hub:
        await leave_and_return(hub, *((ours, js) if we_stay else (js, ours)), our_id)


@slow_roles
async def test_we_lose_the_server(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    async with start_hub() as hub, Cable(hub.port) as cable:
        tied = functools.partial(ours, url=cable.url)
        async with both(hub, tied, js, (our_id, "caller")) as (we, they):
            await come_back_from_a_lost_server(cable, we, they)


@slow_roles
async def test_they_lose_the_server(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    async with start_hub() as hub, Cable(hub.port) as cable:
        tied = functools.partial(js, url=cable.url)
        async with both(hub, ours, tied, (our_id, "caller")) as (we, they):
            await come_back_from_a_lost_server(cable, they, we)


@pytest.mark.parametrize("swapped", [False, True], ids=["we drop", "they drop"])
async def test_publishable_keys_and_another_id_after_each_drop(
    start_hub: StartHub, js: OpenSide, swapped: bool
) -> None:
    async with start_hub() as hub, Cable(hub.port) as cable:
        one, other = (js, ours) if swapped else (ours, js)
        tied = functools.partial(one, url=cable.url)
        async with both(hub, tied, other, (None, None)) as (dropped, stays):
            before = dropped.peer_id
            await come_back_from_a_lost_server(cable, dropped, stays)
            assert dropped.peer_id != before


@slow_roles
@pytest.mark.network
async def test_our_path_is_lost(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller")) as (we, they):
        await come_back_from_a_lost_path(we, they)


@roles
@pytest.mark.network
async def test_their_path_is_lost(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller")) as (we, they):
        await come_back_from_a_lost_path(they, we)


#: The page has the greater id: when it yields with an offer of its own out, Chromium now and then has no
#: addresses for the answer, and the vendor's clients then wait for each other for ever.
VENDORS = ("caller", "~page")


@orders
@pytest.mark.network
async def test_the_vendors_clients_find_each_other_in_our_hub(
    start_hub: StartHub, js: OpenSide, swapped: bool
) -> None:
    async with start_hub() as hub, both(hub, vendor_python, js, VENDORS, swapped=swapped) as (py, page):
        await hear_each_other(py, page)
        await read_each_other(py, page)


@pytest.mark.network
async def test_the_vendors_page_comes_back_to_the_vendors_python(start_hub: StartHub, js: OpenSide) -> None:
    async with start_hub() as hub, Cable(hub.port) as cable:
        tied = functools.partial(js, url=cable.url)
        async with both(hub, vendor_python, tied, VENDORS) as (py, page):
            await come_back_from_a_lost_server(cable, page, py)


class Film(VideoStreamTrack):
    """Half a second red, half a second blue, and so on, 30 pictures a second."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        colour = (255, 0, 0) if self.pictures // 15 % 2 else (0, 0, 255)
        picture = av.VideoFrame.from_ndarray(np.full((120, 160, 3), colour, np.uint8), format="rgb24")
        picture.pts, picture.time_base = pts, time_base
        self.pictures += 1
        return picture


@slow_roles
async def test_video_of_ours_is_seen(start_hub: StartHub, js: OpenSide, our_id: str) -> None:
    """Added in the middle of a call: picture after picture arrives and is decoded, and sound goes on."""
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller")) as (we, they):
        await hear_each_other(we, they)
        film = Film()
        we.inner.peer.add_track(film, stream_id="camera", metadata={"role": "camera"})
        await until(they.page, "they.tracks.some((t) => t.streams.includes('camera'))", "they.tracks")
        seen = next(track for track in await they.tracks() if "camera" in track["streams"])
        assert seen["kind"] == "video"
        await they.page.evaluate("(id) => they.watch(id)", our_id)
        await until(
            they.page,
            "they.film.stats?.framesDecoded >= 60 && ['red', 'blue'].every((c) => they.film.colours.has(c))",
            "[they.film.stats, [...they.film.colours]]",
        )
        stats = await they.page.evaluate("they.film.stats")
        assert (stats["frameWidth"], stats["frameHeight"]) == (160, 120)
        assert stats["framesDecoded"] <= film.pictures
        await hear_each_other(we, they)
        film.stop()


async def carries(channel: DataChannel, they: VendorJs, label: str, word: str) -> None:
    """`word` goes there and back."""
    await channel.send(word)
    got = f"they.received.some((m) => m.label === {label!r} && m.data === {word!r})"
    await until(they.page, got, "they.received")
    await they.page.evaluate(f"they.channels[{label!r}].send({word!r})")
    assert await anext(channel) == word


@slow_roles
async def test_data_channels_of_either_side_carry_both_ways(
    start_hub: StartHub, js: OpenSide, our_id: str
) -> None:
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller")) as (we, they):
        await hear_each_other(we, they)
        channel = await we.inner.peer.remote_peers["caller"].create_data_channel("ours")
        await carries(channel, they, "ours", "one")
        await they.page.evaluate("([id, label]) => they.open(id, label)", [our_id, "theirs"])
        theirs = (await we.inner.event(DataChannelOpened)).channel
        await until(they.page, "they.channels.theirs.readyState === 'open'")
        await carries(theirs, they, "theirs", "two")
        # Sound goes on after what was agreed on again, and after a restart of all of it.
        await come_back_from_a_lost_path(they, we)


@pytest.mark.parametrize("both_open", [False, True], ids=["only ours", "beside theirs"])
@pytest.mark.network
async def test_a_channel_we_opened_goes_on_after_a_restart(
    start_hub: StartHub, js: OpenSide, both_open: bool
) -> None:
    async with start_hub() as hub, both(hub, ours, js, ("~agent", "caller")) as (we, they):
        await hear_each_other(we, they)
        channel = await we.inner.peer.remote_peers["caller"].create_data_channel("ours")
        await carries(channel, they, "ours", "one")
        if both_open:
            await they.page.evaluate("([id, label]) => they.open(id, label)", ["~agent", "theirs"])
            await we.inner.event(DataChannelOpened)
        await come_back_from_a_lost_path(they, we)
        # Chromium keeps the old one, and opens another beside it.
        await carries(channel, they, "ours", "two")


@roles
async def test_tracks_that_js_replaces_removes_and_adds(
    start_hub: StartHub, js: OpenSide, our_id: str
) -> None:
    async with start_hub() as hub, both(hub, ours, js, (our_id, "caller")) as (we, they):
        await hear_each_other(we, they)
        they.says_hz = 2000
        await they.page.evaluate("they.replace(2000)")
        await we.hears(they)
        await they.page.evaluate("they.peer.removeStream(they.voice)")
        await we.inner.event(TrackEnded)
        they.says_hz = 1500
        stream_id = await they.page.evaluate("they.speak(1500, { role: 'second' })")
        await we.hears(they)
        assert we.tracks()[-1] == ("caller", stream_id, {"role": "second"})
        await they.hears(we)
