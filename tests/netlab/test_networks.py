"""Calls over networks that lose, delay and fail: both sides hear each other again, and nobody has to help.

`benchmarks/networks.py` plays the same scenarios and writes how long it takes into docs/networks.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browsers import chromium
from tests.netlab import namespaces
from tests.netlab.lab import open_lab, open_relay_lab
from tests.netlab.scenarios import ALL, BY_NAME, Outcome, Pair, Scenario, play

pytestmark = [pytest.mark.network, pytest.mark.timeout(200)]

#: Far more than it takes; how much it takes is for the benchmark to say.
WAIT_S = 60.0
IN_BOTH_ORDERS = pytest.mark.parametrize("agent_id", ["agent", "the-agent"], ids=["polite", "impolite"])


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_over() -> None:
    if namespaces.why_not() is None:
        namespaces.remove_left_over()


async def played(folder: Path, scenario: Scenario, pair: Pair, *, by_relay: bool = False) -> Outcome:
    """Play in namespaces, or where they are not allowed through a relay if that can do it."""
    reason = namespaces.why_not()
    if reason is not None and scenario.needs_namespaces:
        pytest.skip(reason)
    opened = open_lab if reason is None and not by_relay else open_relay_lab
    async with opened(folder) as lab:
        outcome = await play(lab, scenario, pair, wait_s=WAIT_S)
        logs = lab.logs()
    assert outcome.connected, logs
    assert outcome.back, (outcome, logs)
    assert outcome.data_back_after_s is not None, (outcome, logs)
    return outcome


@pytest.mark.parametrize("name", ["loss-5", "bursts-20"])
async def test_a_call_over_a_lossy_path(tmp_path: Path, name: str):
    outcome = await played(tmp_path, BY_NAME[name], Pair("ours", "ours"))
    # What is lost is lost, without the receiver throwing as much again away; and nobody starts over.
    assert outcome.missed_s < 0.5 * outcome.listened_s
    assert outcome.gap_s < 3


@IN_BOTH_ORDERS
@pytest.mark.parametrize("name", ["device-down", "outage-45", "address"])
async def test_a_call_survives_what_happens_to_the_network(tmp_path: Path, name: str, agent_id: str):
    outcome = await played(tmp_path, BY_NAME[name], Pair("ours", "ours", agent_id))
    # It was really interrupted.
    assert outcome.gap_s > {"device-down": 2.5, "outage-45": 40, "address": 0.5}[name]


@pytest.mark.browser
@IN_BOTH_ORDERS
@pytest.mark.parametrize("name", ["outage-45", "address"])
async def test_a_caller_in_a_browser_is_heard_again(tmp_path: Path, name: str, agent_id: str):
    chromium()
    outcome = await played(tmp_path, BY_NAME[name], Pair("ours", "page", agent_id))
    assert outcome.gap_s > {"outage-45": 40, "address": 0.5}[name]


@pytest.mark.parametrize("name", ["hub-killed", "signalling"])
async def test_without_signalling_nobody_misses_a_word(tmp_path: Path, name: str):
    outcome = await played(tmp_path, BY_NAME[name], Pair("ours", "ours"))
    assert outcome.gap_s < 1


@pytest.mark.parametrize("name", ["bursts-20", "hub-killed"])
async def test_a_relay_stands_in_where_namespaces_are_not_allowed(tmp_path: Path, name: str):
    outcome = await played(tmp_path, BY_NAME[name], Pair("ours", "ours"), by_relay=True)
    if name == "bursts-20":
        assert 0.05 * outcome.listened_s < outcome.missed_s < 0.5 * outcome.listened_s
    assert outcome.gap_s < 3


@pytest.mark.parametrize("scenario", [s for s in ALL if s.turn], ids=lambda scenario: scenario.name)
async def test_a_firewall_lets_only_the_turn_server_through(tmp_path: Path, scenario: Scenario):
    outcome = await played(tmp_path, scenario, Pair("ours", "ours"))
    # The direct way was tried, and was not there.
    assert outcome.refused_udp > 0
