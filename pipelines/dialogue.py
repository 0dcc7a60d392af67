"""What was said in a call, as the model gets to see it: what was not heard was not said."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from types import MappingProxyType

from pipelines.llm.base import Message, ToolCall

#: Marks where the agent was interrupted, in the dialogue and in captions.
CUT = "…"

#: As long as a name may be in the chat-completions interface.
MAX_NAME_CHARS = 64

_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Line:
    message: Message
    peer: str = ""
    #: What the peer is called, where that is known.
    name: str = ""
    #: An answer that was cut off.
    cut: bool = False


@dataclass(eq=False, slots=True)
class _Errand:
    """A tool call at the place where it began. Without an answer nothing is told of it yet."""

    call: ToolCall
    answer: str | None = None

    @property
    def messages(self) -> list[Message]:
        if self.answer is None:
            return []
        return [
            Message("assistant", "", tool_calls=(self.call,)),
            Message("tool", self.answer, tool_call_id=self.call.id),
        ]


class Dialogue:
    """The messages of one call, bounded: the instructions stay, the oldest of the rest go first.

    `names` says what the peers who are there now are called.
    """

    def __init__(
        self, instructions: str, *, max_messages: int, names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._system = Message("system", instructions)
        self._max_messages = max_messages
        self._names = names
        self._lines: list[_Line | _Errand] = []

    def caller_said(self, peer: str, text: str) -> None:
        self._add(self._said(peer, text))

    def agent_said(self, text: str, *, interrupted: bool) -> None:
        """What was heard of a reply; nothing at all leaves no trace."""
        if text:
            self._add(_Line(Message("assistant", f"{text}{CUT}" if interrupted else text), cut=interrupted))

    def tool_began(self, call: ToolCall) -> Callable[[str], None]:
        """A tool is at work. Returns what takes its answer; until then the model is told nothing of it."""
        errand = _Errand(call)
        self._add(errand)

        def answered(answer: str) -> None:
            errand.answer = answer

        return answered

    def messages(self, unaccepted: Iterable[tuple[str, str]] = ()) -> list[Message]:
        """The dialogue for the model, followed by what callers said that is not part of it yet.

        An answer that was cut off ends in `CUT`, and what cut it off says so (`Message.interrupts`). One
        person's sentences in a row are one message. People are told apart by name once there are two.
        """
        return self.told(unaccepted)()

    def told(self, unaccepted: Iterable[tuple[str, str]] = ()) -> Callable[[], list[Message]]:
        """`messages` for later: what is said by now, with the answers that tools have given by then."""
        lines = [*self._lines, *(self._said(peer, text) for peer, text in unaccepted)]
        return lambda: self._for_the_model(lines)

    def _for_the_model(self, lines: Sequence[_Line | _Errand]) -> list[Message]:
        flat: list[_Line] = []
        for line in lines:
            flat += [_Line(m) for m in line.messages] if isinstance(line, _Errand) else [line]
        names = _names(line for line in flat if line.peer)
        if len(names) == 1:
            names = {}
        return [
            self._system,
            *(replace(line.message, name=names.get(line.peer) or None) for line in _merged(flat)),
        ]

    def _said(self, peer: str, text: str) -> _Line:
        return _Line(Message("user", text), peer, self._names.get(peer, ""))

    def _add(self, line: _Line | _Errand) -> None:
        self._lines.append(line)
        while sum(2 if isinstance(line, _Errand) else 1 for line in self._lines) > self._max_messages:
            del self._lines[0]


def _names(lines: Iterable[_Line]) -> dict[str, str]:
    """What each peer is called in the messages: no two the same, in letters that every endpoint takes."""
    names: dict[str, str] = {}
    for line in lines:
        if line.peer not in names:
            called = _NOT_NAME.sub("_", line.name[:MAX_NAME_CHARS])
            if not called.strip("_"):
                called = _NOT_NAME.sub("_", line.peer[:MAX_NAME_CHARS])
            names[line.peer] = _another(called, set(names.values()))
    return names


def _another(name: str, taken: Container[str]) -> str:
    """`name`, or one like it that is not `taken`."""
    numbered = (f"{name[: MAX_NAME_CHARS - 4]}_{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _merged(lines: Iterable[_Line]) -> list[_Line]:
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
    return merged
