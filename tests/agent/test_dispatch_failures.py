from __future__ import annotations

from copy import copy
from typing import Any

import pytest

from agent.access import Access
from agent.dispatch.base import AgentRequest, DispatchError, reason_of
from agent.dispatch.local import LocalDispatcher
from agent.personas import Personas
from agent.settings import Settings
from pipelines.engines import Engines


def test_the_reason_is_found_however_deep_it_lies() -> None:
    lost = DispatchError("the room is lost: taken away (4003)")
    group = ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [lost])])
    assert reason_of(group) == reason_of(lost) == "the room is lost: taken away (4003)"
    assert reason_of(ExceptionGroup("outer", [ValueError("x")])) is None


@pytest.mark.asyncio(loop_scope="session")
async def test_a_foreign_fault_is_logged_by_kind_and_place_only(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    async def voice(*_: Any) -> Any:
        raise ExceptionGroup("several", [ZeroDivisionError("words people say")])

    broken = copy(engines)
    broken.voice = voice  # type: ignore[method-assign]
    settings = Settings()
    access = Access(settings.rooms, local=True)
    async with LocalDispatcher(settings, broken, Personas(None), access) as dispatcher:
        with pytest.raises(DispatchError, match="the service's log says more"):
            await dispatcher.dispatch(AgentRequest("lobby"))
    assert "ZeroDivisionError at" in caplog.text
    assert "words people say" not in caplog.text
