"""Our peer as a process of its own: says tones, tells what it hears.

python -m tests.netlab.our_speaker '{"url": …, "room": …, "token": …}'
"""

from __future__ import annotations

import asyncio
import json
import sys

from agent.realtime import AudioSource, DataReceived, Peer, StateChanged, TrackAdded
from agent.realtime.remote.peer_events import FatalError
from pipelines.audio import Pcm
from tests.netlab import tones
from tests.netlab.reports import Report, before_others, in_background, keep_saying, until_told_to_end


async def main(url: str, room: str, token: str) -> None:
    async def provide() -> str:
        return token

    report, pcm = Report(), Pcm(tones.cycle(), tones.RATE_HZ)
    ears: set[asyncio.Task[None]] = set()

    async def listen(added: TrackAdded) -> None:
        report.event("track", who=added.remote.id)
        async for at_s, tone in tones.heard(added.track):
            report.hears(at_s, tone)

    async def follow() -> None:
        async for event in peer.events():
            match event:
                case TrackAdded():
                    ear = asyncio.create_task(listen(event))
                    ears.add(ear)
                    ear.add_done_callback(ears.discard)
                case DataReceived(data=data):
                    report.event("data", **data)
                case StateChanged(remote, state):
                    report.event("state", who=remote and remote.id, state=state)
                case FatalError(code):
                    report.event("fatal", code=code)

    async def speak() -> None:
        while True:
            await source.push(pcm)

    async with AudioSource() as source, Peer(url, token_provider=provide) as peer:
        peer.add_track(source, stream_id="voice")
        async with in_background(follow(), speak(), report.keep_flushing()):
            report.event("joining")
            await peer.join(room)
            report.event("joined")
            async with in_background(keep_saying(report, peer.send)):
                await until_told_to_end()


if __name__ == "__main__":
    before_others()
    asyncio.run(main(**json.loads(sys.argv[1])))
