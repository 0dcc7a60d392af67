"""Segments: what is asked of the recogniser about them, and how they end; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from pipelines import events as ev
from pipelines.floor import CLOSED, UNDER_WAY, Segment, Stage, normalise
from pipelines.options import TurnOptions

#: How many pieces of one caller's speech are held until the turn is over. Of more, the oldest are accepted:
#: what is kept of them is text, and no audio.
MAX_CUTS = 4
#: Sound that goes on for so long without another word is noise: nobody has to wait for its end.
WORDLESS_MS = 2000.0


def wordless_ms(options: TurnOptions) -> float:
    """`WORDLESS_MS`, as far as segments are as long as that."""
    return min(WORDLESS_MS, options.max_segment_ms / 2)


class Segments:
    """Opens and ends the segments of one room. `do` takes the commands, `new_id` names the segments."""

    def __init__(self, *, do: Callable[[ev.Command], None], new_id: Callable[[], str]) -> None:
        self._do = do
        self._new_id = new_id

    def listen(self, peer: str, from_ms: float, *, continues: bool = False) -> Segment:
        """A new segment of what `peer` says from now on."""
        segment = Segment(peer, self._new_id(), from_ms, continues=continues)
        self._do(ev.Listen(peer, segment.id, from_ms, continues))
        return segment

    def write(self, peer: str, text: str, now_ms: float) -> Segment:
        """A segment that was typed."""
        return Segment(peer, self._new_id(), now_ms, stage=Stage.WRITTEN, quiet_since_ms=now_ms, words=text)

    def speak_on(self, segments: list[Segment], peer: str, at_ms: float) -> None:
        """The caller's open segment goes on, pause included; without one, a new segment joins the turn."""
        mine = [s for s in segments if s.peer == peer]
        last = next((s for s in reversed(mine) if s.stage not in CLOSED and not s.cut), None)
        if last is None:
            segments.append(self.listen(peer, at_ms))
            if mine:
                segments[-1].gap_ms = at_ms - mine[-1].quiet_since_ms
        elif last.stage is not Stage.SPEAKING:
            was_short = last.stage is Stage.PAUSED
            last.go_on(at_ms)
            if not was_short:
                # After a pause there may be words at last.
                last.said_ms = max(last.said_ms, last.sounded_ms - WORDLESS_MS / 2)

    def fall_silent(self, segments: Sequence[Segment], event: ev.Offset | ev.Quiet) -> None:
        """A caller fell silent, or still is."""
        for segment in segments:
            if segment.peer != event.peer or segment.stage in CLOSED:
                continue
            if isinstance(event, ev.Quiet):
                segment.silence.speech_probability = event.speech_probability
            elif segment.stage is Stage.SPEAKING:
                segment.fall_silent(event.at_ms, event.prosody)

    def judge(self, segments: Sequence[Segment], event: ev.Judged) -> None:
        """What the model says of a pause, unless it is over."""
        for segment in segments:
            if segment.id == event.segment and segment.revision == event.revision:
                segment.silence.model_probability = event.probability

    def cut(self, segments: list[Segment], segment: Segment, at_ms: float) -> None:
        """A segment at the recogniser's limit: recognise it, and go on in a new one.

        Where the recogniser failed on all of the last pieces, what goes on counts as noise: nobody could
        tell, and others would wait for ever.
        """
        held = [s for s in segments if s.cut and s.peer == segment.peer and s.stage is not Stage.ACCEPTED]
        lost = len(held) >= MAX_CUTS and all(s.stage is Stage.FAILED for s in held[-MAX_CUTS:])
        wordless = segment.wordless or lost
        segment.fall_silent(at_ms, None)
        segment.cut = True
        self.all_of(segment)
        segments.append(self._rest(segment, at_ms, wordless=wordless))
        if len(held) >= MAX_CUTS and not self.settle(held[:1]):
            segments.remove(held[0])

    def tell(self, segments: Sequence[Segment], piece: Segment) -> bool:
        """What a piece that was cut turned out to be is what goes on; returns whether that is speech."""
        rest = next((s for s in segments if s.peer == piece.peer and s.stage is Stage.SPEAKING), None)
        if rest is None or not piece.cut or normalise(rest.text):
            return False
        rest.wordless = not normalise(piece.text)
        rest.words = "" if rest.wordless else rest.words
        return not rest.wordless

    def set_apart(self, segments: list[Segment], segment: Segment) -> None:
        """A segment that goes on without words: what was said in it is known, the noise is one of its own."""
        asked_at_ms = max(segment.sounding_since_ms, segment.sounded_ms_at(segment.asked_ms))
        noise = self._rest(segment, asked_at_ms, wordless=True)
        if segment.text:
            segment.fall_silent(segment.sounded_ms_at(segment.said_ms), None)
            segment.stage = Stage.KNOWN
            segment.cut = True
        else:
            self._do(ev.Forget(segment.peer, segment.id, "empty"))
            segments.remove(segment)
        segments.append(noise)

    def _rest(self, segment: Segment, from_ms: float, *, wordless: bool) -> Segment:
        """What `segment` goes on in."""
        rest = self.listen(segment.peer, from_ms, continues=True)
        if wordless:
            rest.wordless, rest.words = True, ""
        return rest

    def all_of(self, segment: Segment) -> None:
        """It pauses: what was said so far may be all of it."""
        segment.revision += 1
        segment.stage = Stage.ASKED
        # An answer that is still under way is stale now.
        segment.next_words_ms = -inf
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision))

    def some_of(self, segment: Segment, now_ms: float, *, rough: bool) -> None:
        """It goes on: its words so far; `rough` ones tell what it is, but not that there is nothing in it."""
        segment.revision += 1
        segment.next_words_ms = inf
        segment.asked_ms = -inf if rough else segment.speech_ms(now_ms)
        self._do(ev.Transcribe(segment.peer, segment.id, segment.revision, rough=rough))

    def urgently(self, segments: Sequence[Segment]) -> None:
        """The words that are missing still are waited for. What failed is tried once more."""
        for segment in segments:
            if segment.stage in {Stage.ASKED, Stage.PAUSED, Stage.FAILED}:
                if segment.stage is not Stage.ASKED:
                    segment.revision += 1
                segment.stage = Stage.AWAITED
                self._do(ev.Transcribe(segment.peer, segment.id, segment.revision, decisive=True))

    def settle(self, segments: Sequence[Segment]) -> list[Segment]:
        """The turn is over: what was said belongs to the dialogue. Returns that, and the noise that goes on;
        the rest is forgotten."""
        kept: list[Segment] = []
        for segment in segments:
            if segment.stage in {Stage.ACCEPTED, Stage.SPEAKING, Stage.PAUSED}:
                kept.append(segment)
            elif segment.text:
                self._do(ev.Accept(segment.peer, segment.id, segment.text))
                segment.stage = Stage.ACCEPTED
                kept.append(segment)
            else:
                why: ev.Why = "failed" if segment.stage in UNDER_WAY | {Stage.FAILED} else "empty"
                self._do(ev.Forget(segment.peer, segment.id, why))
        return kept

    def leave(
        self, segments: Sequence[Segment], peer: str | None, *, writing_too: bool = True
    ) -> list[Segment]:
        """`peer` (None: everybody) is gone, with what was not finished; returns what is left."""
        stays = {Stage.ACCEPTED} if writing_too else {Stage.ACCEPTED, Stage.WRITTEN}
        gone = [s for s in segments if s.stage not in stays and peer in {None, s.peer}]
        for segment in gone:
            self._do(ev.Forget(segment.peer, segment.id, "left"))
        return [s for s in segments if s not in gone]
