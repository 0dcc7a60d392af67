"""The TURN service's client, against an imitation of every endpoint of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rest_server import RestServer, rest_server
from turn_service import SECRET_KEY, TurnService

from agent.realtime import IceServer, RestError, TurnApi
from agent.realtime.rest.turn_types import (
    DayUsage,
    ProjectUsage,
    TurnUsage,
    UserUsage,
    UserUsagePage,
)


@pytest.fixture
async def server() -> AsyncIterator[RestServer]:
    async with rest_server() as running:
        running.answer = TurnService().answer
        yield running


@pytest.fixture
async def turn(server: RestServer) -> AsyncIterator[TurnApi]:
    async with TurnApi("my-app", secret_key=SECRET_KEY, url=server.url) as api:
        yield api


async def test_the_life_of_a_credential(turn: TurnApi, server: RestServer) -> None:
    lasting = await turn.credentials.create()
    assert server.asked[0].body == {}
    assert (lasting.expires_in_s, lasting.label) == (None, None)
    short = await turn.credentials.create(expires_in_s=60, label="alice & bob")
    assert server.asked[1].body == {"expiryInSeconds": 60, "label": "alice & bob"}
    assert (short.expires_in_s, short.label) == (60, "alice & bob")
    assert short.password not in repr(short)
    assert str(short.api_key) not in repr(short)

    await turn.credentials.disable(short.username)
    with pytest.raises(RestError, match=r"already disabled \(invalid_request, HTTP 400\)"):
        await turn.credentials.disable(short.username)
    await turn.credentials.enable(short.username)
    assert (await turn.credentials.update_label(short.username, "carol")).label == "carol"
    assert server.asked[-1].query == {"username": short.username, "secretKey": SECRET_KEY}
    await turn.credentials.delete(lasting.username)
    with pytest.raises(RestError, match="not found"):
        await turn.credentials.delete(lasting.username)
    assert await turn.credentials.delete_by_label("carol") == 1
    assert await turn.credentials.delete_by_label("carol") == 0
    with pytest.raises(RestError) as caught:
        await turn.credentials.enable(short.username)
    assert (caught.value.status, caught.value.message) == (401, "Credential not found")


async def test_credentials_come_in_pages(turn: TurnApi, server: RestServer) -> None:
    for number in range(3):
        await turn.credentials.create(label=f"label{number % 2}")
    first = await turn.credentials.list()
    assert [credential.username for credential in first.credentials] == ["user0", "user1"]
    assert (first.total, first.page, first.pages, first.next_page) == (3, 1, 2, 2)
    assert first.credentials[0].is_expired is False
    second = await turn.credentials.list(page=2, with_all=True)
    assert [credential.username for credential in second.credentials] == ["user2"]
    assert second.next_page is None
    assert server.asked[-1].query["all"] == "true"
    assert (await turn.credentials.list(label="label1")).total == 1


async def test_a_credential_becomes_ice_servers_of_a_region(turn: TurnApi, server: RestServer) -> None:
    credential = await turn.credentials.create()
    assert credential.api_key is not None
    stun, first, second = await turn.credentials.ice_servers(credential.api_key, region="europe")
    assert stun == IceServer(("stun:stun.europe.test:80",))
    assert first == IceServer(("turn:europe.test:80",), credential.username, credential.password)
    assert second.urls == ("turns:europe.test:443?transport=tcp",)
    # The account's key is not needed here, so it stays at home.
    assert server.asked[-1].query == {"region": "europe", "apiKey": credential.api_key}
    with pytest.raises(RestError) as caught:
        await turn.credentials.ice_servers("unknown")
    assert (caught.value.status, caught.value.message) == (401, "Invalid API Key")


async def test_usage(turn: TurnApi, server: RestServer) -> None:
    assert await turn.usage.current() == TurnUsage(0.5, 0.0, 0.0)
    assert await turn.usage.by_date() == (DayUsage("2026-01-02", 0.25),)
    assert await turn.usage.for_user("u") == 0.125
    page = await turn.usage.by_user(page=2)
    assert page == UserUsagePage((UserUsage("u", None, 1.0),), has_more=False)
    assert server.asked[-1].query["page"] == "2"


async def test_projects(turn: TurnApi, server: RestServer) -> None:
    project = await turn.projects.create(
        "shop",
        quota_bytes=1_048_576,
        webhook_url="https://example.com/hook",
        notification_emails=["a@example.com"],
        quota_exceeded_action="notify",
    )
    assert server.asked[-1].body == {
        "projectName": "shop",
        "quotaInBytes": 1_048_576,
        "webhookUrl": "https://example.com/hook",
        "notificationEmails": ["a@example.com"],
        "quotaExceededAction": "notify",
    }
    assert (project.id, project.name) == ("p1", "shop")
    assert project.api_key not in repr(project)
    assert await turn.projects.list() == (project,)
    assert (await turn.projects.update("p1", name="market")).name == "market"
    assert server.asked[-1].body == {"projectName": "market"}
    assert await turn.projects.usage("p1") == ProjectUsage(1_048_576, 7, 0)
    await turn.projects.create_credential("p1", label="x")
    assert await turn.projects.delete_by_label("p1", "x") == 1
    assert server.asked[-1].body == {"label": "x"}


async def test_a_project_has_a_key_of_its_own(server: RestServer) -> None:
    async with TurnApi("my-app", project_api_key="project-key", url=server.url) as turn:
        with pytest.raises(RestError):
            await turn.projects.usage("a/b")
    assert server.asked[0].path == "/api/v2/turn/project/a%2Fb/current_usage"
    assert server.asked[0].query == {"projectApiKey": "project-key"}


@pytest.mark.parametrize(("path", "status"), [("usage", 401), ("list", 400)])
async def test_a_wrong_key_is_refused_and_never_shown(
    server: RestServer, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "wrong+key/of the test"
    async with TurnApi("my-app", secret_key=wrong, url=server.url) as turn:
        call = turn.usage.current() if path == "usage" else turn.credentials.list()
        with pytest.raises(RestError, match="Invalid secretKey") as caught:
            await call
        assert wrong not in repr(turn)
    assert caught.value.status == status
    assert server.asked[0].query["secretKey"] == wrong
    ours = [record for record in caplog.records if not record.name.startswith("uvicorn")]
    assert ours
    assert not any("of+the+test" in str(record.__dict__) or wrong in str(record.__dict__) for record in ours)


async def test_what_the_service_would_refuse_is_not_sent(turn: TurnApi, server: RestServer) -> None:
    credentials, projects = turn.credentials, turn.projects
    calls: list[tuple[Any, str]] = [
        (credentials.create(expires_in_s=0), "expires_in_s must be at least 1"),
        (credentials.create(label="x" * 100), "label must be 1-99"),
        (credentials.list(page=0), "page"),
        (credentials.delete(""), "username"),
        (credentials.ice_servers("key", region="Europe!"), "region must be a word like"),
        (credentials.ice_servers(""), "api_key"),
        (turn.usage.by_user(page=0), "page"),
        (projects.create("x" * 100), "name must be 1-99"),
        (projects.create("x", quota_bytes=5), "0 or at least 1048576"),
        (projects.create("x", webhook_url="http://x"), "https://"),
        (projects.create("x", notification_emails=["a"] * 11), "at most 10"),
        (projects.update("p1", quota_exceeded_action="explode"), "disable, notify or none"),  # type: ignore[arg-type]
        (projects.usage(""), "project_id"),
    ]
    for call, complaint in calls:
        with pytest.raises(ValueError, match=complaint):
            await call
    assert server.asked == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"app_name": "https://my-app.metered.live", "secret_key": "k"}, "the name alone"),
        ({"app_name": "a.evil.example/", "secret_key": "k"}, "the name alone"),
        ({"app_name": "a"}, "exactly one"),
        ({"app_name": "a", "secret_key": "k", "project_api_key": "k"}, "exactly one"),
        ({"app_name": "a", "secret_key": "k\n"}, "printable"),
        ({"app_name": "a", "secret_key": "k", "url": "http://example.com"}, "https://"),
    ],
)
def test_an_account_that_cannot_be_one_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TurnApi(**arguments)
