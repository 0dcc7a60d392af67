"""What a caller hears: every packet decoded as it arrives, with the time at which it arrived. No buffering.

A buffer against jitter would add its own delay to every system, more or less of it depending on how evenly
each sends; here sound counts as heard when the packet that carries it is there, for all systems alike.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc import RTCRtpReceiver

from agent.recording import RATE_HZ
from benchmarks.common.sound import SOUND_DBFS, WINDOW_SAMPLES, Int16, levels_dbfs

#: Longest that is kept, of one connection.
MAX_HEARD_S = 120.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet: its samples, mono at 48 kHz, and when it arrived, in seconds of the monotonic clock."""

    at_s: float
    samples: Int16


class Ears:
    """Listens to one connection; `listen_to` its receiver before packets come."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._arrived = asyncio.Event()
        self._sequence: int | None = None
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._decoder.format = "s16"
        self._decoder.layout = "mono"
        self._decoder.sample_rate = RATE_HZ

    def listen_to(self, receiver: RTCRtpReceiver) -> None:
        """Take the packets before aiortc does; it goes on to answer for them with reports."""
        # Private, and the only place where a packet can be had before any buffer.
        private: Any = receiver
        handle = private._handle_rtp_packet

        async def tap(packet: Any, arrival_time_ms: int) -> None:
            self._take(packet, time.monotonic())
            await handle(packet, arrival_time_ms)

        private._handle_rtp_packet = tap

    async def packet(self, timeout_s: float) -> None:
        """Wait for the next packet, or for so long."""
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def forget(self) -> None:
        """Begin anew."""
        self.heard.clear()

    def first_sound_s(self, after_s: float, over_dbfs: float = SOUND_DBFS) -> float | None:
        """When the first sound arrived in a packet that came after `after_s`; None: none so far."""
        for heard in self.heard:
            if heard.at_s > after_s:
                loud = np.flatnonzero(levels_dbfs(heard.samples) > over_dbfs)
                if len(loud):
                    return heard.at_s + int(loud[0]) * WINDOW_SAMPLES / RATE_HZ
        return None

    def last_sound_s(self, over_dbfs: float = SOUND_DBFS) -> float | None:
        """When the last packet with sound in it arrived; None: there was no sound."""
        for heard in reversed(self.heard):
            if (levels_dbfs(heard.samples) > over_dbfs).any():
                return heard.at_s
        return None

    def _take(self, packet: Any, now_s: float) -> None:
        if not packet.payload:
            return
        # One that comes late or twice cannot be heard any more: what follows it has been.
        if self._sequence is not None and not 0 < (packet.sequence_number - self._sequence) & 0xFFFF < 0x8000:
            return
        self._sequence = packet.sequence_number
        for frame in self._decoder.decode(av.Packet(packet.payload)):
            self.heard.append(Heard(now_s, np.ascontiguousarray(frame.to_ndarray().reshape(-1))))
        self._arrived.set()
        while self.heard and now_s - self.heard[0].at_s > MAX_HEARD_S:
            self.heard.pop(0)
