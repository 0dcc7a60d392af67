"""One other participant: its connection through all rebuilds, its tracks, and what it says about them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from prometheus_client import Counter

from agent.realtime.connections.channels import DataChannel, DataChannels
from agent.realtime.connections.connection import Connection
from agent.realtime.connections.succession import Succession
from agent.realtime.ice.choice import choose
from agent.realtime.negotiation import sdp
from agent.realtime.negotiation.rules import COOLDOWN_S, HANG_UP_S, Do, Negotiation, Phase
from agent.realtime.negotiation.signals import Candidate, Description, TrackMeta
from agent.realtime.remote.early import EarlyCandidates
from agent.realtime.remote.inbox import Ask, Found, Inbox, Item, Moved, StartOver, Undelivered
from agent.realtime.remote.outbox import Outbox
from agent.realtime.remote.peer_events import DataChannelOpened, StateChanged
from agent.realtime.remote.remote_tracks import RemoteTrack, RemoteTracks
from agent.realtime.remote.surroundings import Surroundings

logger = logging.getLogger(__name__)

REBUILDS = Counter("voice_agent_connection_rebuilds_total", "Connections thrown away and made anew", ["why"])
NEGOTIATION_ERRORS = Counter(
    "voice_agent_negotiation_errors_total", "Descriptions that could not be made or applied", ["step"]
)

RemoteState: TypeAlias = Literal["idle", "connecting", "connected", "reconnecting", "failed", "closed"]


class RemotePeer:
    """Another peer in the room. The object stays the same while connections to it come and go.

    One task works through an inbox, so that nothing here ever happens twice at a time.
    """

    def __init__(
        self, peer_id: str, metadata: Mapping[str, Any] | None, *, polite: bool, around: Surroundings
    ) -> None:
        self.id = peer_id
        #: What the peer's token says about it in public; replaced when it comes back with another.
        self.metadata = metadata
        self.state: RemoteState = "idle"
        #: Stream and track ids of what its last description sends; they survive a change of its peer id.
        self.announces: frozenset[sdp.Msid] = frozenset()
        self._around = around
        self._negotiation = Negotiation(polite=polite)
        self._connections = Succession(self._new_connection, let_go=self._let_go, spawn=around.spawn)
        self._was_connected = False
        self._inbox = Inbox()
        self._early = EarlyCandidates()
        self._tracks = RemoteTracks(self, around.emit)
        self._channels = DataChannels(lambda channel: around.emit(DataChannelOpened(self, channel)))
        self._outbox = Outbox(
            lambda data: around.send(self.id, data),
            turn=around.turn,
            undelivered=lambda description: self._inbox.put(Undelivered(description)),
        )
        #: Our latest description, until something shows that it has arrived.
        self._unproven: str | None = None

    @property
    def tracks(self) -> tuple[RemoteTrack, ...]:
        """The tracks this peer sends, with what it says about them."""
        return self._tracks.all

    async def create_data_channel(
        self, label: str, *, ordered: bool = True, max_retransmits: int | None = None
    ) -> DataChannel:
        """Open a data channel to this peer, connecting to it if need be; returns when it is open.

        `max_retransmits`: a message is given up after so many. Raises `ValueError` for a label that is not
        1-128 printable ASCII characters, or a 17th channel; `ChannelClosedError` when the peer leaves.
        """
        channel = self._channels.open(label, ordered=ordered, max_retransmits=max_retransmits)
        self._inbox.put(Ask.SEND)
        try:
            await channel.opened()
        except BaseException:
            channel.close()
            raise
        return channel

    def deliver(self, signal: Description | Candidate | TrackMeta) -> None:
        """Take a signal this peer sent."""
        if isinstance(signal, TrackMeta):
            self._tracks.remember(signal)
        else:
            self._inbox.put(signal)

    def tracks_changed(self) -> None:
        """What this peer is to be sent is not the same as before."""
        self._inbox.put(Ask.SEND)

    def resume(self) -> None:
        """Signalling works again. A working connection is left alone."""
        self._inbox.put(Ask.RESUME)

    def start_over(self, *, polite: bool) -> None:
        """Connect anew, under another id of our own."""
        self._inbox.put(StartOver(polite))

    async def run(self) -> None:
        """Keep connected until cancelled; then close."""
        try:
            async with self._outbox:
                await self._introduce()
                while True:
                    await self._handle(await self._next())
                    self._show_state()
        finally:
            self.end_media()
            self.state = "closed"
            await self._connections.close()

    def end_media(self) -> None:
        """Report every track as ended, and close all data channels."""
        self._tracks.end_all()
        self._channels.close()

    # ---- what comes in ------------------------------------------------------------------------------

    async def _next(self) -> Item | None:
        """The next item, or None when a deadline has passed. Without signalling, time stands still."""
        return await self._inbox.get(self._negotiation.deadline_s if self._around.is_online() else None)

    async def _handle(self, item: Item | None) -> None:
        match item:
            case None:
                connection = self._connections.current
                has_address = connection is not None and connection.has_address
                await self._perform(self._negotiation.expired(_now_s(), has_address=has_address))
            case Description("offer"):
                await self._offer_arrived(item)
            case Description():
                await self._answer_arrived(item)
            case Candidate():
                await self._candidate_arrived(item)
            case Ask.SEND:
                await self._send_what_is_wanted()
            case Moved(connection) if connection is self._connections.current:
                await self._connection_moved(connection)
            case Moved(connection):
                if connection.state != "connected":
                    self._connections.dropped(connection)
            case Found(connection, candidate):
                if connection is self._connections.current:
                    await self._outbox.propose(candidate)
            case Undelivered(description):
                if description is self._unproven:
                    await self._perform(self._negotiation.lost(_now_s()))
            case Ask.RESUME:
                await self._outbox.tell(self._around.outgoing(self.id))
                await self._perform(self._negotiation.resumed(_now_s()))
            case StartOver(polite):
                self._connections.replace()
                self._negotiation = Negotiation(polite=polite)
                await self._introduce()

    async def _introduce(self) -> None:
        self._outbox.forget()
        await self._send_what_is_wanted()

    async def _send_what_is_wanted(self) -> None:
        wanted, connection = self._around.outgoing(self.id), self._connections.current
        await self._outbox.tell(wanted)
        is_change = bool(wanted) or self._channels.wanted
        if connection is not None:
            connection.send(wanted)
            is_change = connection.unsatisfied or self._negotiation.phase is not Phase.CONNECTED
        if is_change:
            await self._perform(self._negotiation.want(_now_s()))

    # ---- negotiation --------------------------------------------------------------------------------

    async def _perform(self, do: Do) -> None:
        while do in (Do.OFFER, Do.REBUILD_AND_OFFER) and self._around.is_online():
            if do is Do.REBUILD_AND_OFFER:
                REBUILDS.labels("lost").inc()
                self._connections.replace(keep_sections=True)
            do = await self._offer()

    async def _offer(self) -> Do:
        self._negotiation.offered(_now_s())
        return await self._send_offer(self._connections.ensure())

    async def _send_offer(self, connection: Connection) -> Do:
        try:
            offer = await connection.make_offer()
        except Exception as error:
            # aiortc raises anything from InvalidStateError to KeyError; a new connection is the only remedy.
            self._count_error("offer", error)
            return self._negotiation.lost(_now_s())
        made_s = _now_s()
        await self._describe("offer", offer, connection)
        self._negotiation.left_late(_now_s() - made_s)
        return Do.NOTHING

    async def _offer_arrived(self, offer: Description) -> None:
        connection, ufrag = self._connections.current, sdp.ice_ufrag(offer.sdp)
        restarted = connection is not None and connection.remote_ufrag not in (None, ufrag)
        match self._negotiation.offer_arrived(_now_s(), restarted=restarted):
            case Do.HOLD:
                self._inbox.hold(offer, self._negotiation.cooldown_s(_now_s()))
                return
            case Do.IGNORE:
                return
            case Do.RESEND:
                await self._perform(await self._send_offer(self._connections.ensure()))
                return
            case Do.ROLL_BACK_AND_ANSWER:
                self._connections.ensure().take_offer_back()
            case Do.REBUILD_AND_ANSWER:
                REBUILDS.labels("remote").inc()
                self._connections.replace()
        await self._answer(offer)

    async def _answer(self, offer: Description) -> None:
        connection = self._connections.ensure()
        self.announces = frozenset(sdp.msids_by_mid(offer.sdp).values())
        try:
            answer = await connection.answer_offer(offer.sdp)
        except Exception as error:
            # The description is a stranger's, and what aiortc raises for a bad one is not specified.
            self._count_error("answer", error)
            self._connections.replace()
            await self._perform(self._negotiation.lost(_now_s()))
            return
        await self._describe("answer", answer, connection)
        await self._agreed(connection)

    async def _answer_arrived(self, answer: Description) -> None:
        connection, ufrag = self._connections.current, sdp.ice_ufrag(answer.sdp)
        if connection is None or self._negotiation.phase not in (Phase.OFFERED, Phase.CONNECTING):
            return
        if connection.remote_ufrag not in (None, ufrag):
            # Either it yielded to our offer by throwing away its end of this connection, as the vendor's
            # Python client does, which then hears no other for a while; or what we took for its answer was
            # one to an offer before. This connection cannot come about.
            await self._perform(self._negotiation.lost(_now_s(), at_least_s=COOLDOWN_S))
            return
        if not self._negotiation.expects_answer():
            return
        self.announces = frozenset(sdp.msids_by_mid(answer.sdp).values())
        try:
            await connection.apply_answer(answer.sdp)
        except Exception as error:
            # As for an offer.
            self._count_error("apply", error)
            await self._perform(self._negotiation.lost(_now_s()))
            return
        self._unproven = None
        await self._agreed(connection)

    async def _agreed(self, connection: Connection) -> None:
        await self._take_early(connection)
        do = self._negotiation.agreed(
            _now_s(), connected=connection.is_flowing, unsatisfied=connection.unsatisfied
        )
        await self._perform(do)

    async def _candidate_arrived(self, candidate: Candidate) -> None:
        connection = self._connections.current
        if connection is None or not connection.expects(candidate):
            self._early.keep(candidate, _now_s())
        else:
            await connection.add_candidate(candidate)

    async def _take_early(self, connection: Connection) -> None:
        for candidate in self._early.take(connection.remote_ufrag, _now_s()):
            await connection.add_candidate(candidate)

    async def _describe(self, kind: str, text: str, connection: Connection) -> None:
        self._unproven = text
        await self._outbox.describe(kind, text, is_complete=not connection.trickles)

    def _count_error(self, step: str, error: Exception) -> None:
        NEGOTIATION_ERRORS.labels(step).inc()
        logger.warning("negotiation with a peer failed at %s: %s", step, type(error).__name__)

    # ---- connections --------------------------------------------------------------------------------

    def _new_connection(self, after: Connection | None) -> Connection:
        connection = Connection(
            choose(self._around.ice_servers(), self._negotiation.attempts),
            on_state=lambda moved: self._inbox.put(Moved(moved)),
            channels=self._channels,
            on_track=self._tracks.arrived,
            on_track_ended=self._tracks.ended,
            receive_video=self._around.receive_video,
            on_candidate=lambda connection, candidate: self._inbox.put(Found(connection, candidate)),
            relay_only=self._around.relay_only,
            after=after,
        )
        connection.send(self._around.outgoing(self.id))
        return connection

    def _let_go(self, connection: Connection) -> None:
        for track in connection.received:
            self._tracks.ended(track)

    async def _connection_moved(self, connection: Connection) -> None:
        if connection.is_flowing:
            self._was_connected = True
            self._unproven = None
            self._connections.settle()
            await self._perform(self._negotiation.connected())
        elif connection.is_silent or connection.state == "failed":
            self._around.check_line()
            await self._perform(self._negotiation.lost(_now_s()))
        elif connection.state == "closed":
            # It was heard to the end, so the other side closed it; maybe it is on its way out of the room.
            await self._perform(self._negotiation.lost(_now_s(), at_least_s=HANG_UP_S))

    def _show_state(self) -> None:
        state = self._visible_state()
        if state != self.state:
            self.state = state
            self._around.emit(StateChanged(self, state))

    def _visible_state(self) -> RemoteState:
        if self._connections.is_flowing:
            return "connected"
        if self._negotiation.has_failed:
            return "failed"
        if self._negotiation.phase is Phase.IDLE:
            return "idle"
        return "reconnecting" if self._was_connected else "connecting"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
