"""The path of a connected connection, listened to and asked. The rules are in `path_watch`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiortc import RTCPeerConnection
from prometheus_client import Counter

from agent.realtime.ice import ice_seam
from agent.realtime.ice.path_watch import TICK_S, PathWatch, Verdict

logger = logging.getLogger(__name__)

DEAD_PATHS = Counter("voice_agent_dead_paths_total", "Connections on which nothing arrived any more")
HEALED_PATHS = Counter("voice_agent_healed_paths_total", "Dead paths on which something arrived again")


class Path:
    """Watches what arrives at `pc` until `stop`. `on_change` is called when `is_silent` changes."""

    def __init__(self, pc: RTCPeerConnection, on_change: Callable[[], None]) -> None:
        self._arrivals = ice_seam.Arrivals(pc)
        self._watch = PathWatch()
        self._on_change = on_change
        self._timer = self._schedule()

    @property
    def is_silent(self) -> bool:
        """Whether the other side has not been heard for so long that the path counts as dead."""
        return self._watch.is_silent

    def stop(self) -> None:
        self._timer.cancel()

    def _schedule(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = self._schedule()
        match self._watch.tick(self._arrivals.count):
            case Verdict.ASK:
                self._arrivals.ask()
            case Verdict.LOST:
                DEAD_PATHS.inc()
                logger.info("nothing arrives from a peer any more")
                self._on_change()
            case Verdict.BACK:
                HEALED_PATHS.inc()
                logger.info("a peer is heard again")
                self._on_change()
