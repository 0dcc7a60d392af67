"""Segments: what is asked of the recogniser about them, and how they end; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from pipelines import events as ev
from pipelines.floor import CLOSED, Segment, Stage

#: How often one caller's speech is cut in one turn.
MAX_CUTS = 4


class Segments:
    """Opens and ends the segments of one room. `do` takes the commands, `new_id` names the segments."""

    def __init__(self, *, do: Callable[[ev.Command], None], new_id: Callable[[], str]) -> None:
        self._do = do
        self._new_id = new_id

    def listen(self, peer: str, from_ms: float, *, continues: bool = False) -> Segment:
        """A new segment of what `peer` says from now on."""
        segment = Segment(peer, self._new_id(), from_ms)
        self._do(ev.Listen(peer, segment.id, from_ms, continues))
        return segment

    def write(self, peer: str, text: str, now_ms: float) -> Segment:
        """A segment that was typed."""
        return Segment(peer, self._new_id(), now_ms, stage=Stage.WRITTEN, quiet_since_ms=now_ms, words=text)

    def speak_on(self, segments: list[Segment], peer: str, at_ms: float) -> None:
        """The caller's open segment goes on, pause included; without one, a new segment joins the turn."""
        mine = [s for s in segments if s.peer == peer]
        last = next((s for s in reversed(mine) if s.stage not in CLOSED), None)
        if last is None:
            segments.append(self.listen(peer, at_ms))
            if mine:
                segments[-1].gap_ms = at_ms - mine[-1].quiet_since_ms
        elif last.stage is not Stage.SPEAKING:
            last.go_on(at_ms)

    def cut(self, segments: list[Segment], segment: Segment, at_ms: float) -> None:
        """A segment at the recogniser's limit: recognise it, and go on in a new one.

        Somebody who never pauses (a television, music) gets their answer after `MAX_CUTS` of them: a turn
        without end would keep everybody else waiting, and its audio in memory.
        """
        segment.fall_silent(at_ms, None)
        self.all_of(segment)
        if sum(s.peer == segment.peer for s in segments) <= MAX_CUTS:
            segments.append(self.listen(segment.peer, at_ms, continues=True))

    def all_of(self, segment: Segment) -> None:
        """It pauses: what was said so far may be all of it."""
        segment.revision += 1
        segment.stage = Stage.ASKED
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision))

    def some_of(self, segment: Segment) -> None:
        """It goes on: its words so far."""
        segment.revision += 1
        segment.next_words_ms = inf
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision, rough=True))

    def urgently(self, segments: Sequence[Segment]) -> None:
        """The words that are missing still are waited for. What failed is tried once more."""
        for segment in segments:
            if segment.stage in {Stage.ASKED, Stage.PAUSED, Stage.FAILED}:
                if segment.stage is not Stage.ASKED:
                    segment.revision += 1
                segment.stage = Stage.AWAITED
                self._do(ev.Transcribe(segment.peer, segment.id, segment.revision, decisive=True))

    def settle(self, segments: Sequence[Segment]) -> list[Segment]:
        """The turn is over: what was said belongs to the dialogue; returns that. The rest is forgotten."""
        for segment in segments:
            if segment.stage is Stage.ACCEPTED:
                continue
            if segment.text:
                self._do(ev.Accept(segment.peer, segment.id, segment.text))
                segment.stage = Stage.ACCEPTED
            else:
                why: ev.Why = "failed" if segment.stage is Stage.FAILED else "empty"
                self._do(ev.Forget(segment.peer, segment.id, why))
        return [s for s in segments if s.stage is Stage.ACCEPTED]

    def leave(self, segments: Sequence[Segment], peer: str | None) -> list[Segment]:
        """`peer` (None: everybody) is gone, with what was not finished; returns what is left."""
        gone = [s for s in segments if s.stage is not Stage.ACCEPTED and peer in {None, s.peer}]
        for segment in gone:
            self._do(ev.Forget(segment.peer, segment.id, "left"))
        return [s for s in segments if s not in gone]
