"""What an agent told the room during a call, as one caller saw it. Pure; see ``docs/room-messages.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Messages come from whoever is in the room, so what is kept of them is bounded.
MAX_KEPT = 1000
MAX_TEXT_CHARS = 20_000


@dataclass(slots=True)
class Line:
    """What one side said: a caller's segment or a reply of the agent's, as its latest caption has it."""

    speaker: Literal["caller", "agent"]
    id: str
    text: str
    final: bool
    interrupted: bool
    #: When its first caption came, on our clock.
    since_ms: float


@dataclass(frozen=True, slots=True)
class TurnLatency:
    """The caller's last sound to the agent's first, as the agent measured it, and what was waited for."""

    turn: int
    total_ms: float
    steps_ms: dict[str, float]


@dataclass(slots=True)
class CallLog:
    """Captions, state, latencies and problems; unknown messages are ignored, as the protocol wants it."""

    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    latencies: list[TurnLatency] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    state: str = ""

    def take(self, message: Any, *, own_id: str | None, now_ms: float) -> Line | TurnLatency | str | None:
        """Take one message of the agent's; returns what is new in it: a line, a latency, or a problem.

        Captions of other callers than `own_id` are not ours and are left out.
        """
        if not isinstance(message, Mapping):
            return None
        match message.get("type"):
            case "agent.hello":
                self.state = _text(message.get("state"))
                warnings = message.get("warnings")
                self.warnings = [_text(w) for w in warnings[:20]] if isinstance(warnings, list) else []
            case "agent.state":
                self.state = _text(message.get("state"))
            case "agent.caption":
                return self._caption(message, own_id, now_ms)
            case "agent.latency":
                return self._latency(message)
            case "agent.error" if len(self.problems) < MAX_KEPT:
                self.problems.append(_text(message.get("message")))
                return self.problems[-1]
        return None

    def said(self, speaker: Literal["caller", "agent"], *, after_ms: float = float("-inf")) -> list[Line]:
        """The final lines of one side that hold any words, in order."""
        lines = (line for line in self.lines.values() if line.speaker == speaker)
        return [line for line in lines if line.final and line.text and line.since_ms >= after_ms]

    def _caption(self, message: Mapping[str, Any], own_id: str | None, now_ms: float) -> Line | None:
        speaker: Literal["caller", "agent"] = "agent" if message.get("speaker") == "agent" else "caller"
        if speaker == "caller" and own_id is not None and message.get("peer") != own_id:
            return None
        key = (speaker, _text(message.get("id")))
        if key not in self.lines and len(self.lines) >= MAX_KEPT:
            return None
        known = self.lines.get(key)
        line = Line(
            speaker,
            key[1],
            _text(message.get("text")),
            message.get("final") is True,
            message.get("interrupted") is True,
            known.since_ms if known else now_ms,
        )
        self.lines[key] = line
        return line

    def _latency(self, message: Mapping[str, Any]) -> TurnLatency | None:
        turn, total, steps = message.get("turn"), message.get("total_ms"), message.get("steps_ms")
        if not isinstance(total, int | float) or len(self.latencies) >= MAX_KEPT:
            return None
        steps_ms = {
            _text(name): float(ms)
            for name, ms in (list(steps.items())[:20] if isinstance(steps, Mapping) else [])
            if isinstance(ms, int | float)
        }
        self.latencies.append(TurnLatency(turn if isinstance(turn, int) else 0, float(total), steps_ms))
        return self.latencies[-1]


def _text(value: Any) -> str:
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""
