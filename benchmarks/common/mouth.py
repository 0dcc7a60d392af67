"""What a caller says: frames of 20 ms at an even pace, and when each of them left."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCRtpSender

from agent.recording import RATE_HZ
from benchmarks.common.sound import FRAME_SAMPLES, Int16, Recording, room_noise

_FRAME_S = FRAME_SAMPLES / RATE_HZ
#: Behind by more, the caller's machine was held up; frames in a burst would sound like nobody speaks.
_MAX_BEHIND_S = 0.2
_KEPT = 500


class Mouth(MediaStreamTrack):
    """A microphone in a quiet room that can be given something to say."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._saying: deque[tuple[int, Int16]] = deque()
        self._noise = room_noise(RATE_HZ, np.random.default_rng(1))
        self._number = 0
        self._next_s: float | None = None
        self._sent: dict[int, float] = {}
        self._first_timestamp: int | None = None
        self._left = asyncio.Event()
        #: What the track calls a frame that `say` gave a key.
        self._frame_of: dict[int, int] = {}
        self._queued = 0

    # ---- speaking

    def say(self, samples: Int16) -> range:
        """Put mono samples at 48 kHz behind what is still to be said; keys of their frames for `left_s`."""
        first = self._queued
        padded = np.concatenate((samples, np.zeros(-len(samples) % FRAME_SAMPLES, np.int16)))
        for start in range(0, len(padded), FRAME_SAMPLES):
            self._saying.append((self._queued, padded[start : start + FRAME_SAMPLES]))
            self._queued += 1
        return range(first, self._queued)

    async def left_s(self, key: int) -> float:
        """When the frame of that key left for the network, in seconds of the monotonic clock."""
        while (number := self._frame_of.get(key)) is None or number not in self._sent:
            self._left.clear()
            await self._left.wait()
        return self._sent[number]

    async def say_recording(self, recording: Recording) -> tuple[float, float]:
        """Say it; when its first and its last sound left, once the last one has."""
        frames = self.say(recording.samples)
        end_s = await self.left_s(frames[(recording.end - 1) // FRAME_SAMPLES])
        begin_s = await self.left_s(frames[recording.begin // FRAME_SAMPLES])
        return begin_s, end_s

    # ---- what aiortc asks for

    async def recv(self) -> av.AudioFrame:
        now_s = time.monotonic()
        if self._next_s is None or now_s - self._next_s > _MAX_BEHIND_S:
            self._next_s = now_s
        await asyncio.sleep(self._next_s - now_s)
        self._next_s += _FRAME_S
        at = self._number * FRAME_SAMPLES % len(self._noise)
        samples = self._noise[at : at + FRAME_SAMPLES]
        if self._saying:
            key, said = self._saying.popleft()
            self._frame_of[key] = self._number
            samples = np.clip(samples.astype(np.int32) + said, -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], layout="mono")
        frame.sample_rate = RATE_HZ
        frame.pts = self._number * FRAME_SAMPLES
        frame.time_base = Fraction(1, RATE_HZ)
        self._number += 1
        return frame

    def watch(self, sender: RTCRtpSender) -> None:
        """Note when frames leave through `sender`, whose connection must be there."""
        # Private: the last place where a packet is in our hands.
        transport: Any = sender.transport
        send = transport._send_rtp

        async def tap(data: bytes) -> None:
            await send(data)
            # The sender reports go the same way; their type is in the second byte (RFC 5761, section 4).
            if not 192 <= data[1] <= 223:
                self._note(int.from_bytes(data[4:8], "big"))

        transport._send_rtp = tap

    def _note(self, timestamp: int) -> None:
        if self._first_timestamp is None:
            self._first_timestamp = timestamp
        number = ((timestamp - self._first_timestamp) & 0xFFFFFFFF) // FRAME_SAMPLES
        self._sent[number] = time.monotonic()
        self._sent.pop(number - _KEPT, None)
        self._left.set()
