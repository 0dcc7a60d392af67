"""What the vendor's TURN service says, typed; the parsers raise for anything of another shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.realtime.ice_servers import IceServer, parse_ice_servers
from agent.realtime.rest.json_api import optional, typed


@dataclass(frozen=True, slots=True)
class TurnCredential:
    """A user of the relays. `api_key` fetches the addresses for it; both secrets stay out of `repr`."""

    username: str
    password: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    #: Seconds from its creation; None: it does not end by itself.
    expires_in_s: int | None = None
    label: str | None = None
    #: None where the service does not say.
    is_expired: bool | None = None


@dataclass(frozen=True, slots=True)
class CredentialPage:
    credentials: tuple[TurnCredential, ...]
    total: int
    page: int
    pages: int
    #: The number of the next page; None on the last.
    next_page: int | None


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """Of the current period, in gigabytes."""

    quota_gb: float
    usage_gb: float
    overage_gb: float


@dataclass(frozen=True, slots=True)
class DayUsage:
    #: As the service writes it.
    date: str
    usage_gb: float


@dataclass(frozen=True, slots=True)
class UserUsage:
    username: str
    label: str | None
    usage_gb: float


@dataclass(frozen=True, slots=True)
class UserUsagePage:
    users: tuple[UserUsage, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class TurnProject:
    """A part of the account with a quota and a key of its own."""

    id: str
    api_key: str = field(repr=False)
    name: str | None = None
    #: None where the service does not say; 0: no quota.
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    quota_bytes: int
    usage_bytes: int
    overage_bytes: int


def parse_credential(body: Any) -> TurnCredential:
    return TurnCredential(
        username=typed(body, "username", str),
        password=typed(body, "password", str),
        api_key=optional(body, "apiKey", str),
        expires_in_s=optional(body, "expiryInSeconds", int),
        label=optional(body, "label", str),
        is_expired=optional(body, "expired", bool),
    )


def parse_credential_page(body: Any) -> CredentialPage:
    pages = typed(body, "pagination", dict)
    return CredentialPage(
        credentials=tuple(map(parse_credential, typed(body, "data", list))),
        total=typed(pages, "total_records", int),
        page=typed(pages, "current_page", int),
        pages=typed(pages, "total_pages", int),
        next_page=optional(pages, "next_page", int),
    )


def parse_deleted(body: Any) -> int:
    return int(typed(body, "deleted", int))


def parse_server_list(body: Any) -> tuple[IceServer, ...]:
    servers = parse_ice_servers(body)
    if servers is None:
        raise ValueError("not a list of ICE servers")
    return servers


def _gb(body: Any, name: str) -> float:
    return float(typed(body, name, int, float))


def parse_usage(body: Any) -> TurnUsage:
    return TurnUsage(_gb(body, "quotaInGB"), _gb(body, "usageInGB"), _gb(body, "overageInGB"))


def parse_usage_gb(body: Any) -> float:
    return _gb(body, "usageInGB")


def parse_days(body: Any) -> tuple[DayUsage, ...]:
    return tuple(DayUsage(typed(day, "date", str), _gb(day, "usageInGB")) for day in _entries(body))


def parse_user_page(body: Any) -> UserUsagePage:
    users = tuple(
        UserUsage(typed(user, "username", str), optional(user, "label", str), _gb(user, "usageInGB"))
        for user in typed(body, "data", list)
    )
    return UserUsagePage(users, typed(body, "has_more", bool))


def parse_project(body: Any) -> TurnProject:
    return TurnProject(
        id=typed(body, "_id", str),
        api_key=typed(body, "apiKey", str),
        name=optional(body, "projectName", str),
        quota_bytes=optional(body, "quotaInBytes", int),
    )


def parse_projects(body: Any) -> tuple[TurnProject, ...]:
    return tuple(map(parse_project, _entries(body)))


def parse_project_usage(body: Any) -> ProjectUsage:
    return ProjectUsage(
        *(typed(body, name, int) for name in ("quotaInBytes", "usageInBytes", "overageInBytes"))
    )


def _entries(body: Any) -> list[Any]:
    if not isinstance(body, list):
        raise TypeError("not a list")
    return body
