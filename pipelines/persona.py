"""Who the agent is: what it is told, how it greets, which voice, language and tools it has."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

#: A few words to say.
Phrase: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class Persona(BaseModel):
    """A file of ``config/personas``; the fields of a request override it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    #: What callers see it as; empty: the name.
    title: Annotated[str, Field(max_length=60)] = ""
    #: One line for the person who chooses.
    description: Annotated[str, Field(max_length=200)] = ""
    instructions: Annotated[str, Field(max_length=20_000)]
    #: Said when the first caller is there; empty: the agent waits to be spoken to.
    greeting: Annotated[str, Field(max_length=1000)] = ""
    #: A voice's name; None: the configured one.
    voice: str | None = None
    #: The tag (``de``, ``de-AT``) of what callers speak; None: the recogniser finds out, if it can.
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")] | None = None
    #: Names of tools (`pipelines.tools`) the model may call.
    tools: tuple[str, ...] = ()
    #: Sentences callers are expected to say; helps a recogniser with a language model of its own.
    phrases: Annotated[tuple[str, ...], Field(max_length=5000)] = ()
    #: What the agent says when the recogniser or the model failed.
    sorry_not_understood: str = "I am sorry, I could not make that out. Could you say it again?"
    sorry_no_answer: str = "I am sorry, I cannot think of an answer right now. Please try again in a moment."
    #: Said once to each caller when the recogniser does not speak `language`.
    sorry_language: str = "I am sorry, I can only understand English here."
    #: Said when an answer is due and not ready within `filler_after_ms`; None: never.
    fillers: Annotated[tuple[Phrase, ...], Field(max_length=20)] = ("Let me see.", "One moment.")
    filler_after_ms: Annotated[int, Field(ge=100, le=60_000)] | None = None
    #: The dialogue keeps this many of its last messages.
    max_messages: Annotated[int, Field(ge=2, le=1000)] = 60
    #: The agent leaves when it has been alone this long.
    leave_after_empty_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0

    @property
    def set_phrases(self) -> tuple[str, ...]:
        """Everything that is said word for word, the most urgent first."""
        fillers = self.fillers if self.filler_after_ms is not None else ()
        return (
            self.greeting,
            *fillers,
            self.sorry_not_understood,
            self.sorry_no_answer,
            self.sorry_language,
        )
