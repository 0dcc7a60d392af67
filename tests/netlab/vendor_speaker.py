"""The vendor's Python client as `our_speaker` is ours. Needs nothing of this project's own packages.

python -m tests.netlab.vendor_speaker '{"url": …, "room": …, "token": …}'
"""

from __future__ import annotations

import asyncio
import json
import sys

import metered_realtime as vendor
from metered_realtime.media_io import AudioSource

from tests.netlab import tones
from tests.netlab.reports import Report, before_others, in_background, keep_saying, until_told_to_end


async def main(url: str, room: str, token: str) -> None:
    async def provide() -> str:
        return token

    report, pcm = Report(), tones.cycle().tobytes()
    source = AudioSource(input_rate=tones.RATE_HZ, max_buffered_seconds=0.5)
    ears: set[asyncio.Task[None]] = set()

    async def listen(track: object, who: str) -> None:
        report.event("track", who=who)
        async for at_s, tone in tones.heard(track):
            report.hears(at_s, tone)

    def joined(event: vendor.PeerJoined) -> None:
        remote = event.peer

        def arrived(track: vendor.Track) -> None:
            ear = asyncio.create_task(listen(track.track, remote.id))
            ears.add(ear)
            ear.add_done_callback(ears.discard)

        remote.on(vendor.Track, arrived)
        remote.on(
            vendor.StateChange, lambda change: report.event("state", who=remote.id, state=str(change.to))
        )

    async def speak() -> None:
        while True:
            await source.push(pcm)

    async with vendor.MeteredPeer(token_provider=provide, url=url) as peer:
        peer.on(vendor.PeerJoined, joined)
        peer.on(vendor.StateChange, lambda change: report.event("state", who=None, state=str(change.to)))
        peer.on(vendor.FatalError, lambda event: report.event("fatal", code=type(event.err).__name__))
        peer.on(vendor.Data, lambda event: report.event("data", **event.data))
        peer.add_track(source, vendor.MediaStream(id="voice"))
        async with in_background(speak(), report.keep_flushing()):
            report.event("joining")
            await peer.join(room)
            report.event("joined")
            async with in_background(keep_saying(report, peer.send)):
                await until_told_to_end()


if __name__ == "__main__":
    before_others()
    asyncio.run(main(**json.loads(sys.argv[1])))
