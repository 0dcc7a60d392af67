"""Environments of their own for the peers, made once and kept in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class EnvironmentFailedError(Exception):
    """An environment could not be made; the message holds what pip said last."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment by name, with what is to be installed in it."""

    name: str
    requirements: tuple[str, ...]
    #: Packages that are only fetched, into the folder ``wheels``, for a file in them.
    wheels: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Another set of requirements or another Python is another folder."""
        what = json.dumps([*self.requirements, *self.wheels, sys.version_info[:2]])
        return cache_folder() / f"{self.name}-{hashlib.sha256(what.encode()).hexdigest()[:10]}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def make(self) -> Path:
        """The interpreter in it; made if it is not there, which takes minutes.

        Raises `EnvironmentFailedError`.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Two programs that start at once would make it twice, in one folder.
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.folder / "complete").exists():
                self._make()
        return self.python

    def _make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            _run([sys.executable, "-m", "venv", str(self.folder)])
            _run([str(self.python), "-m", "pip", "install", "--quiet", *self.requirements])
            if self.wheels:
                kept = str(self.folder / "wheels")
                _run([str(self.python), "-m", "pip", "download", "--no-deps", "-d", kept, *self.wheels])
        except subprocess.CalledProcessError as error:
            last = "\n".join(error.stderr.strip().splitlines()[-5:])
            raise EnvironmentFailedError(f"the environment {self.name} cannot be made: {last}") from None
        (self.folder / "complete").touch()

    def version(self, package: str) -> str:
        """The version of `package` that is installed in it."""
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True)
        return done.stdout.strip()


def cache_folder() -> Path:
    """Where environments and generated weights are kept; ``VOICE_AGENT_BENCHMARK_CACHE`` names another."""
    named = os.environ.get("VOICE_AGENT_BENCHMARK_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "voice-agent-benchmarks"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
