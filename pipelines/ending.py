"""When a turn is over: what is known of everybody in it, and how each of them pauses; pure.

One caller's pause, from the last sound (t = 0)::

    speech │ pause_ms          │ transcript │ thinks, speaks into the gate │ silence needed
    ───────┼───────────────────┼────────────┼──────────────────────────────┼──────────────▶ t
           0        Transcribe ┘     Think ─┘            (nothing sounds)  └ Speak: the gate opens

How much silence is needed is decided by `pipelines.endpoint` and again with every new piece of evidence;
while words are awaited nothing is over.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from pipelines.endpoint import Decision, Evidence, silence_needed
from pipelines.floor import UNDER_WAY, Segment, Stage, normalise
from pipelines.options import TurnOptions

#: Pauses remembered of each caller, the latest.
MAX_PAUSES = 16
#: A longer silence was not a pause inside a turn, whatever came after it.
MAX_PAUSE_MS = 3000.0

_UNKNOWN = UNDER_WAY | {Stage.SPEAKING, Stage.PAUSED, Stage.FAILED}


class Endings:
    """Decides, for the callers of one room, how long each has to be silent before their turn is over."""

    def __init__(self, options: TurnOptions, language: str | None) -> None:
        self._options = options
        self._language = language
        self._pauses: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_PAUSES))
        self._ended_ms: dict[str, float] = {}
        self._last: tuple[Evidence, Decision] | None = None

    def went_on(self, segment: Segment, text: str) -> None:
        """`text` is what `segment` says now; if more than before, the pause in it was one inside the turn."""
        if segment.gap_ms is None:
            return
        if normalise(text) != normalise(segment.text):
            self._paused(segment.peer, segment.gap_ms)
        segment.gap_ms = None

    def ended(self, segments: Sequence[Segment]) -> None:
        """The turn was taken to be over. Where an earlier one ended is of no use any more."""
        self._ended_ms = {segment.peer: segment.quiet_since_ms for segment in segments}

    def cut_in_on(self, segment: Segment) -> None:
        """It was not: what `segment` begins over a reply that has hardly begun is the rest of it."""
        if (ended_ms := self._ended_ms.get(segment.peer)) is not None:
            self._paused(segment.peer, segment.started_ms - ended_ms)

    def forget(self, peer: str) -> None:
        """`peer` is gone."""
        self._pauses.pop(peer, None)
        self._ended_ms.pop(peer, None)

    def _paused(self, peer: str, pause_ms: float) -> None:
        if self._options.pause_ms <= pause_ms <= MAX_PAUSE_MS:
            self._pauses[peer].append(pause_ms)

    def over_ms(self, segments: Sequence[Segment]) -> tuple[float, Decision]:
        """When everybody in the turn has been silent for long enough, and what decided it: of several
        callers, the one who has to be waited for longest."""
        peers = {s.peer for s in segments}
        return max((self._of(peer, segments) for peer in peers), key=lambda over: over[0])

    def _of(self, peer: str, segments: Sequence[Segment]) -> tuple[float, Decision]:
        mine = [s for s in segments if s.peer == peer]
        quiet_ms = max(s.quiet_since_ms for s in mine)
        if mine[-1].stage is Stage.WRITTEN:
            # Enter is the end of a written turn: there is no silence to wait for.
            return quiet_ms, Decision(0.0, (("written", 0.0),))
        decision = self._needed(peer, mine)
        return quiet_ms + decision.silence_ms, decision

    def _needed(self, peer: str, mine: Sequence[Segment]) -> Decision:
        known = not any(s.stage in _UNKNOWN for s in mine)
        text = " ".join(s.text for s in mine if s.text) if known else None
        if text is not None and not normalise(text):
            shortest_ms = float(self._options.end_of_turn_min_ms)
            return Decision(shortest_ms, (("nothing_said", shortest_ms),))
        silence = mine[-1].silence
        evidence = Evidence(
            text=text,
            language=self._language or next((s.language for s in reversed(mine) if s.language), None),
            speech_ms=sum(s.speech_ms(s.quiet_since_ms) for s in mine),
            prosody=silence.prosody,
            pauses_ms=tuple(self._pauses.get(peer, ())),
            model_probability=silence.model_probability,
            speech_probability=silence.speech_probability,
        )
        # Asked again with every block of audio that is heard, and mostly about the same.
        if self._last is None or self._last[0] != evidence:
            self._last = evidence, silence_needed(evidence, self._options)
        return self._last[1]
