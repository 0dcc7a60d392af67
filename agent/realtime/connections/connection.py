"""One aiortc connection from birth to close, without any decision of its own.

What aiortc cannot do in place (restart ICE, change servers) is done by making a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from prometheus_client import Counter

from agent.realtime.connections import aiortc_seam
from agent.realtime.connections.channels import DataChannels
from agent.realtime.connections.connection_media import ConnectionMedia, ReceivedTrack
from agent.realtime.connections.remote_candidates import RemoteCandidates
from agent.realtime.ice import ice_seam
from agent.realtime.ice.choice import Choice
from agent.realtime.ice.gathering import Gathering
from agent.realtime.ice.path import Path
from agent.realtime.negotiation import sdp
from agent.realtime.negotiation.signals import Candidate, split_names
from agent.realtime.sending.tracks import Outgoing

logger = logging.getLogger(__name__)

CLOSE_TIMEOUTS = Counter(
    "voice_agent_connection_close_timeouts_total",
    "Connections that did not close in time and were abandoned",
)

#: Closing talks to the other side and to relays; a dead one must not hold up leaving.
CLOSE_S = 2.0

#: Header extensions of a session whose ids are remembered; browsers have a dozen.
MAX_EXTENSIONS = 64

#: A data channel agreed on beforehand costs nothing on the wire; it is there to keep the section.
_KEEP_SECTION_CHANNEL_ID = 1022


class Connection:
    """One RTCPeerConnection. Not concurrent: the owner calls one method after the other.

    `on_state` gets this object after each change of `state` or `is_silent`, `on_track` each new remote
    track, and `on_track_ended` each that the other side no longer sends. Video is declined unless
    `receive_video`.

    `choice` is whom to ask for further addresses of our own; `on_candidate` gets each of them after the
    description has been made, and the end of candidates. With `relay_only` nothing else is used.

    The sections of `after`, the connection before this one, are offered again in the same order and with the
    same ids of header extensions, because the other side may still hold that session.
    """

    def __init__(
        self,
        choice: Choice,
        *,
        on_state: Callable[[Connection], None],
        on_track: Callable[[ReceivedTrack], None],
        on_track_ended: Callable[[MediaStreamTrack], None],
        channels: DataChannels,
        receive_video: bool = False,
        on_candidate: Callable[[Connection, Candidate], None],
        relay_only: bool = False,
        after: Connection | None = None,
    ) -> None:
        policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
        # An empty list, not none: aiortc would ask a public server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[], iceTransportPolicy=policy))
        self._choice = choice
        self._gathering: Gathering | None = None
        self._on_candidate = on_candidate
        self._on_state = on_state
        self._media = ConnectionMedia(
            self._pc, on_track=on_track, on_track_ended=on_track_ended, receive_video=receive_video
        )
        self._channels = channels
        self._path: Path | None = None
        self._before_offer: aiortc_seam.Restorable | None = None
        self._extension_ids: dict[str, int] = {} if after is None else dict(after._extension_ids)
        self._remote_candidates = RemoteCandidates(self._pc)
        self._opus_type: int | None = None
        self.remote_ufrag: str | None = None
        #: The media kind of every section negotiated, in order.
        self.kinds: list[str] = []
        self._pc.on("connectionstatechange", self._moved)
        channels.attach(self._pc)
        for kind in () if after is None else after.kinds:
            if kind == "application":
                self._pc.createDataChannel("", negotiated=True, id=_KEEP_SECTION_CHANNEL_ID)
            else:
                self._pc.addTransceiver(kind, self._media.receiving_direction(kind))

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
        return self.is_up and not self.is_silent

    @property
    def is_up(self) -> bool:
        """Whether it was connected and has not ended; for each new section `state` is connecting again."""
        return self._path is not None and self.state not in ("failed", "closed")

    @property
    def received(self) -> list[MediaStreamTrack]:
        """The tracks the other side sends."""
        return self._media.received

    @property
    def trickles(self) -> bool:
        """Whether the end of candidates comes, or came, through `on_candidate`."""
        return self._gathering is not None

    @property
    def unsatisfied(self) -> bool:
        """Whether what there is to send has changed since the last agreement."""
        return self._media.unsatisfied or self._channels.missing_on(self._pc)

    def _open_channels(self) -> None:
        """Open what is to be opened, where that needs no new description."""
        if self._pc.sctp is not None and self._pc.sctp.mid is not None:
            self._channels.create_on(self._pc)

    def send(self, wanted: Sequence[Outgoing]) -> None:
        """Send these, and nothing else, from the next description on; open the channels that can be."""
        self._media.send(wanted)
        self._open_channels()

    async def make_offer(self) -> str:
        """An offer with everything attached, and with the addresses known by now."""
        self._media.place()
        self._channels.create_on(self._pc)
        if not self._pc.getTransceivers() and self._pc.sctp is None:
            # What there was to send is gone again, and an offer needs a section.
            self._pc.addTransceiver("audio", "recvonly")
        if self._pc.signalingState == "stable":
            self._before_offer = aiortc_seam.Restorable(self._pc)
        offer = await self._pc.createOffer()
        pinned = sdp.pin_extension_ids(offer.sdp, self._extension_ids)
        pinned = sdp.pin_opus_type(pinned, self._opus_type)
        await self._pc.setLocalDescription(RTCSessionDescription(pinned, "offer"))
        return await self._settled_local()

    def take_offer_back(self) -> None:
        """The other side's offer goes first; what ours was to say is said in the answer, or later."""
        if self._before_offer is not None and self._pc.signalingState == "have-local-offer":
            self._before_offer.restore()

    async def answer_offer(self, offer_sdp: str) -> str:
        """Apply an offer and return the answer. Raises whatever aiortc makes of it."""
        await self._apply_remote(offer_sdp, "offer")
        self._media.place(sdp.mids(offer_sdp))
        self._open_channels()
        self._media.decline_unwanted()
        aiortc_seam.decline_unoffered(self._pc, sdp.mids(offer_sdp))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        await self._media.agreed()
        return await self._settled_local()

    async def apply_answer(self, answer_sdp: str) -> None:
        """Apply the answer to `make_offer`'s offer. Raises whatever aiortc makes of it."""
        await self._apply_remote(answer_sdp, "answer")
        await self._media.agreed()

    @property
    def has_address(self) -> bool:
        """Whether there is an address of the other side to try."""
        return self._remote_candidates.has_address

    def expects(self, candidate: Candidate) -> bool:
        """Whether `candidate` belongs to the remote description in force."""
        return self.remote_ufrag is not None and candidate.ufrag in (None, self.remote_ufrag)

    async def add_candidate(self, candidate: Candidate) -> None:
        """Try another remote address, unless it belongs to another description or cannot be used."""
        if self.expects(candidate):
            await self._remote_candidates.add(candidate)

    async def close(self) -> None:
        """Close, and end all tracks; gives up on a peer or relay that does not cooperate."""
        self._pc.remove_all_listeners()
        self._stop_watching()
        self._media.stop_sending()
        await self._remote_candidates.stop()
        if self._gathering is not None:
            await self._gathering.stop()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pc.close()
        except TimeoutError:
            CLOSE_TIMEOUTS.inc()
            logger.warning("a connection did not close within %g s and was abandoned", CLOSE_S)
        if self._gathering is not None:
            await self._gathering.release()
        self._media.end_received()

    def _moved(self) -> None:
        if self.state == "connected" and self._path is None:
            self._path = Path(self._pc, on_change=lambda: self._on_state(self))
            self._channels.connected(self._pc)
        elif self.state in ("failed", "closed"):
            self._stop_watching()
        self._on_state(self)

    def _stop_watching(self) -> None:
        if self._path is not None:
            self._path.stop()

    async def _apply_remote(self, text: str, kind: str) -> None:
        self._media.described(text)
        plain, names = split_names(text)
        await self._pc.setRemoteDescription(RTCSessionDescription(plain, kind))
        aiortc_seam.guard_data(self._pc)
        aiortc_seam.guard_sources(self._pc)
        self._channels.number_on(self._pc)
        self.remote_ufrag = sdp.ice_ufrag(text)
        await self._remote_candidates.described(plain, names)
        self._opus_type = self._opus_type or sdp.opus_type(text)
        self._learn(text)

    async def _settled_local(self) -> str:
        text: str = self._pc.localDescription.sdp
        self._learn(text)
        await self._gather()
        is_open = self._gathering is not None and not self._gathering.is_done
        return sdp.without_end_of_candidates(text) if is_open else text

    async def _gather(self) -> None:
        """Ask the servers for the transport that carries everything; which one it is, descriptions decide."""
        if not self._choice:
            return
        ice = ice_seam.LocalIce(self._pc)
        if self._gathering is not None:
            if self._gathering.serves(ice):
                return
            await self._gathering.stop()
            await self._gathering.release()

        def found(text: str | None) -> None:
            self._on_candidate(self, Candidate(text, ice.mid, 0, ice.ufrag))

        self._gathering = Gathering(ice, self._choice, found)

    def _learn(self, text: str) -> None:
        self.kinds = sdp.kinds(text)
        for uri, number in sdp.extension_ids(text).items():
            if len(self._extension_ids) < MAX_EXTENSIONS:
                self._extension_ids.setdefault(uri, number)
