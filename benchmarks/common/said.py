"""What the caller is saying, for the engines that cost nothing. Standard library only: every peer has it.

The caller notes each sentence with the times at which it is said; a recogniser that costs nothing looks up
which words had been said by now and in the audio it was given. So it knows no word before the caller has
said it, and half a sentence is half a sentence to everybody. Times are of the system's monotonic clock, which
all processes of a machine share.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

#: A word counts when all but so much of it has been said …
EARLY_S = 0.1
#: … and more than so much of it is in the audio.
LATE_S = 0.05


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, said from `begin_s` to `end_s`, and what the language model answers to it."""

    text: str
    begin_s: float
    end_s: float
    reply: str

    def heard(self, now_s: float, audio_s: float) -> str:
        """The words in the last `audio_s` before `now_s`; long words take longer than short ones."""
        words = self.text.split()
        letters = sum(len(word) + 1 for word in words)
        at = 0
        kept: list[str] = []
        for word in words:
            at += len(word) + 1
            end_s = self.begin_s + (self.end_s - self.begin_s) * at / letters
            if end_s <= now_s + EARLY_S and end_s > now_s - audio_s + LATE_S:
                kept.append(word)
        return " ".join(kept)


class Note:
    """The file that the caller writes and the engines read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, said: Said) -> None:
        """Replace what is noted; a reader sees the old or the new note, never half of one."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(said)))
        fresh.replace(self._path)

    def read(self) -> Said | None:
        """None before the first note."""
        try:
            return Said(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None

    def heard(self, audio_s: float) -> str:
        """The words in audio of that length that ends now; empty when nobody has said anything."""
        said = self.read()
        return said.heard(time.monotonic(), audio_s) if said else ""
