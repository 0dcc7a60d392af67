"""What the conversation needs of the loudspeaker side; `agent.realtime.AudioSource` is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipelines.audio import Pcm, Samples


class Playout(Protocol):
    #: The level at which audio plays, 0 is as synthesised; a change is heard with the next frame.
    gain_db: float
    #: Silent from the next frame on while true; then goes on where it stopped. `clear` ends it.
    paused: bool
    #: Called with all that is handed out, silence included, in order: 16 kHz mono blocks, and when each
    #: block's first sample was handed out, on `time.monotonic` in ms. Must not block.
    on_played: Callable[[Samples, float], None] | None

    async def push(self, pcm: Pcm) -> None:
        """Queue audio behind what is queued; waits while the buffer is full."""

    async def flush(self) -> None:
        """An utterance ended: let out what a resampler still holds back."""

    def clear(self) -> None:
        """Drop everything queued; nothing of it sounds after the frame being played."""

    @property
    def played_ms(self) -> float:
        """Audio handed out so far; silence in between does not count."""

    @property
    def queued_ms(self) -> float: ...

    async def drained(self) -> None:
        """Returns when everything pushed was handed out or cleared."""
