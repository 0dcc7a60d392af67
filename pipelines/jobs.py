"""Blocking model calls on a few threads, behind a bounded queue that knows what is urgent.

What waits is ordered by one rule: decisive jobs (somebody is waiting for the result) before speculative ones
(the result may be thrown away), each in order of arrival. When the queue is full a decisive job takes the
place of the oldest waiting speculative one, which fails as busy; any other job is refused.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from prometheus_client import Counter, Histogram

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
_RUN = Histogram(
    "voice_agent_engine_run_seconds", "Time a model call ran on its thread", ("queue",), buckets=_BUCKETS_S
)
_JOBS = Counter(
    "voice_agent_engine_jobs_total",
    "Model calls by outcome: done, failed, refused (queue full), dropped (cancelled before it ran)",
    ("queue", "outcome"),
)


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    call: Callable[[], T]
    decisive: bool
    result: Future[T] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class JobQueue:
    """`workers` threads and at most `max_waiting` jobs that wait for one of them. Safe from any thread."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        self._name = name
        self._limit = workers + max_waiting
        self._lock = threading.Lock()
        self._urgent: deque[_Job[Any]] = deque()
        self._speculative: deque[_Job[Any]] = deque()
        self._running = 0
        self._closed = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)

    @property
    def waiting(self) -> int:
        """Jobs accepted and not yet started."""
        return len(self._urgent) + len(self._speculative)

    async def run(self, call: Callable[[], T], *, decisive: bool = True) -> T:
        """Run `call` on a thread and return what it returns.

        Cancelling the caller drops a job that still waits; one that already runs finishes unseen. Raises
        `EngineBusyError` when the queue is full, and `EngineError` for anything that `call` raises.
        """
        job = _Job(call, decisive)
        self._accept(job)
        try:
            return await asyncio.wrap_future(job.result)
        finally:
            self._forget(job)

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

    def _accept(self, job: _Job[Any]) -> None:
        displaced: _Job[Any] | None = None
        with self._lock:
            if self._closed:
                raise EngineError(f"{self._name} is shut down")
            if self._running + self.waiting >= self._limit:
                if not job.decisive or not self._speculative:
                    _JOBS.labels(self._name, "refused").inc()
                    raise EngineBusyError(f"{self._name} is busy: {self.waiting} calls are waiting already")
                displaced = self._speculative.popleft()
            (self._urgent if job.decisive else self._speculative).append(job)
            # One turn of a thread for each job; which job it takes is decided when the turn comes.
            self._threads.submit(self._take_turn)
        if displaced is not None:
            busy = EngineBusyError(f"{self._name} is busy: gave way to a more urgent call")
            self._fail(displaced, busy, "refused")

    def _take_turn(self) -> None:
        with self._lock:
            waiting = self._urgent or self._speculative
            if not waiting:
                return
            job = waiting.popleft()
            if not job.result.set_running_or_notify_cancel():
                _JOBS.labels(self._name, "dropped").inc()
                return
            self._running += 1
        started = time.monotonic()
        _WAIT.labels(self._name, "decisive" if job.decisive else "speculative").observe(started - job.since)
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

    def _finish(self, job: _Job[Any], started: float, error: EngineError | None) -> None:
        with self._lock:
            self._running -= 1
        _RUN.labels(self._name).observe(time.monotonic() - started)
        _JOBS.labels(self._name, "failed" if error else "done").inc()
        if error is not None:
            job.result.set_exception(error)

    def _forget(self, job: _Job[Any]) -> None:
        """Give the place of a job whose caller went away back at once."""
        if job.result.done() and not job.result.cancelled():
            return
        with self._lock:
            queue = self._urgent if job.decisive else self._speculative
            if job in queue:
                queue.remove(job)
                _JOBS.labels(self._name, "dropped").inc()

    def _fail(self, job: _Job[Any], error: EngineError, outcome: str) -> None:
        if job.result.set_running_or_notify_cancel():
            job.result.set_exception(error)
        _JOBS.labels(self._name, outcome).inc()
