from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import REGISTRY

from pipelines.base import EngineBusyError, EngineError
from pipelines.jobs import JobDroppedError, JobQueue


class Gate:
    """Holds the only worker until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.opened.wait(30)
        return "gate"

    async def hold(self, queue: JobQueue) -> asyncio.Task[str]:
        task = asyncio.create_task(queue.run(self))
        assert await asyncio.to_thread(self.entered.wait, 30)
        return task


@pytest.fixture
async def queue() -> AsyncIterator[JobQueue]:
    queue = JobQueue("test-queue", workers=1, max_waiting=2)
    yield queue
    await queue.close()


@pytest.fixture
async def gate(queue: JobQueue) -> AsyncIterator[Gate]:
    gate = Gate()
    task = await gate.hold(queue)
    yield gate
    gate.opened.set()
    await task


async def submit(queue: JobQueue, call: Callable[[], object], *, decisive: bool) -> asyncio.Task[object]:
    task = asyncio.create_task(queue.run(call, decisive=decisive))
    await asyncio.sleep(0)
    return task


def outcomes(outcome: str) -> float:
    labels = {"queue": "test-queue", "outcome": outcome}
    return REGISTRY.get_sample_value("voice_agent_engine_jobs_total", labels) or 0.0


async def test_returns_what_the_call_returns_from_another_thread(queue: JobQueue) -> None:
    assert await queue.run(threading.get_ident) != threading.get_ident()


async def test_decisive_jobs_go_before_speculative_ones(queue: JobQueue, gate: Gate) -> None:
    order: list[str] = []
    guess = await submit(queue, lambda: order.append("guess"), decisive=False)
    sure = await submit(queue, lambda: order.append("sure"), decisive=True)
    gate.opened.set()
    await asyncio.gather(guess, sure)
    assert order == ["sure", "guess"]


async def test_one_job_more_than_fits_is_refused(queue: JobQueue, gate: Gate) -> None:
    waiting = [await submit(queue, lambda: None, decisive=True) for _ in range(2)]
    with pytest.raises(EngineBusyError, match="2 calls are waiting"):
        await queue.run(lambda: None)
    gate.opened.set()
    await asyncio.gather(*waiting)


async def test_a_decisive_job_takes_the_place_of_the_oldest_speculative_one(
    queue: JobQueue, gate: Gate
) -> None:
    ran: list[str] = []
    oldest = await submit(queue, lambda: ran.append("oldest"), decisive=False)
    younger = await submit(queue, lambda: ran.append("younger"), decisive=False)
    sure = await submit(queue, lambda: ran.append("sure"), decisive=True)
    with pytest.raises(EngineBusyError):
        await oldest
    gate.opened.set()
    await asyncio.gather(younger, sure)
    assert ran == ["sure", "younger"]


async def test_of_the_guesses_the_newest_is_first_and_pushes_out_the_oldest(
    queue: JobQueue, gate: Gate
) -> None:
    ran: list[str] = []
    stale = await submit(queue, lambda: ran.append("stale"), decisive=False)
    older = await submit(queue, lambda: ran.append("older"), decisive=False)
    newest = await submit(queue, lambda: ran.append("newest"), decisive=False)
    with pytest.raises(EngineBusyError, match="newer"):
        await stale
    gate.opened.set()
    await asyncio.gather(older, newest)
    assert ran == ["newest", "older"]


async def test_a_guess_displaces_nobody_who_is_waited_for(queue: JobQueue, gate: Gate) -> None:
    waiting = [await submit(queue, lambda: None, decisive=True) for _ in range(2)]
    with pytest.raises(EngineBusyError):
        await queue.run(lambda: None, decisive=False)
    gate.opened.set()
    await asyncio.gather(*waiting)


async def test_a_guess_that_somebody_waits_for_now_goes_first(queue: JobQueue, gate: Gate) -> None:
    ran: list[str] = []
    guess = queue.submit(lambda: ran.append("guess"), decisive=False)
    newer = queue.submit(lambda: ran.append("newer"), decisive=False)
    queue.hurry(guess)
    gate.opened.set()
    await asyncio.gather(guess.wait(), newer.wait())
    assert ran == ["guess", "newer"]
    assert guess.decisive


async def test_what_is_made_ahead_gives_way_until_it_is_wanted(queue: JobQueue, gate: Gate) -> None:
    ran: list[str] = []
    wanted = asyncio.Event()
    ahead = asyncio.create_task(queue.run(lambda: ran.append("ahead"), wanted=wanted))
    await asyncio.sleep(0)
    guess = await submit(queue, lambda: ran.append("guess"), decisive=False)
    wanted.set()
    while not queue._urgent:
        await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(ahead, guess)
    assert ran == ["ahead", "guess"]


async def test_what_is_made_ahead_and_found_no_place_is_made_once_it_is_wanted(
    queue: JobQueue, gate: Gate
) -> None:
    ran: list[str] = []
    wanted = asyncio.Event()
    refused = outcomes("refused")
    ahead = asyncio.create_task(queue.run(lambda: ran.append("ahead"), wanted=wanted))
    await asyncio.sleep(0)
    waited_for = [await submit(queue, lambda: ran.append("waited for"), decisive=True) for _ in range(2)]
    assert outcomes("refused") == refused + 1
    gate.opened.set()
    await asyncio.gather(*waited_for)
    assert not ahead.done()
    wanted.set()
    await ahead
    assert ran == ["waited for", "waited for", "ahead"]


async def test_one_job_may_be_waited_for_by_many_and_outlives_any_of_them(
    queue: JobQueue, gate: Gate
) -> None:
    job = queue.submit(lambda: 7, decisive=True)
    impatient, patient = (asyncio.create_task(job.wait()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.opened.set()
    assert await patient == 7


async def test_a_call_may_stop_half_way_when_nobody_wants_it(queue: JobQueue) -> None:
    def give_up() -> None:
        raise JobDroppedError("nobody")

    before = outcomes("dropped")
    with pytest.raises(JobDroppedError):
        await queue.run(give_up)
    assert outcomes("dropped") == before + 1


async def test_how_long_most_jobs_wait_is_a_metric(queue: JobQueue, gate: Gate) -> None:
    behind_the_gate = await submit(queue, lambda: None, decisive=True)
    await asyncio.to_thread(threading.Event().wait, 0.01)
    gate.opened.set()
    await behind_the_gate
    for _ in range(3):
        await queue.run(lambda: None)
    labels = {"queue": "test-queue"}
    p95_s = REGISTRY.get_sample_value("voice_agent_engine_wait_p95_seconds", labels)
    assert p95_s is not None
    assert 0 < p95_s <= max(queue._waits)


async def test_a_cancelled_job_that_waits_never_runs_and_frees_its_place(queue: JobQueue, gate: Gate) -> None:
    ran: list[str] = []
    doomed = await submit(queue, lambda: ran.append("doomed"), decisive=True)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert queue.waiting == 0
    gate.opened.set()
    await queue.run(lambda: ran.append("next"))
    assert ran == ["next"]


async def test_cancelling_a_running_job_leaves_the_queue_usable(queue: JobQueue) -> None:
    gate = Gate()
    task = await gate.hold(queue)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()
    assert await queue.run(lambda: 7) == 7


async def test_a_failure_names_the_queue_and_not_what_was_said(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("my secret words")

    with pytest.raises(EngineError, match=r"test-queue failed \(ValueError\)") as caught:
        await queue.run(fail)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text


async def test_an_engine_error_passes_unchanged(queue: JobQueue) -> None:
    def fail() -> None:
        raise EngineError("plain words")

    with pytest.raises(EngineError, match=r"^plain words$"):
        await queue.run(fail)


async def test_closing_fails_what_waits_and_joins_what_runs(queue: JobQueue, gate: Gate) -> None:
    waiting = await submit(queue, lambda: None, decisive=True)
    closing = asyncio.create_task(queue.close())
    with pytest.raises(EngineError, match="shutting down"):
        await waiting
    gate.opened.set()
    await closing
    assert not [t for t in threading.enumerate() if t.name.startswith("test-queue")]
    with pytest.raises(EngineError, match="shut down"):
        await queue.run(lambda: None)


async def test_every_outcome_is_counted(queue: JobQueue) -> None:
    def waits() -> float:
        labels = {"queue": "test-queue", "priority": "speculative"}
        return REGISTRY.get_sample_value("voice_agent_engine_wait_seconds_count", labels) or 0.0

    done, seen = outcomes("done"), waits()
    await queue.run(lambda: None, decisive=False)
    assert (outcomes("done"), waits()) == (done + 1, seen + 1)
