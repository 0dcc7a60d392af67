"""Where the time of a turn went: every step on one monotonic clock, and a sum that leaves nothing out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Step(StrEnum):
    """The moments of a turn, in the order in which an answer needs them."""

    #: The caller's last sound.
    SPEECH_END = "speech_end"
    #: Recognition of the whole turn was asked for …
    ASKED = "asked"
    #: … and its text was there.
    TRANSCRIBED = "transcribed"
    #: The model was asked for the reply: at once, or when the turn was over (of somebody else, or because
    #: speculation was withheld).
    THINKING = "thinking"
    #: The first clause of the reply was complete.
    FIRST_CLAUSE = "first_clause"
    #: The first audio of the reply was there.
    FIRST_AUDIO = "first_audio"
    #: The floor was decided: the reply may sound.
    RELEASED = "released"
    #: Its first sample was handed to the playout.
    AUDIBLE = "audible"


#: What the time up to each moment was spent on, from the caller's point of view.
_SPENT_ON = {
    Step.ASKED: "pause_ms",
    Step.TRANSCRIBED: "stt_ms",
    Step.THINKING: "endpoint_ms",
    Step.FIRST_CLAUSE: "llm_ms",
    Step.FIRST_AUDIO: "tts_ms",
    Step.RELEASED: "endpoint_ms",
    Step.AUDIBLE: "playout_ms",
}


@dataclass(slots=True)
class Timeline:
    """The moments of one turn in milliseconds; a step that happens again (more speech) counts anew."""

    #: 0 until a turn is answered.
    turn: int = 0
    at_ms: dict[Step, float] = field(default_factory=dict)

    def mark(self, step: Step, now_ms: float) -> None:
        self.at_ms[step] = now_ms

    @property
    def total_ms(self) -> float | None:
        """The caller's last sound to the reply's first; None while either is missing, as in a typed turn."""
        if Step.SPEECH_END not in self.at_ms or Step.AUDIBLE not in self.at_ms:
            return None
        return self.at_ms[Step.AUDIBLE] - self.at_ms[Step.SPEECH_END]

    def steps_ms(self) -> dict[str, float]:
        """The total, divided among what the caller waited for at each moment; the parts add up to the total.

        Work that went on behind a longer wait costs nothing: only what pushed the first sound back counts.
        """
        if self.total_ms is None:
            return {}
        spent: dict[str, float] = {}
        reached_ms = self.at_ms[Step.SPEECH_END]
        for step, name in _SPENT_ON.items():
            at_ms = min(self.at_ms.get(step, reached_ms), self.at_ms[Step.AUDIBLE])
            spent[name] = spent.get(name, 0.0) + max(0.0, at_ms - reached_ms)
            reached_ms = max(reached_ms, at_ms)
        return spent
