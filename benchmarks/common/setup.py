"""What a peer is told when it starts. Standard library only: every peer has it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common.said import Note

INSTRUCTIONS = "You are a friendly voice assistant. Answer in one or two short sentences."


@dataclass(frozen=True, slots=True)
class Setup:
    """The engines behind a system. `whisper` or `piper` None: one that costs nothing."""

    #: Base URL of the language model, ending in ``/v1``.
    llm_url: str
    #: Where `Note` is.
    note_file: str
    #: A folder with a CTranslate2 Whisper model.
    whisper: str | None = None
    #: A Piper voice, an ``.onnx`` file with its ``.onnx.json`` beside it.
    piper: str | None = None
    #: Threads a model may use.
    threads: int = 2

    @property
    def note(self) -> Note:
        return Note(Path(self.note_file))

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_arguments(cls) -> Setup:
        """As the first argument of this program gives it."""
        return cls(**json.loads(sys.argv[1]))


def announce(url: str) -> None:
    """Tell whoever started this program where callers find it."""
    print(json.dumps({"url": url}), flush=True)
