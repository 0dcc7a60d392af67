"""Who was not understood, and has to be told so."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import events as ev
from pipelines.persona import Persona


class Apologies:
    """Keeps whom an apology is owed; a reply of its own, or one after the answer to others, makes it.

    Where the recogniser does not `understand` the persona's language, that is said once to each caller:
    a cough is not understood either.
    """

    def __init__(self, persona: Persona, *, understands: bool) -> None:
        self._persona = persona
        self._understands = understands
        self._owed: set[str] = set()
        self._reply = ""
        self._told_language: set[str] = set()

    @property
    def owed(self) -> bool:
        return bool(self._owed)

    def note(self, commands: Sequence[ev.Command]) -> None:
        """Find out who was not understood, and who was after all."""
        for command in commands:
            if isinstance(command, ev.Forget) and command.why == "failed":
                self._owed.add(command.peer)
        self._owed -= {command.peer for command in commands if isinstance(command, ev.Accept)}

    def begin(self, reply: str) -> str:
        """`reply` is the apology; returns its words, none where everybody has been told."""
        self._reply = reply
        if self._understands:
            return self._persona.sorry_not_understood
        return self._persona.sorry_language if self._owed - self._told_language else ""

    def heard(self, reply: str) -> None:
        """`reply` sounds, or there was nothing to be said; if it is the apology, it has been made."""
        if reply == self._reply:
            if not self._understands:
                self._told_language |= self._owed
            self._owed.clear()

    def left(self, peer: str) -> None:
        self._owed.discard(peer)
        self._told_language.discard(peer)
