"""What tests of paths share."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are watched five times as closely, so that nobody waits."""
    monkeypatch.setattr("agent.realtime.ice.path.TICK_S", 0.1)
