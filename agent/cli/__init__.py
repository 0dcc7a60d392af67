"""The command line: ``voice-agent``."""

from __future__ import annotations

from agent.cli.app import main

__all__ = ["main"]
