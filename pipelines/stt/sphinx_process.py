"""pocketsphinx in a process of its own.

Its decoder keeps the interpreter's lock for as long as it runs, up to seconds for one utterance; in a thread
of the service it would stop the event loop, and with it the sound of every call. So each decoder lives in a
child process, which is asked over its standard input and output and ends when they are closed.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
from typing import IO, Any

from prometheus_client import Counter

from pipelines.base import EngineError

_STARTS = Counter(
    "voice_agent_stt_process_starts_total", "Recogniser processes started, again after a crash too"
)
_LENGTH = struct.Struct(">I")
_EXIT_TIMEOUT_S = 5.0


class SphinxProcess:
    """A `SphinxDecoder` and its captioners, elsewhere. Blocking; calls from several threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the first call and after a crash."""
        return self._child.pid if self._child else None

    def call(self, method: str, *args: Any) -> Any:
        """Call `method` of the child's `_Served`. Starts the child when there is none.

        Raises `EngineError` when the call fails or the child dies; the next call starts another one.
        """
        with self._lock:
            if self._closed:
                raise EngineError("the recogniser is shut down")
            child = self._child = self._child or _start()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                _send(child.stdin, (method, args))
                failure, value = _receive(child.stdout)
            except (OSError, EOFError):
                code = _end(child)
                self._child = None
                raise EngineError(f"the recogniser's process died (exit code {code})") from None
        if failure is not None:
            raise EngineError(f"pocketsphinx failed ({failure})")
        return value

    def close(self) -> None:
        """End the child. Idempotent; waits for a call in progress."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                _end(self._child)
                self._child = None


def _start() -> subprocess.Popen[bytes]:
    _STARTS.inc()
    # A session of its own: Ctrl-C in the terminal is the service's to handle, which then closes us.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _end(child: subprocess.Popen[bytes]) -> int:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                # What was still to be flushed has no reader any more.
                continue
    try:
        return child.wait(_EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _send(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    # Both ends are this program: nothing a stranger sends is ever unpickled.
    return pickle.loads(data)


class _Served:
    """What the child does."""

    def __init__(self) -> None:
        from pipelines.stt.sphinx_decoder import SphinxCaptioner, SphinxDecoder

        self._new_decoder = SphinxDecoder
        self._new_captioner = SphinxCaptioner
        self._decoder: SphinxDecoder | None = None
        self._captioners: dict[int, SphinxCaptioner] = {}

    def load(self) -> None:
        """Load the decoder."""
        self._decoder = self._decoder or self._new_decoder()

    def hear(self, audio: Any, phrases: tuple[str, ...]) -> tuple[str, float]:
        """Text and confidence."""
        self._decoder = self._decoder or self._new_decoder()
        heard = self._decoder.hear(audio, phrases)
        return heard.text, heard.confidence

    def begin(self, captioner: int, audio: Any) -> str:
        """Captions of a new utterance that starts with `audio`."""
        if captioner not in self._captioners:
            self._captioners[captioner] = self._new_captioner()
        return self._captioners[captioner].begin(audio)

    def follow(self, captioner: int, audio: Any) -> str:
        """Captions of the utterance so far, which goes on with `audio`."""
        if captioner not in self._captioners:
            # The process is another one than the utterance began in.
            return self.begin(captioner, audio)
        return self._captioners[captioner].follow(audio)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not get between the answers.
    os.dup2(2, 1)
    served = _Served()
    while True:
        try:
            method, args = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: tuple[str | None, Any] = (None, getattr(served, method)(*args))
        except Exception as error:
            # The boundary to pocketsphinx: its type goes to the service, which counts and logs it.
            answer = (type(error).__name__, None)
        try:
            _send(answers, answer)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    _serve()
