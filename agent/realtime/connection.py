"""One aiortc connection from birth to close, without any decision of its own.

What aiortc cannot do in place (roll back, restart ICE, change servers) is done by making a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp
from prometheus_client import Counter

from agent.realtime import aiortc_seam, sdp
from agent.realtime.path import Path
from agent.realtime.signals import Candidate

logger = logging.getLogger(__name__)

CLOSE_TIMEOUTS = Counter(
    "voice_agent_connection_close_timeouts_total",
    "Connections that did not close in time and were abandoned",
)

#: Closing talks to the other side and to relays; a dead one must not hold up leaving.
CLOSE_S = 2.0

#: Candidates accepted for one description; the rest is ignored.
MAX_CANDIDATES = 200

#: A data channel agreed on beforehand costs nothing on the wire; it is there to keep the section.
_KEEP_SECTION_CHANNEL_ID = 1022


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedTrack:
    """A remote audio track as its description announced it."""

    track: MediaStreamTrack
    stream_id: str | None
    #: As the sender names it; None if it names none. `track.id` may differ.
    track_id: str | None


class Connection:
    """One RTCPeerConnection. Not concurrent: the owner calls one method after the other.

    `on_state` gets this object after each change of `state` or `is_silent`, `on_track` each new remote audio
    track. Video is declined: an agent listens, and decoding what nobody looks at costs more than everything
    else.

    `kinds`, the sections of the connection before this one, are offered again in the same order, because the
    other side may still hold that session.
    """

    def __init__(
        self,
        configuration: RTCConfiguration,
        *,
        on_state: Callable[[Connection], None],
        on_track: Callable[[ReceivedTrack], None],
        kinds: Iterable[str] = (),
    ) -> None:
        self._pc = RTCPeerConnection(configuration)
        self._on_state = on_state
        self._on_track = on_track
        self._path: Path | None = None
        self._local_tracks: list[MediaStreamTrack] = []
        #: Remote tracks, in the order in which they came.
        self.received: list[MediaStreamTrack] = []
        self._msids: dict[str, sdp.Msid] = {}
        self._extension_ids: dict[str, int] = {}
        self._candidates = 0
        self.remote_ufrag: str | None = None
        #: The media kind of every section negotiated, in order.
        self.kinds: list[str] = []
        self._pc.on("track", self._track_arrived)
        self._pc.on("connectionstatechange", self._moved)
        for kind in kinds:
            if kind == "application":
                self._pc.createDataChannel("", negotiated=True, id=_KEEP_SECTION_CHANNEL_ID)
            else:
                self._pc.addTransceiver(kind, "recvonly" if kind == "audio" else "inactive")

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected``, ``failed`` or ``closed``.

        A peer that goes away makes aiortc close the connection by itself, so ``closed`` without `close`
        means that it hung up, or lost its way long ago.
        """
        return self._pc.connectionState

    @property
    def is_silent(self) -> bool:
        """Whether it was connected and then nothing arrived for about 4 s."""
        return self._path is not None and self._path.is_silent

    @property
    def is_flowing(self) -> bool:
        """Whether it is connected and something arrives."""
        return self.state == "connected" and not self.is_silent

    @property
    def unsatisfied(self) -> bool:
        """Whether there is a track to send that the last description had no place for."""
        return any(map(aiortc_seam.sends_unsatisfied, self._pc.getTransceivers()))

    def attach(self, track: MediaStreamTrack, stream_id: str) -> None:
        """Send `track` as part of `stream_id` from the next description on; `close` stops it."""
        self._local_tracks.append(track)
        aiortc_seam.set_stream_id(self._pc.addTrack(track), stream_id)

    def sends(self, track_id: str) -> bool:
        """Whether a track of that name is attached."""
        return any(track.id == track_id for track in self._local_tracks)

    async def make_offer(self) -> str:
        """An offer with everything attached; its SDP is complete, candidates included."""
        offer = await self._pc.createOffer()
        pinned = sdp.pin_extension_ids(offer.sdp, self._extension_ids)
        await self._pc.setLocalDescription(RTCSessionDescription(pinned, "offer"))
        return self._settled_local()

    async def answer_offer(self, offer_sdp: str) -> str:
        """Apply an offer and return the answer, complete too. Raises whatever aiortc makes of it."""
        await self._apply_remote(offer_sdp, "offer")
        for transceiver in self._pc.getTransceivers():
            if transceiver.kind != "audio":
                transceiver.direction = "inactive"
        aiortc_seam.decline_unoffered(self._pc, sdp.mids(offer_sdp))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        return self._settled_local()

    async def apply_answer(self, answer_sdp: str) -> None:
        """Apply the answer to `make_offer`'s offer. Raises whatever aiortc makes of it."""
        await self._apply_remote(answer_sdp, "answer")

    async def add_candidate(self, candidate: Candidate) -> bool:
        """Try another remote address; False if it belongs to another description or cannot be used."""
        if self.remote_ufrag is None or candidate.ufrag not in (None, self.remote_ufrag):
            return False
        if self._candidates >= MAX_CANDIDATES:
            return False
        self._candidates += 1
        if candidate.text is None:
            await self._pc.addIceCandidate(None)
            return True
        fields = candidate.text.removeprefix("candidate:")
        try:
            parsed = candidate_from_sdp(fields)
        except (ValueError, AssertionError):
            return False
        parsed.sdpMid, parsed.sdpMLineIndex = candidate.sdp_mid, candidate.sdp_mline_index
        try:
            await self._pc.addIceCandidate(parsed)
        except ValueError:
            return False
        return True

    async def close(self) -> None:
        """Close, and end all tracks; gives up on a peer or relay that does not cooperate."""
        self._pc.remove_all_listeners()
        self._stop_watching()
        for track in self._local_tracks:
            track.stop()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pc.close()
        except TimeoutError:
            CLOSE_TIMEOUTS.inc()
            logger.warning("a connection did not close within %g s and was abandoned", CLOSE_S)
        for track in self.received:
            aiortc_seam.end_received_track(track)

    def _moved(self) -> None:
        if self.state == "connected" and self._path is None:
            self._path = Path(self._pc, on_change=lambda: self._on_state(self))
        elif self.state in ("failed", "closed"):
            self._stop_watching()
        self._on_state(self)

    def _stop_watching(self) -> None:
        if self._path is not None:
            self._path.stop()

    async def _apply_remote(self, text: str, kind: str) -> None:
        # aiortc announces tracks while it applies the description, and says nothing of streams.
        self._msids = sdp.msids_by_mid(text)
        await self._pc.setRemoteDescription(RTCSessionDescription(text, kind))
        self._candidates = 0
        self.remote_ufrag = sdp.ice_ufrag(text)
        self._learn(text)

    def _settled_local(self) -> str:
        text: str = self._pc.localDescription.sdp
        self._learn(text)
        return text

    def _learn(self, text: str) -> None:
        self.kinds = sdp.kinds(text)
        self._extension_ids = {**sdp.extension_ids(text), **self._extension_ids}

    def _track_arrived(self, track: MediaStreamTrack) -> None:
        if track.kind != "audio":
            return
        aiortc_seam.prepare_received_track(self._pc, track)
        self.received.append(track)
        msid = self._msids.get(self._transceiver_of(track).mid or "", sdp.Msid(None, None))
        self._on_track(ReceivedTrack(track, msid.stream_id, msid.track_id))

    def _transceiver_of(self, track: MediaStreamTrack) -> RTCRtpTransceiver:
        return next(t for t in self._pc.getTransceivers() if t.receiver.track is track)
