"""A client of the control plane, and keys for it that may not do everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from agent.hub import SecretKey
from agent.realtime.codes import Action
from tests.conftest import RunningHub

SECRET = "sk_secret_" + "n" * 40


NARROW = SecretKey("sk_id_narrow", SECRET, ("app/*",), frozenset({Action.SUBSCRIBE, Action.SEND}))


VIEWER = SecretKey("sk_id_viewer", SECRET, ("app/*",), frozenset({Action.PRESENCE, Action.PUBLISH}))


@asynccontextmanager
async def http(hub: RunningHub, bearer: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    bearer = bearer or f"{hub.key_id}:{hub.secret}"
    headers = {"authorization": f"Bearer {bearer}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{hub.port}/v1", headers=headers) as session:
        yield session


def outcome(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error", "message"}
    assert isinstance(body["message"], str)
    return response.status_code, body["error"]
