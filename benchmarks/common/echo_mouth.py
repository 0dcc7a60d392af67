"""A microphone in the room that the loudspeaker is in."""

from __future__ import annotations

import av
import numpy as np

from agent.recording import RATE_HZ
from benchmarks.common.ears import Ears
from benchmarks.common.mouth import Mouth
from benchmarks.common.sound import FRAME_SAMPLES
from benchmarks.common.stimuli import EchoPath, Floats, room_response


class EchoMouth(Mouth):
    """Says what it is given, and what `ears` hear, as the room sends it back; `path` None: headphones."""

    def __init__(self, ears: Ears, path: EchoPath | None) -> None:
        super().__init__()
        self._ears = ears
        self._response = room_response(path) if path else None
        self._delay = int(path.delay_ms * RATE_HZ / 1000) if path else 0
        #: What is still to come out of the room, from the next frame on.
        self._coming: Floats = np.zeros(0)
        self._heard_s = 0.0

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        if self._response is None:
            return frame
        fresh = [heard for heard in self._ears.heard if heard.at_s > self._heard_s]
        for heard in fresh:
            self._enter(heard.samples.astype(np.float64), self._response)
            self._heard_s = heard.at_s
        echo, self._coming = self._coming[:FRAME_SAMPLES], self._coming[FRAME_SAMPLES:]
        samples = frame.to_ndarray().astype(np.float64)
        samples[0, : len(echo)] += echo
        mixed = np.clip(samples, -32768, 32767).astype(np.int16)
        out = av.AudioFrame.from_ndarray(mixed, layout="mono")
        out.sample_rate, out.pts, out.time_base = frame.sample_rate, frame.pts, frame.time_base
        return out

    def _enter(self, sound: Floats, response: Floats) -> None:
        """Packets follow each other without a gap, whenever they came: behind what the last one began."""
        size = 2 ** int(np.ceil(np.log2(len(sound) + len(response))))
        echo = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size))
        tail = len(response)
        start = len(self._coming) - tail if len(self._coming) > tail else self._delay
        grown = np.zeros(start + len(sound) + tail)
        grown[: len(self._coming)] = self._coming[: len(grown)]
        grown[start:] += echo[: len(sound) + tail]
        self._coming = grown
