"""What several tests of the hub are run against."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.agent.hub.rest_parts import http
from tests.conftest import RunningHub
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
async def rest(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    async with http(hub) as session:
        yield session


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server
