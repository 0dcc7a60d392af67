"""Receives a call's sound and notes when it hears a click: a process of its own.

    python -m benchmarks.common.click_ears ours|aiortc

Reads an offer (a line of JSON: the SDP) from its standard input and answers it in the same way. When that
input ends, it says when (on the machine's monotonic clock) clicks began, how much sound there was in all, and
what it took to receive, and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from agent.realtime import aiortc_seam, iter_speech

#: A click is full of energy, everything else almost silent. A fifth of full scale.
LOUD = 0.2


class ClickEars:
    def __init__(self) -> None:
        self.clicks_s: list[float] = []
        self.heard_ms = 0.0
        #: Processor time of this process when the first sound came, and when that was.
        self.began: tuple[float, float] | None = None
        self._was_loud = False

    @property
    def cpu_share(self) -> float:
        """How much of a core was used since the first sound."""
        if self.began is None:
            return 0.0
        return (time.process_time() - self.began[0]) / (time.monotonic() - self.began[1])

    async def listen(self, track: MediaStreamTrack, *, ours: bool) -> None:
        """Each the way it is meant to be read."""
        if ours:
            async for block in iter_speech(track):
                self._hear(float(np.abs(block).max()), 1000.0 * len(block) / 16_000)
            return
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                peak = float(np.abs(frame.to_ndarray()).max()) / 32_768
                self._hear(peak, 1000.0 * frame.samples / frame.sample_rate)
        except MediaStreamError:
            pass

    def _hear(self, peak: float, duration_ms: float) -> None:
        self.began = self.began or (time.process_time(), time.monotonic())
        self.heard_ms += duration_ms
        is_loud = peak > LOUD
        if is_loud and not self._was_loud:
            self.clicks_s.append(time.monotonic())
        self._was_loud = is_loud


async def main(system: str) -> None:
    ours = system == "ours"
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    ears = ClickEars()
    listening: list[asyncio.Task[None]] = []

    def on_track(track: MediaStreamTrack) -> None:
        if ours:
            track = aiortc_seam.prepare_received_track(pc, track)
        listening.append(asyncio.create_task(ears.listen(track, ours=ours)))

    pc.on("track", on_track)
    loop = asyncio.get_running_loop()
    offer = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    print(json.dumps(pc.localDescription.sdp), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    heard = {"clicks_s": ears.clicks_s, "heard_ms": ears.heard_ms, "cpu_share": ears.cpu_share}
    print(json.dumps(heard), flush=True)
    await pc.close()
    await asyncio.gather(*listening)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
