"""Blocking model calls on a few threads, behind a bounded queue that knows what is urgent.

Decisive jobs (somebody is waiting for the result) go before speculative ones (the result may be thrown away).
Decisive ones run in order of arrival; of the speculative ones the newest is first, because the longer a guess
waits the less likely it is still wanted. When the queue is full a new job takes the place of the oldest
waiting speculative one, which fails as busy; where none is waiting it is refused.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from pipelines.base import EngineBusyError, EngineError

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT = Histogram(
    "voice_agent_engine_wait_seconds",
    "Time a model call waited for a thread",
    ("queue", "priority"),
    buckets=_BUCKETS_S,
)
_WAIT_P95 = Gauge(
    "voice_agent_engine_wait_p95_seconds",
    "95 % of the last 200 model calls that ran waited no longer than this for a thread",
    ("queue",),
)
_RECENT = 200
_RUN = Histogram(
    "voice_agent_engine_run_seconds", "Time a model call ran on its thread", ("queue",), buckets=_BUCKETS_S
)
_JOBS = Counter(
    "voice_agent_engine_jobs_total",
    "Model calls by outcome: done, failed, refused (queue full), dropped (nobody wanted the result any more)",
    ("queue", "outcome"),
)


class JobDroppedError(EngineError):
    """Nobody wants the result any more. A call may raise it to stop half way."""


@dataclass(eq=False, slots=True)
class Job(Generic[T]):
    """One call in a `JobQueue`."""

    call: Callable[[], T]
    decisive: bool
    result: Future[T] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    async def wait(self) -> T:
        """The call's result, or what it failed with. Cancelling the caller leaves the job as it is."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def wake(_: Future[T]) -> None:
            # A loop that has ended has nobody left to wake.
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        self.result.add_done_callback(wake)
        await done.wait()
        return self.result.result()


@asynccontextmanager
async def when(event: asyncio.Event, call: Callable[[], None]) -> AsyncIterator[None]:
    """As long as the block lasts: call `call` once `event` is set."""

    async def waiting() -> None:
        await event.wait()
        call()

    task = asyncio.create_task(waiting())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


class JobQueue:
    """`workers` threads and at most `max_waiting` jobs that wait for one of them. Safe from any thread."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        self._name = name
        self._workers = workers
        self._limit = workers + max_waiting
        self._lock = threading.Lock()
        self._urgent: deque[Job[Any]] = deque()
        self._speculative: deque[Job[Any]] = deque()
        self._running = 0
        self._waits: deque[float] = deque(maxlen=_RECENT)
        self._closed = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)

    @property
    def waiting(self) -> int:
        """Jobs accepted and not yet started."""
        return len(self._urgent) + len(self._speculative)

    @property
    def is_free(self) -> bool:
        """Whether a job would start at once."""
        return not self.waiting and self._running < self._workers

    async def run(
        self, call: Callable[[], T], *, decisive: bool = True, wanted: asyncio.Event | None = None
    ) -> T:
        """Run `call` on a thread and return what it returns.

        With `wanted` the job is speculative, whatever `decisive` says, until that is set; where the queue has
        no place for it before, it is queued again then.

        Cancelling the caller drops a job that still waits; one that already runs finishes unseen. Raises
        `EngineBusyError` when the queue is full, and `EngineError` for anything that `call` raises.
        """
        if wanted is None:
            return await self._run(call, decisive=decisive)
        if not wanted.is_set():
            try:
                return await self._run_ahead(call, wanted)
            except EngineBusyError:
                await wanted.wait()
        return await self._run(call, decisive=True)

    async def _run(self, call: Callable[[], T], *, decisive: bool) -> T:
        job = self.submit(call, decisive=decisive)
        try:
            return await job.wait()
        finally:
            self.drop(job)

    async def _run_ahead(self, call: Callable[[], T], wanted: asyncio.Event) -> T:
        job = self.submit(call, decisive=False)
        try:
            async with when(wanted, partial(self.hurry, job)):
                return await job.wait()
        finally:
            self.drop(job)

    def submit(self, call: Callable[[], T], *, decisive: bool) -> Job[T]:
        """Queue `call` and return at once; errors as in `run`. Whoever submits a job keeps or drops it."""
        job = Job(call, decisive)
        self._accept(job)
        return job

    def hurry(self, job: Job[Any]) -> None:
        """Somebody is waiting for `job` now: if it has not started, it becomes a decisive one."""
        with self._lock:
            if job in self._speculative:
                self._speculative.remove(job)
                self._urgent.append(job)
                job.decisive = True

    def drop(self, job: Job[Any]) -> None:
        """Give the place of a job that still waits back at once; any other stays as it is."""
        with self._lock:
            queue = self._urgent if job.decisive else self._speculative
            if job not in queue:
                return
            queue.remove(job)
        self._fail(job, JobDroppedError(f"{self._name}: nobody waits for this any more"), "dropped")

    async def close(self) -> None:
        """Fail what waits, let what runs finish, and join the threads. Idempotent."""
        with self._lock:
            self._closed = True
            left = [*self._urgent, *self._speculative]
            self._urgent.clear()
            self._speculative.clear()
        for job in left:
            self._fail(job, EngineError(f"{self._name} is shutting down"), "dropped")
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    def _accept(self, job: Job[Any]) -> None:
        displaced: Job[Any] | None = None
        with self._lock:
            if self._closed:
                raise EngineError(f"{self._name} is shut down")
            if self._running + self.waiting >= self._limit:
                if not self._speculative:
                    _JOBS.labels(self._name, "refused").inc()
                    raise EngineBusyError(f"{self._name} is busy: {self.waiting} calls are waiting already")
                displaced = self._speculative.popleft()
            (self._urgent if job.decisive else self._speculative).append(job)
            # One turn of a thread for each job; which job it takes is decided when the turn comes.
            self._threads.submit(self._take_turn)
        if displaced is not None:
            busy = EngineBusyError(f"{self._name} is busy: gave way to a newer call")
            self._fail(displaced, busy, "refused")

    def _take_turn(self) -> None:
        with self._lock:
            if not self.waiting:
                return
            job = self._urgent.popleft() if self._urgent else self._speculative.pop()
            self._running += 1
            started = time.monotonic()
            self._waited(job, started - job.since)
        try:
            value = job.call()
        except EngineError as error:
            self._finish(job, started, error)
        except Exception as error:
            # The boundary to libraries whose exception texts may quote what people said: type and place only.
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("%s failed: %s at %s:%s", self._name, kind, place.filename, place.lineno)
            self._finish(job, started, EngineError(f"{self._name} failed ({kind})"))
        else:
            self._finish(job, started, None)
            job.result.set_result(value)

    def _waited(self, job: Job[Any], wait_s: float) -> None:
        _WAIT.labels(self._name, "decisive" if job.decisive else "speculative").observe(wait_s)
        self._waits.append(wait_s)
        _WAIT_P95.labels(self._name).set(sorted(self._waits)[int(0.95 * (len(self._waits) - 1))])

    def _finish(self, job: Job[Any], started: float, error: EngineError | None) -> None:
        with self._lock:
            self._running -= 1
        _RUN.labels(self._name).observe(time.monotonic() - started)
        outcome = "dropped" if isinstance(error, JobDroppedError) else "failed" if error else "done"
        _JOBS.labels(self._name, outcome).inc()
        if error is not None:
            job.result.set_exception(error)

    def _fail(self, job: Job[Any], error: EngineError, outcome: str) -> None:
        _JOBS.labels(self._name, outcome).inc()
        job.result.set_exception(error)
