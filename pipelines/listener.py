"""One caller's speech: blocks of audio in, edges out, and the recognition of each segment."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import numpy as np
from prometheus_client import Counter

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.endpoint import ProsodyTracker
from pipelines.events import Murmur, Offset, Onset, Quiet
from pipelines.interruption import ECHO, ECHO_IN_SPEECH, EchoGate, PlayedLevels
from pipelines.options import VadOptions
from pipelines.stt.base import Recognition
from pipelines.vad import WINDOW_MS, Edge, SileroVad, SpeechDetector, Windows

_ECHOES = Counter(
    "voice_agent_echo_windows_total",
    "Windows of 32 ms of a caller's sound that were our own voice, coming back",
)

#: Audio this much behind the clock was not delayed, it was not sent: the stream starts anew from now.
MAX_LAG_MS = 500.0
#: Without a packet for this long a caller counts as silent: nobody waits for a line that is dead.
STALL_S = 0.3
#: The beginning of a silence, in which it is decided what it means.
MAX_QUIET_WINDOWS = int(2000 / WINDOW_MS)

#: What a listener finds.
SpeechEvent: TypeAlias = Murmur | Onset | Offset | Quiet


class AudioClock:
    """When each block of a stream was said, on the clock of whoever receives it; pure.

    Blocks that waited (for the network, for a busy event loop) arrive in a bunch: what was said in them was
    said one after the other all the same, and a silence among them lasted as long as its samples. Time
    therefore advances by samples, never ahead of the clock, and creeps back to it where packets were lost.
    """

    def __init__(self) -> None:
        self._end_ms: float | None = None

    def advance(self, duration_ms: float, now_ms: float) -> float:
        """The next block, `duration_ms` long, is here at `now_ms`; returns when its last sample was said."""
        if self._end_ms is None or now_ms - self._end_ms - duration_ms > MAX_LAG_MS:
            self._end_ms = now_ms
        else:
            end_ms = min(now_ms, self._end_ms + duration_ms)
            # A twentieth of every block: a lost packet is made good within half a second.
            self._end_ms = min(now_ms, end_ms + duration_ms / 20)
        return self._end_ms


class Listener:
    """Runs the voice activity detection of one caller and feeds the open segment's recognition.

    `now_ms` is the conversation's clock; `on_event` is called with what is found, as it is found, `on_heard`
    after each block. What is nothing but the echo of what was `played` is not speech.
    The last `memory_ms` stay at hand for `since`.
    """

    def __init__(
        self,
        peer: str,
        options: VadOptions,
        *,
        played: PlayedLevels,
        now_ms: Callable[[], float],
        on_event: Callable[[SpeechEvent], None],
        on_heard: Callable[[], None],
        memory_ms: float = 0.0,
    ) -> None:
        self._peer = peer
        self._now_ms = now_ms
        self._on_event = on_event
        self._on_heard = on_heard
        self._clock = AudioClock()
        #: The time up to which the caller has been heard.
        self.heard_ms = now_ms()
        self._windows = Windows()
        self._vad = SileroVad()
        self._echo = EchoGate(played)
        self._threshold = options.threshold
        self._detector = SpeechDetector(options)
        self._prosody = ProsodyTracker()
        #: The probabilities of the silence so far, while it is a short one.
        self._quiet: list[float] | None = None
        self._preroll_ms = options.preroll_ms
        # Enough for the pre-roll, the onset and a late command.
        recent_ms = max(memory_ms, options.preroll_ms + options.onset_ms + 500)
        self._recent: deque[tuple[float, Samples]] = deque(maxlen=int(recent_ms / WINDOW_MS) + 1)
        self._fed: Recognition | None = None

    async def run(self, audio: AsyncIterator[Samples]) -> None:
        """Listen until `audio` (16 kHz mono blocks) ends."""
        pending: asyncio.Task[Samples] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(_next(audio))
                done, _ = await asyncio.wait({pending}, timeout=STALL_S)
                if done:
                    block, pending = pending.result(), None
                    self.feed(block)
                elif self._detector.speaking:
                    self.feed(np.zeros(int(STALL_S * SPEECH_RATE_HZ), np.float32))
        except StopAsyncIteration:
            return
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})
            if self._detector.speaking:
                self._on_event(Offset(self._peer, self._now_ms()))

    def feed(self, block: Samples) -> None:
        """Take the next block."""
        block_end_ms = self._clock.advance(1000.0 * len(block) / SPEECH_RATE_HZ, self._now_ms())
        windows = list(self._windows.split(block))
        end_ms = block_end_ms - self._windows.rest_ms - WINDOW_MS * (len(windows) - 1)
        for window in windows:
            self.heard_ms = end_ms
            self._recent.append((end_ms, window))
            if self._fed is not None:
                self._fed.feed(window)
            probability = self._vad.probability(window)
            if self._echo.is_echo(window, end_ms) >= (ECHO_IN_SPEECH if self._detector.speaking else ECHO):
                if probability >= self._threshold:
                    _ECHOES.inc()
                probability = 0.0
            self._prosody.feed(window, probability)
            self._tell(self._detector.feed(probability, window, end_ms), probability, end_ms)
            end_ms += WINDOW_MS
        self.heard_ms = block_end_ms
        self._on_heard()

    def _tell(self, edge: Edge | None, probability: float, end_ms: float) -> None:
        if edge and edge.speech:
            self._quiet = None
            self._on_event(Onset(self._peer, edge.at_ms))
        elif edge:
            self._quiet = []
            self._on_event(Offset(self._peer, edge.at_ms, self._prosody.at_offset()))
        elif murmur_ms := self._detector.murmur_ms:
            self._on_event(Murmur(self._peer, end_ms, murmur_ms))
        if self._quiet is not None:
            self._quiet.append(probability)
            self._on_event(Quiet(self._peer, sum(self._quiet) / len(self._quiet)))
            if len(self._quiet) >= MAX_QUIET_WINDOWS:
                self._quiet = None

    @property
    def speaking(self) -> bool:
        return self._detector.speaking

    def since(self, from_ms: float) -> Samples:
        """What was heard since `from_ms`, as far as it is at hand."""
        windows = [window for end_ms, window in self._recent if end_ms > from_ms]
        return np.concatenate(windows) if windows else np.zeros(0, np.float32)

    def listen(self, recognition: Recognition, from_ms: float, *, preroll: bool = True) -> None:
        """From now on, feed `recognition` instead of another; first with what was heard since `from_ms`,
        and with the pre-roll before it."""
        if preroll:
            from_ms -= self._preroll_ms
        for end_ms, window in self._recent:
            if end_ms > from_ms:
                recognition.feed(window)
        self._fed = recognition

    def ignore(self, recognition: Recognition) -> None:
        """Stop feeding `recognition`, if it is the one being fed."""
        if self._fed is recognition:
            self._fed = None


async def _next(audio: AsyncIterator[Samples]) -> Samples:
    return await anext(audio)
