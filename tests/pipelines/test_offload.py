from __future__ import annotations

import os
import signal
import time

import pytest

from pipelines.base import EngineError
from pipelines.offload import Offloaded


class Sums:
    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("not today")

    def nap(self) -> None:
        time.sleep(60)


def refuse() -> Sums:
    raise ValueError("cannot be made")


def die() -> Sums:
    os._exit(7)


@pytest.fixture
def sums():  # type: ignore[no-untyped-def]
    offloaded = Offloaded(Sums)
    yield offloaded
    offloaded.close()


def test_calls_reach_one_object_in_another_process(sums: Offloaded[Sums]) -> None:
    assert [sums.call("add", 2), sums.call("add", 3)] == [2, 5]
    assert sums.call("pid") != os.getpid()


def test_an_error_comes_back_and_the_object_lives_on(sums: Offloaded[Sums]) -> None:
    with pytest.raises(ValueError, match="not today"):
        sums.call("fail")
    assert sums.call("add", 1) == 1


def test_a_child_that_dies_is_reported_and_replaced(sums: Offloaded[Sums]) -> None:
    pid = sums.call("pid")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="died"):
        sums.call("nap")
    assert sums.call("pid") != pid
    assert sums.call("add", 1) == 1


@pytest.mark.parametrize(("factory", "error"), [(refuse, ValueError), (die, EngineError)])
def test_what_cannot_be_made_is_said(factory, error) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error):
        Offloaded(factory)
