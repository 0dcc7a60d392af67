"""What the controller needs from the rest of the service, and nothing about how it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from agent.dispatch.base import Dispatcher
from pipelines.base import EngineInfo

#: What the others in a room take somebody for.
Role: TypeAlias = Literal["caller", "agent"]


@dataclass(frozen=True, slots=True)
class PersonaInfo:
    """A persona as ``GET /about`` and the page show it."""

    name: str
    #: One line for the person who chooses.
    description: str = ""
    language: str | None = None


@dataclass(frozen=True, slots=True)
class CallerAccess:
    """What lets one caller into one room, and nothing else. Exactly one of `token` and `key` is set."""

    #: Origin of the signalling server (``wss://host``); None: the one that serves the page.
    url: str | None
    token: str | None = None
    key: str | None = None
    #: None: the credential does not end (a publishable key).
    expires_at: datetime | None = None


class RoomAccess(Protocol):
    """Who may enter a room: minted here, checked by the signalling server."""

    async def caller_access(self, room: str, name: str | None, role: Role) -> CallerAccess:
        """Short-lived access with the least rights a caller, or an agent of another process, needs.

        `name` is what others in the room see. Raises `DispatchError` when none can be given.
        """


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoints need from the rest of the service."""

    dispatcher: Dispatcher
    rooms: RoomAccess
    engines: Callable[[], Sequence[EngineInfo]]
    personas: Callable[[], Sequence[PersonaInfo]]
    version: str
