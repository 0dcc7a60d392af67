"""A machine under a virtual clock, for the tests of the floor."""

from __future__ import annotations

from pipelines.events import (
    Command,
    Event,
    Offset,
    Onset,
    OverlapEnded,
    Speculated,
    Tick,
    Transcribe,
    Transcribed,
    TurnEnded,
)
from pipelines.options import TurnOptions
from pipelines.turns import Turns

#: A turn is over after 600 ms of silence, whatever the evidence.
OPTIONS = TurnOptions(pause_ms=200, end_of_turn_min_ms=600, end_of_turn_max_ms=600, max_segment_ms=20_000)
#: What is only for the record.
RECORD = (TurnEnded, OverlapEnded, Speculated)


class Room:
    """A machine and its virtual clock: `at` moves time on, deadline by deadline, then sends an event."""

    def __init__(self, options: TurnOptions = OPTIONS, language: str | None = "en") -> None:
        self.options = options
        self.turns = Turns(options, language=language)
        self.now_ms = 0.0
        self.log: list[tuple[float, Command]] = []

    def at(self, now_ms: float, event: Event | None = None) -> list[Command]:
        """The commands since the last call, those of deadlines on the way included."""
        seen = len(self.log)
        while (deadline := self.turns.deadline_ms) is not None and deadline <= now_ms:
            self._send(Tick(), max(deadline, self.now_ms))
        self.now_ms = now_ms
        if event is not None:
            self._send(event, now_ms)
        return [command for _, command in self.log[seen:] if not isinstance(command, RECORD)]

    def _send(self, event: Event, now_ms: float) -> None:
        self.now_ms = now_ms
        self.log += [(now_ms, command) for command in self.turns.handle(event, now_ms)]

    def says(self, text: str, start_ms: float, end_ms: float, peer: str = "ann") -> list[Command]:
        """One stretch of speech, recognised 50 ms after it was asked for."""
        seen = len(self.log)
        self.at(start_ms, Onset(peer, start_ms))
        self.at(end_ms, Offset(peer, end_ms))
        asked = [c for c in self.at(end_ms + self.options.pause_ms) if isinstance(c, Transcribe)]
        for command in asked:
            self.at(end_ms + self.options.pause_ms + 50, Transcribed(command.segment, command.revision, text))
        return [command for _, command in self.log[seen:] if not isinstance(command, RECORD)]

    def when(self, kind: type[Command]) -> list[float]:
        return [now_ms for now_ms, command in self.log if isinstance(command, kind)]

    def speculations(self) -> list[str]:
        """What became of every speculation so far."""
        return [command.outcome for _, command in self.log if isinstance(command, Speculated)]
