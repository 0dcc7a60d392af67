"""What the conversation needs of the loudspeaker side; `agent.realtime.AudioSource` is one."""

from __future__ import annotations

from typing import Protocol

from pipelines.audio import Pcm


class Playout(Protocol):
    #: The level at which audio plays, 0 is as synthesised; a change is heard with the next frame.
    gain_db: float

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
