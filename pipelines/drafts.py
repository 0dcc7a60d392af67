"""Answers that are prepared before they may sound: which one is kept and which is thrown away; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines import events as ev
from pipelines.budget import Budget
from pipelines.floor import Draft, Segment, Stage, normalise


class Drafts:
    """Prepares the answers of one room. `do` takes the commands, `new_id` names the replies.

    At most `max_wasted_per_min` speculative answers are thrown away in any minute: people who keep changing
    their sentences cost one answer each time, and after so many thinking waits for the end of the turn. Only
    speculation is capped: what follows the end of a turn has to be asked, also of somebody who goes on before
    the answer sounds. Both are recorded as wasted.
    """

    def __init__(
        self, max_wasted_per_min: int, *, do: Callable[[ev.Command], None], new_id: Callable[[], str]
    ) -> None:
        self._wasted = Budget(max_wasted_per_min)
        self._do = do
        self._new_id = new_id

    def say(self, what: str) -> Draft:
        """An announcement, free to sound."""
        reply = Draft(self._new_id(), "")
        self._do(ev.Say(reply.id, what))
        self._do(ev.Speak(reply.id))
        return reply

    def answer(
        self, segments: Sequence[Segment], draft: Draft | None, *, turn: int, now_ms: float, speculative: bool
    ) -> Draft | None:
        """The reply to what was said: `draft` if it answers these words, else a new one; None to silence."""
        key = normalise(" ".join(s.text for s in segments))
        if draft and draft.key == key:
            if speculative and draft.speculative:
                self._do(ev.Speculated("unchanged"))
            return draft
        if draft:
            self.discard(draft, now_ms)
        if not key:
            return None
        if speculative and not self._wasted.is_left(now_ms):
            self._do(ev.Speculated("withheld"))
            return None
        reply = Draft(self._new_id(), key, speculative)
        unaccepted = tuple((s.peer, s.text) for s in segments if s.text and s.stage is not Stage.ACCEPTED)
        self._do(ev.Think(reply.id, turn, unaccepted))
        return reply

    def discard(self, draft: Draft, now_ms: float) -> None:
        """`draft` will not be said."""
        self._do(ev.Cancel(draft.id))
        if draft.speculative:
            self._wasted.spend(now_ms)
        if draft.key:
            self._do(ev.Speculated("wasted"))
