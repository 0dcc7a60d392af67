"""What was said in a call, as the model gets to see it: what was not heard was not said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipelines.llm.base import Message

#: Marks where the agent was interrupted, in the dialogue and in captions.
CUT = "…"

_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Line:
    message: Message
    peer: str = ""
    #: An answer that was cut off.
    cut: bool = False


class Dialogue:
    """The messages of one call, bounded: the instructions stay, the oldest of the rest go first."""

    def __init__(self, instructions: str, *, max_messages: int) -> None:
        self._system = Message("system", instructions)
        self._max_messages = max_messages
        self._lines: list[_Line] = []

    def caller_said(self, peer: str, text: str) -> None:
        self._add(_Line(Message("user", text), peer))

    def agent_said(self, text: str, *, interrupted: bool) -> None:
        """What was heard of a reply; nothing at all leaves no trace."""
        if text:
            self._add(_Line(Message("assistant", f"{text}{CUT}" if interrupted else text), cut=interrupted))

    def tools_ran(self, messages: Iterable[Message]) -> None:
        """An assistant message with its tool calls, and their answers."""
        for message in messages:
            self._add(_Line(message))

    def messages(self, unaccepted: Iterable[tuple[str, str]] = ()) -> list[Message]:
        """The dialogue for the model, followed by what callers said that is not part of it yet.

        An answer that was cut off ends in `CUT`, and what cut it off says so (`Message.interrupts`). One
        person's sentences in a row are one message. People are told apart by name once there are two.
        """
        lines = [*self._lines, *(_Line(Message("user", text), peer) for peer, text in unaccepted)]
        several = len({line.peer for line in lines if line.peer}) > 1
        merged: list[_Line] = []
        for line in lines:
            last = merged[-1] if merged else None
            if last and line.message.role == "user" == last.message.role and last.peer == line.peer:
                both = f"{last.message.content} {line.message.content}"
                merged[-1] = replace(last, message=replace(last.message, content=both))
            elif last and last.cut and line.message.role == "user":
                merged.append(replace(line, message=replace(line.message, interrupts=True)))
            else:
                merged.append(line)
        return [
            self._system,
            *(self._named(line) if several and line.peer else line.message for line in merged),
        ]

    @staticmethod
    def _named(line: _Line) -> Message:
        return replace(line.message, name=_NOT_NAME.sub("_", line.peer)[:64] or None)

    def _add(self, line: _Line) -> None:
        self._lines.append(line)
        while len(self._lines) > self._max_messages or (
            self._lines and self._lines[0].message.role == "tool"
        ):
            # A tool's answer without the message that asked for it is refused by every endpoint.
            del self._lines[0]
