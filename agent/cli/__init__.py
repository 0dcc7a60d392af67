"""The command line: ``voice-agent``."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of ``voice-agent``. Ctrl-C ends it without a word, however early it comes."""
    try:
        # Inside, because loading everything takes a second in which people change their minds.
        from agent.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
