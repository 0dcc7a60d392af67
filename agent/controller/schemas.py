"""Bodies the controller takes and gives. Every limit a stranger could lean on is written here."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from agent.controller.parts import Role
from agent.dispatch.base import ROOM_PATTERN, AgentRequest, AgentState, AgentStatus
from pipelines.base import EngineInfo

MAX_INSTRUCTIONS_CHARS = 20_000
MAX_GREETING_CHARS = 1_000
MAX_METADATA_BYTES = 8 * 1024
MAX_METADATA_DEPTH = 16
MAX_NAME_CHARS = 80


def _depth(value: Any, limit: int) -> int:
    """How deep objects and lists nest, counted no further than `limit`."""
    if limit == 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(item, limit - 1) for item in inner), default=0)


def _check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    if _depth(value, MAX_METADATA_DEPTH + 1) > MAX_METADATA_DEPTH:
        raise PydanticCustomError("does_not_fit", "nests too deep")
    try:
        size_bytes = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except ValueError:  # NaN, an infinity, or half a surrogate pair: no JSON answer could carry it
        raise PydanticCustomError("does_not_fit", "holds a value that JSON has no form for") from None
    if size_bytes > MAX_METADATA_BYTES:
        raise PydanticCustomError("does_not_fit", "is too large")
    return value


RoomName = Annotated[
    str,
    StringConstraints(pattern=f"^{ROOM_PATTERN.pattern}$"),
    Field(description="The room: letters, digits, `.`, `_`, `-` and `/`.", examples=["lobby"]),
]
#: A voice is a name: a path would let a caller look for files on this machine.
VoiceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]
PersonaName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
DisplayName = Annotated[
    str, StringConstraints(pattern=r"^[^\p{C}]+$", min_length=1, max_length=MAX_NAME_CHARS)
]


class Body(BaseModel):
    """What a client sends: unknown fields are refused, `ACCEPTED` words what a field takes."""

    model_config = ConfigDict(extra="forbid")
    ACCEPTED: ClassVar[dict[str, str]] = {}


class AgentBody(Body):
    """Bring an agent into a room. What is left out is as the persona says."""

    ACCEPTED: ClassVar[dict[str, str]] = {
        "room": "1 to 128 letters, digits, '.', '_', '-' or '/', the first a letter or a digit",
        "persona": "the name of a persona; GET /about lists them",
        "instructions": f"text of at most {MAX_INSTRUCTIONS_CHARS} characters",
        "greeting": f"text of at most {MAX_GREETING_CHARS} characters",
        "voice": "the name of a voice, such as en_US-lessac-medium, or builtin",
        "language": "a language tag such as en or de-AT",
        "metadata": f"an object, at most {MAX_METADATA_BYTES} bytes as JSON and {MAX_METADATA_DEPTH} deep",
    }

    room: RoomName
    persona: PersonaName = Field(
        "default", description="Who the agent is; `GET /about` lists the personas.", examples=["default"]
    )
    instructions: str | None = Field(
        None,
        max_length=MAX_INSTRUCTIONS_CHARS,
        description="What the agent is told about its task, in place of the persona's.",
        examples=["You book tables at a small restaurant. Be brief and friendly."],
    )
    greeting: str | None = Field(
        None,
        max_length=MAX_GREETING_CHARS,
        description="The first thing it says; empty: it waits to be spoken to.",
        examples=["Hello, how can I help?"],
    )
    voice: VoiceName | None = Field(None, description="A voice by name.", examples=["en_US-lessac-medium"])
    language: LanguageTag | None = Field(None, description="A language tag.", examples=["en"])
    metadata: Annotated[dict[str, Any], AfterValidator(_check_metadata)] = Field(
        default_factory=dict, description="Yours; returned with the agent.", examples=[{"ticket": 4711}]
    )

    def request(self) -> AgentRequest:
        return AgentRequest(**self.model_dump())


class TokenBody(Body):
    """Ask for access to one room for one caller, or for one agent that runs elsewhere."""

    ACCEPTED: ClassVar[dict[str, str]] = {
        "room": AgentBody.ACCEPTED["room"],
        "name": f"1 to {MAX_NAME_CHARS} printable characters",
        "role": "caller or agent",
    }

    room: RoomName
    name: DisplayName | None = Field(
        None, description="What the others in the room see the caller as.", examples=["Ada"]
    )
    role: Role = Field(
        "caller", description="What the others in the room take the bearer for.", examples=["caller"]
    )


class EngineOut(BaseModel):
    """An engine in use, and why this one."""

    kind: str = Field(description="`stt`, `llm` or `tts`.", examples=["stt"])
    engine: str = Field(examples=["faster-whisper"])
    model: str = Field(examples=["base.en int8 on cpu"])
    reason: str = Field(examples=["its weights are on this machine"])
    languages: list[str] = Field(description="Two-letter codes; empty: any.", examples=[["en"]])

    @classmethod
    def of(cls, info: EngineInfo) -> Self:
        return cls(
            kind=info.kind,
            engine=info.engine,
            model=info.model,
            reason=info.reason,
            languages=list(info.languages),
        )


class Links(BaseModel):
    """Where to go next, relative to the service's address."""

    self: str = Field(description="This agent.", examples=["/agents/a1b2c3"])
    room: str = Field(description="The page, with this room filled in.", examples=["/?room=lobby"])


class AgentOut(BaseModel):
    """An agent as it is now."""

    id: str = Field(examples=["a1b2c3"])
    room: str = Field(examples=["lobby"])
    persona: str = Field(examples=["default"])
    state: AgentState = Field(examples=["listening"])
    created_at: datetime = Field(examples=["2025-01-31T12:00:00Z"])
    peer_id: str | None = Field(
        description="Its peer id in the room, once joined.", examples=["~agent-a1b2c3"]
    )
    callers: list[str] = Field(description="Peer ids of those it hears.", examples=[["caller-7f3a"]])
    turns: int = Field(description="Turns answered so far.", examples=[0])
    engines: list[EngineOut]
    warnings: list[str] = Field(examples=[[]])
    error: str | None = Field(description="What broke, if it failed.", examples=[None])
    metadata: dict[str, Any] = Field(examples=[{"ticket": 4711}])
    links: Links

    @classmethod
    def of(cls, status: AgentStatus) -> Self:
        request = status.request
        return cls(
            id=status.id,
            room=request.room,
            persona=request.persona,
            state=status.state,
            created_at=status.created_at,
            peer_id=status.peer_id,
            callers=list(status.callers),
            turns=status.turns,
            engines=[EngineOut.of(info) for info in status.engines],
            warnings=list(status.warnings),
            error=status.error,
            metadata=request.metadata,
            links=Links(
                self=f"/agents/{quote(status.id, safe='')}", room=f"/?room={quote(request.room, safe='')}"
            ),
        )


class AgentList(BaseModel):
    agents: list[AgentOut] = Field(description="Oldest first, the ones that recently ended included.")


class TokenOut(BaseModel):
    """What a caller needs to enter one room. Exactly one of `token` and `key` is set."""

    url: str = Field(
        description="Where the signalling server is; clients append `/v1`.", examples=["ws://localhost:8000"]
    )
    token: str | None = Field(None, description="Connect with `?token=`.", examples=["eyJhbGciOi…"])
    key: str | None = Field(None, description="Connect with `?key=`.", examples=[None])
    room: str = Field(examples=["lobby"])
    expires_at: datetime | None = Field(
        description="When the credential ends; null: it does not.", examples=["2025-01-31T13:00:00Z"]
    )


class HealthOut(BaseModel):
    status: str = Field(examples=["ok"])
    agents: int = Field(description="Agents that are in a room now.", examples=[1])


class PersonaOut(BaseModel):
    name: str = Field(examples=["default"])
    description: str = Field(examples=["A friendly general assistant"])
    language: str | None = Field(examples=["en"])


class AboutOut(BaseModel):
    """What runs here and why."""

    name: str = Field(examples=["voice-agent"])
    version: str = Field(examples=["0.1.0"])
    engines: list[EngineOut]
    personas: list[PersonaOut]
