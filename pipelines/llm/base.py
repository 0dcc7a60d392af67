"""The small protocol every language model speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from pipelines.base import EngineInfo


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the dialogue, in the roles of the chat-completions interface."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    #: Who said it, when several people share a room (role ``user``).
    name: str | None = None
    #: A ``user`` message that cut off the ``assistant`` message before it, which holds only what was heard.
    interrupts: bool = False
    #: What an ``assistant`` message asked for.
    tool_calls: tuple[ToolCall, ...] = ()
    #: Which call a ``tool`` message answers.
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it: name, what it is for, JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


#: What a model streams: pieces of text and complete tool calls.
Delta: TypeAlias = TextDelta | ToolCall


class LanguageModel(Protocol):
    """A connection to a model, shared by all calls of the process."""

    @property
    def info(self) -> EngineInfo: ...

    def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Delta, None]:
        """Answer the dialogue. Closing the iterator stops the request on the wire.

        Raises `EngineError` when the endpoint refuses, breaks or takes too long.
        """

    async def close(self) -> None: ...
