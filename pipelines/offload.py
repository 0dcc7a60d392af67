"""An object in a process of its own, for libraries that hold the interpreter's lock while they work.

Such a library, called from a thread, stops the event loop and with it every caller's audio for as long as it
computes. The child holds nothing but the object; it ends when its parent does, however that ends.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from pipelines.base import EngineError

T = TypeVar("T")

# Spawned, not forked: a fork of a process with running threads may hang.
_processes = multiprocessing.get_context("spawn")


class Offloaded(Generic[T]):
    """`factory()` is called in the child; `call` then calls methods of what it made, one at a time.

    Arguments and results are copied (pickled). Blocks: for use from a worker thread.
    """

    def __init__(self, factory: Callable[[], T]) -> None:
        """Returns when the object is there. Raises `EngineError` when the child dies making it, and what the
        factory raised."""
        self._factory = factory
        self._lock = threading.Lock()
        self._start()

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method. Raises what it raises; `EngineError` when the child died: the next call has a new
        one, with a new object."""
        with self._lock:
            if self._pipe.closed:
                self._start()
            try:
                self._pipe.send((method, arguments))
                return self._answer()
            except (EOFError, OSError) as error:
                raise EngineError(f"a worker process died (exit code {self._end()})") from error

    def close(self) -> None:
        """End the child. What it is doing is lost. Idempotent."""
        self._end()

    def _start(self) -> None:
        self._pipe, far_end = _processes.Pipe()
        self._process = _processes.Process(target=_serve, args=(far_end, self._factory), daemon=True)
        self._process.start()
        # Only the child may hold its end: its death is then an end of file here.
        far_end.close()
        try:
            self._answer()
        except (EOFError, OSError) as error:
            raise EngineError(f"a worker process died while loading (exit code {self._end()})") from error

    def _answer(self) -> Any:
        failed, value = self._pipe.recv()
        if failed:
            raise value
        return value

    def _end(self) -> int | None:
        # Without its pipe an idle child ends by itself; one that is at work has to be told.
        self._pipe.close()
        self._process.join(timeout=0.2)
        self._process.terminate()
        self._process.join()
        return self._process.exitcode


def _serve(pipe: Connection, factory: Callable[[], object]) -> None:
    # Ctrl-C goes to the whole group of processes; when to end is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        target = factory()
        pipe.send((False, None))
    except Exception as error:  # it belongs to whoever asked for the object
        pipe.send((True, error))
        return
    with suppress(EOFError, OSError):
        while True:
            method, arguments = pipe.recv()
            try:
                answer = (False, getattr(target, method)(*arguments))
            except Exception as error:  # it belongs to whoever called
                answer = (True, error)
            pipe.send(answer)
