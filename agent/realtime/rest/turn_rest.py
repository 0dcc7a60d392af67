"""The vendor's TURN service: credentials for its relays, how much they were used, projects.

Answers to the same mistake differ from endpoint to endpoint there: a bad key is 400 in one place and 401
in another. `RestError.message` is the service's own text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias, TypeVar

from agent.realtime.ice_servers import IceServer
from agent.realtime.rest.json_api import JsonApi, ignore, path_segment
from agent.realtime.rest.turn_types import (
    CredentialPage,
    DayUsage,
    ProjectUsage,
    TurnCredential,
    TurnProject,
    TurnUsage,
    UserUsagePage,
    parse_credential,
    parse_credential_page,
    parse_days,
    parse_deleted,
    parse_project,
    parse_project_usage,
    parse_projects,
    parse_server_list,
    parse_usage,
    parse_usage_gb,
    parse_user_page,
)

T = TypeVar("T")

MAX_LABEL_CHARS = 99
MAX_PROJECT_NAME_CHARS = 99
MIN_QUOTA_BYTES = 1024 * 1024
MAX_NOTIFIED = 10

QuotaAction: TypeAlias = Literal["disable", "notify", "none"]

_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_REGION = re.compile(r"[a-z][a-z_]{0,39}")


class TurnApi:
    """A client for one app's relays; an async context manager, or call `close`.

    Its methods are in three groups: `credentials`, `usage` and `projects`. Each raises `RestError` when the
    service refuses or cannot be reached, `ValueError` for what it would refuse in any case::

        async with TurnApi("my-app", secret_key="…") as turn:
            credential = await turn.credentials.create(expires_in_s=3600, label="alice")
            servers = await turn.credentials.ice_servers(credential.api_key, region="europe")
    """

    def __init__(
        self,
        app_name: str,
        *,
        secret_key: str | None = None,
        project_api_key: str | None = None,
        url: str | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Give the account's `secret_key`, or the `project_api_key` of one project, which can do little else
        than make credentials there. `url` is in place of the app's own address.
        """
        if not is_app_name(app_name):
            raise ValueError("app_name must be the name alone, e.g. my-app for my-app.metered.live")
        if (secret_key is None) == (project_api_key is None):
            raise ValueError("give exactly one of secret_key and project_api_key")
        name, key = ("secretKey", secret_key) if secret_key else ("projectApiKey", project_api_key)
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("the key must be printable ASCII")
        api = JsonApi(url or f"https://{app_name}.metered.live", secret=key, timeout_s=timeout_s)
        call = _Caller(api, {name: key})
        self._api = api
        self.credentials = TurnCredentials(call)
        self.usage = TurnUsages(call)
        self.projects = TurnProjects(call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._api.close()


class _Caller:
    """Requests with the account's key in them, or with another."""

    def __init__(self, api: JsonApi, key: Mapping[str, str]) -> None:
        self._api = api
        self._key = key

    async def __call__(
        self,
        parse: Callable[[Any], T],
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        key: Mapping[str, str] | None = None,
    ) -> T:
        return await self._api.call(
            parse, method, path, query=query, secret_query=key or self._key, body=body
        )


class TurnCredentials:
    def __init__(self, call: _Caller) -> None:
        self._call = call

    async def create(self, *, expires_in_s: int | None = None, label: str | None = None) -> TurnCredential:
        """A new one; without `expires_in_s` it lasts until it is deleted."""
        return await self._call(
            parse_credential, "POST", "/api/v1/turn/credential", body=_wish(expires_in_s, label)
        )

    async def list(
        self, *, page: int | None = None, label: str | None = None, with_all: bool | None = None
    ) -> CredentialPage:
        """One page of them, from 1. `with_all` is the service's ``all``. Not on the free plan."""
        if page is not None and page < 1:
            raise ValueError("page must be at least 1")
        query = {} if page is None else {"page": str(page)}
        if label is not None:
            query["label"] = _label(label)
        if with_all is not None:
            query["all"] = "true" if with_all else "false"
        return await self._call(parse_credential_page, "GET", "/api/v2/turn/credentials", query=query)

    async def enable(self, username: str) -> None:
        await self._call(ignore, "POST", "/api/v1/turn/credential/enable", body=_user(username))

    async def disable(self, username: str) -> None:
        await self._call(ignore, "POST", "/api/v1/turn/credential/disable", body=_user(username))

    async def delete(self, username: str) -> None:
        await self._call(ignore, "DELETE", "/api/v1/turn/credential", body=_user(username))

    async def delete_by_label(self, label: str) -> int:
        """Returns how many there were."""
        path, query = "/api/v2/turn/credential/by_label", {"label": _label(label)}
        return await self._call(parse_deleted, "DELETE", path, query=query)

    async def update_label(self, username: str, label: str) -> TurnCredential:
        path = "/api/v2/turn/credential/update_label"
        body = {"label": _label(label)}
        return await self._call(parse_credential, "POST", path, query=_user(username), body=body)

    async def ice_servers(self, api_key: str, *, region: str | None = None) -> tuple[IceServer, ...]:
        """The addresses and the secret of the credential that `api_key` belongs to, as a client takes them.

        `region` is one word such as ``global``, ``europe`` or ``us_east``; None leaves it to the service.
        """
        if not api_key:
            raise ValueError("api_key must not be empty")
        if region is not None and not is_region(region):
            raise ValueError("region must be a word like global, europe or us_east")
        query = {} if region is None else {"region": region}
        # The account's key stays at home here: this endpoint needs none.
        return await self._call(
            parse_server_list, "GET", "/api/v1/turn/credentials", query=query, key={"apiKey": api_key}
        )


class TurnUsages:
    def __init__(self, call: _Caller) -> None:
        self._call = call

    async def current(self) -> TurnUsage:
        return await self._call(parse_usage, "GET", "/api/v1/turn/current_usage")

    async def by_date(self) -> tuple[DayUsage, ...]:
        return await self._call(parse_days, "GET", "/api/v1/turn/current_usage_by_date")

    async def for_user(self, username: str) -> float:
        """Gigabytes."""
        path = "/api/v1/turn/current_usage_for_user"
        return await self._call(parse_usage_gb, "GET", path, query=_user(username))

    async def by_user(self, *, page: int | None = None) -> UserUsagePage:
        if page is not None and page < 1:
            raise ValueError("page must be at least 1")
        query = {} if page is None else {"page": str(page)}
        return await self._call(parse_user_page, "GET", "/api/v2/turn/current_usage_by_user", query=query)


class TurnProjects:
    def __init__(self, call: _Caller) -> None:
        self._call = call

    async def create(
        self,
        name: str,
        *,
        quota_bytes: int | None = None,
        webhook_url: str | None = None,
        notification_emails: Sequence[str] | None = None,
        quota_exceeded_action: QuotaAction | None = None,
    ) -> TurnProject:
        """`quota_bytes`: 0 for none, or at least 1 MiB; what happens beyond is `quota_exceeded_action`."""
        body = _project_wish(name, quota_bytes, webhook_url, notification_emails, quota_exceeded_action)
        return await self._call(parse_project, "POST", "/api/v2/turn/project", body=body)

    async def list(self) -> tuple[TurnProject, ...]:
        return await self._call(parse_projects, "GET", "/api/v2/turn/projects")

    async def update(
        self,
        project_id: str,
        *,
        name: str | None = None,
        quota_bytes: int | None = None,
        webhook_url: str | None = None,
        notification_emails: Sequence[str] | None = None,
        quota_exceeded_action: QuotaAction | None = None,
    ) -> TurnProject:
        """Change what is given; see `create`."""
        body = _project_wish(name, quota_bytes, webhook_url, notification_emails, quota_exceeded_action)
        return await self._call(parse_project, "PUT", _project_path(project_id), body=body)

    async def usage(self, project_id: str) -> ProjectUsage:
        return await self._call(parse_project_usage, "GET", f"{_project_path(project_id)}/current_usage")

    async def create_credential(
        self, project_id: str, *, expires_in_s: int | None = None, label: str | None = None
    ) -> TurnCredential:
        path = f"{_project_path(project_id)}/credential"
        return await self._call(parse_credential, "POST", path, body=_wish(expires_in_s, label))

    async def delete_by_label(self, project_id: str, label: str) -> int:
        """Delete the project's credentials with this label; returns how many there were."""
        path = f"{_project_path(project_id)}/credential/by_label"
        return await self._call(parse_deleted, "DELETE", path, body={"label": _label(label)})


def is_app_name(name: str) -> bool:
    """Whether `name` can be the first part of the app's address."""
    return _APP_NAME.fullmatch(name) is not None


def is_region(name: str) -> bool:
    """Whether `name` can be a region; the service's list of them differs from page to page."""
    return _REGION.fullmatch(name) is not None


def _wish(expires_in_s: int | None, label: str | None) -> dict[str, Any]:
    if expires_in_s is not None and expires_in_s < 1:
        raise ValueError("expires_in_s must be at least 1")
    body: dict[str, Any] = {} if expires_in_s is None else {"expiryInSeconds": expires_in_s}
    return body if label is None else {**body, "label": _label(label)}


def _label(label: str) -> str:
    if not 1 <= len(label) <= MAX_LABEL_CHARS:
        raise ValueError(f"label must be 1-{MAX_LABEL_CHARS} characters")
    return label


def _user(username: str) -> dict[str, str]:
    if not username:
        raise ValueError("username must not be empty")
    return {"username": username}


def _project_path(project_id: str) -> str:
    if not project_id:
        raise ValueError("project_id must not be empty")
    return f"/api/v2/turn/project/{path_segment(project_id)}"


def _project_wish(
    name: str | None,
    quota_bytes: int | None,
    webhook_url: str | None,
    emails: Sequence[str] | None,
    action: QuotaAction | None,
) -> dict[str, Any]:
    if name is not None and not 1 <= len(name) <= MAX_PROJECT_NAME_CHARS:
        raise ValueError(f"name must be 1-{MAX_PROJECT_NAME_CHARS} characters")
    if quota_bytes is not None and quota_bytes != 0 and quota_bytes < MIN_QUOTA_BYTES:
        raise ValueError(f"quota_bytes must be 0 or at least {MIN_QUOTA_BYTES}")
    if webhook_url is not None and not webhook_url.startswith("https://"):
        raise ValueError("webhook_url must begin with https://")
    if emails is not None and len(emails) > MAX_NOTIFIED:
        raise ValueError(f"notification_emails must be at most {MAX_NOTIFIED}")
    if action not in (None, "disable", "notify", "none"):
        raise ValueError("quota_exceeded_action must be disable, notify or none")
    body = {
        "projectName": name,
        "quotaInBytes": quota_bytes,
        "webhookUrl": webhook_url,
        "notificationEmails": None if emails is None else [*emails],
        "quotaExceededAction": action,
    }
    return {key: value for key, value in body.items() if value is not None}
