"""The addresses of the other side of one connection, of which some are names that have to be asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiortc import RTCIceCandidate, RTCPeerConnection
from aiortc.sdp import candidate_from_sdp
from prometheus_client import Counter

from agent.realtime.ice import ice_seam
from agent.realtime.negotiation import sdp
from agent.realtime.negotiation.signals import Candidate

logger = logging.getLogger(__name__)

REFUSED_CANDIDATES = Counter(
    "voice_agent_candidates_refused_total",
    "Addresses of remote peers, and ends of them, that could not be used",
)

#: Names looked up at a time; a browser that hides its addresses has one for each network it is in.
MAX_NAMES = 16


class RemoteCandidates:
    """Gives candidates to `pc`, which has the remote description they belong to.

    A browser that may not use a microphone hides its addresses behind names that end in .local (mDNS), and
    whoever does not answer for one is waited for a second: names are looked up in tasks, which `stop` ends.
    The end of candidates waits for them.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._pc = pc
        self._count = 0
        self._lookups: set[asyncio.Task[None]] = set()

    @property
    def has_address(self) -> bool:
        """Whether there is an address to try."""
        return ice_seam.has_remote_address(self._pc)

    async def described(self, plain: str, names: list[Candidate]) -> None:
        """There is a new description in force: `plain` is what it is without `names`."""
        self._count = sdp.candidate_count(plain)
        for name in names:
            await self.add(name)

    async def add(self, candidate: Candidate) -> None:
        """Try another address. What cannot be used is counted and passed over."""
        if self._count >= sdp.MAX_CANDIDATES:
            return
        self._count += 1
        if candidate.text is None and self._lookups:
            self._later(self._end_after(*self._lookups))
        elif candidate.text is not None and sdp.is_name(candidate.text):
            if len(self._lookups) < MAX_NAMES:
                self._later(self._give(candidate))
            else:
                REFUSED_CANDIDATES.inc()
        else:
            await self._give(candidate)

    async def stop(self) -> None:
        """Look nothing up any more."""
        lookups = list(self._lookups)
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="remote-candidate")
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _end_after(self, *lookups: asyncio.Task[None]) -> None:
        await asyncio.wait(lookups)
        await self._give(Candidate(None))

    async def _give(self, candidate: Candidate) -> None:
        if candidate.text is None and not self.has_address:
            # It belongs to an offer that was taken back, or all before it were names that nobody answers for.
            # aioice would give up, though the other side's own checks will show where it is.
            REFUSED_CANDIDATES.inc()
            return
        try:
            await self._pc.addIceCandidate(_parsed(candidate))
        except Exception as error:
            # The words are a stranger's. What aiortc makes of them is not specified, and for a name that ends
            # in .local aioice opens a socket, which the machine may refuse.
            REFUSED_CANDIDATES.inc()
            logger.warning("an address of a peer cannot be tried: %s", type(error).__name__)


def _parsed(candidate: Candidate) -> RTCIceCandidate | None:
    if candidate.text is None:
        return None
    parsed = candidate_from_sdp(candidate.text.removeprefix("candidate:"))
    parsed.sdpMid, parsed.sdpMLineIndex = candidate.sdp_mid, candidate.sdp_mline_index
    return parsed
