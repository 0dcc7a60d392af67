"""The agent as one participant of one room: who is there, what they say, and a voice for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeAlias, overload

from prometheus_client import Counter

from agent.realtime.codes import FATAL_CODES
from agent.realtime.connections import aiortc_seam
from agent.realtime.errors import AckTimeoutError, DisconnectedError, NotConnectedError, SignallingError
from agent.realtime.frames import Direct, ErrorFrame, Message, Presence
from agent.realtime.ice_servers import IceServer
from agent.realtime.names import check_not_reserved
from agent.realtime.remote.peer_events import (
    DataReceived,
    FatalError,
    PeerEvent,
    PeerEvents,
    StateChanged,
)
from agent.realtime.remote.remote_peer import RemotePeer
from agent.realtime.remote.surroundings import Surroundings
from agent.realtime.room.handlers import E, EventHandlers, Handler
from agent.realtime.room.pacing import Pacer
from agent.realtime.room.roster import Roster
from agent.realtime.room.roster_wait import RosterWait
from agent.realtime.sending import sending_seam
from agent.realtime.sending.tracks import OutgoingTracks, Sendable
from agent.realtime.signalling.backoff import Backoff
from agent.realtime.signalling.client import SignallingClient
from agent.realtime.signalling.credentials import TokenProvider
from agent.realtime.signalling.events import Connected, Disconnected, Renewed, SubscriptionLost
from agent.realtime.signalling.link import Timeouts

logger = logging.getLogger(__name__)

SEND_FAILURES = Counter("voice_agent_signal_send_failures_total", "Signals that did not reach their peer")

PeerState: TypeAlias = Literal["idle", "joining", "joined", "reconnecting", "closed"]


class Peer:
    """One participant of one room, with a WebRTC connection to each other participant.

        async with Peer(url, key=key) as peer:

            @peer.on(PeerJoined)
            async def greet(event):
                await peer.send_to(event.remote.id, {"hello": event.remote.id})

            await peer.join("room-42")
            await peer.send({"type": "chat", "text": "hello"})

    What happens is told to handlers (`on`), and to one reader of `events`, who gets everything in order.
    Give a publishable `key` or a `token_provider`. `ice_servers` replaces what the server sends; without
    either, only direct connections are tried, and no public server is ever asked. With
    `ice_transport_policy` ``"relay"`` media goes through TURN servers only. Video of others is declined
    unless `receive_video`.

    Leaving the block gives handlers at work a second, leaves the room, closes every connection within three,
    and leaves no task behind. A fault inside is raised as an ExceptionGroup.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token_provider: TokenProvider | None = None,
        ice_servers: Sequence[IceServer] | None = None,
        ice_transport_policy: Literal["all", "relay"] = "all",
        reconnect: Backoff | None = Backoff(),  # noqa: B008 (immutable)
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (immutable)
        receive_video: bool = False,
    ) -> None:
        """Raises `ValueError` for an address, credential or policy that cannot be used."""
        if ice_transport_policy not in ("all", "relay"):
            raise ValueError('ice_transport_policy is "all" or "relay"')
        self._client = SignallingClient(
            url, key=key, token_provider=token_provider, reconnect=reconnect, timeouts=timeouts
        )
        self._pacer = Pacer()
        self._given_ice_servers = ice_servers
        self._ice_servers: Sequence[IceServer] = ice_servers or ()
        self._events = PeerEvents()
        self._tasks = asyncio.TaskGroup()
        self._handlers = EventHandlers(self._tasks.create_task)
        self._reader: asyncio.Task[None] | None = None
        self._outgoing = OutgoingTracks(
            self._tasks.create_task,
            changed=lambda: self._roster.tracks_changed(),  # noqa: PLW0108 (made below)
        )
        self._roster = Roster(
            self._tasks,
            Surroundings(
                send=self._send_signal,
                turn=self._pacer.turn,
                is_online=lambda: self._client.peer_id is not None,
                check_line=self._client.check_alive,
                ice_servers=lambda: self._ice_servers,
                relay_only=ice_transport_policy == "relay",
                outgoing=self._outgoing.for_peer,
                receive_video=receive_video,
                emit=self._emit,
                spawn=self._tasks.create_task,
            ),
        )
        self._state: PeerState = "idle"
        self._peer_id: str | None = None
        self._channel: str | None = None
        self._roster_wait = RosterWait(ask=self._ask_for_roster, give_up=self._without_roster)

    async def __aenter__(self) -> Self:
        sending_seam.use_fast_audio_level()
        aiortc_seam.ask_for_fec()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.leave()
        finally:
            # Cancelled while leaving: what is left has to end all the same.
            self._close()
            if self._reader is not None:
                self._reader.cancel()
            # The group has to know of a cancellation, which may be its own doing. An error of the block
            # passes by it, so that the caller sees it as it was raised.
            if isinstance(value, asyncio.CancelledError):
                await self._tasks.__aexit__(kind, value, trace)
            else:
                await self._tasks.__aexit__(None, None, None)

    @property
    def state(self) -> PeerState:
        return self._state

    @property
    def peer_id(self) -> str | None:
        """Our own id; None before joining. With a publishable key it is another after each reconnect."""
        return self._peer_id

    @property
    def channel(self) -> str | None:
        return self._channel

    @property
    def remote_peers(self) -> Mapping[str, RemotePeer]:
        """Who is in the room, by peer id."""
        return MappingProxyType(self._roster.remotes)

    def events(self) -> PeerEvents:
        """What happens, for exactly one reader; ends after leaving or a `FatalError`."""
        return self._events

    @overload
    def on(self, event: type[E], handler: Handler[E]) -> Handler[E]: ...
    @overload
    def on(self, event: type[E]) -> Callable[[Handler[E]], Handler[E]]: ...
    def on(self, event: type[E], handler: Handler[E] | None = None) -> Any:
        """Call `handler` for each event of this class; without it, this is a decorator.

        A plain function is called at once and must not block; a coroutine function becomes a task. What
        either raises is logged by its type, counted, and ends there. While 256 coroutines are at work on data
        messages, further messages are not handed out, and counted.
        """
        if handler is None:
            return lambda decorated: self.on(event, decorated)
        self._handlers.add(event, handler)
        return handler

    @overload
    def once(self, event: type[E], handler: Handler[E]) -> Handler[E]: ...
    @overload
    def once(self, event: type[E]) -> Callable[[Handler[E]], Handler[E]]: ...
    def once(self, event: type[E], handler: Handler[E] | None = None) -> Any:
        """As `on`, for the next such event only."""
        if handler is None:
            return lambda decorated: self.once(event, decorated)
        self._handlers.add(event, handler, once=True)
        return handler

    def off(self, event: type[E], handler: Handler[E]) -> None:
        """Call `handler` no more."""
        self._handlers.remove(event, handler)

    def add_track(
        self,
        track: Sendable,
        *,
        stream_id: str,
        metadata: Mapping[str, Any] | None = None,
        to: Collection[str] | None = None,
    ) -> None:
        """Send `track` to every present and future peer, or only to those whose ids are in `to`.

        `track` is an `AudioSource`, what `from_file` gives, or any aiortc track, which is then read once for
        all, as 48 kHz mono where it is audio, and never stopped. Receivers know it by `stream_id`; `metadata`
        is told to each of them before it arrives. It is sent over every connection that is made anew.

        To add it again changes nothing. Raises `ValueError` for a track that is sent under another stream id
        or with other properties, for more than 7 tracks, a stream id that is not 1-256 printable ASCII
        characters without spaces, or metadata over 8 KB.
        """
        self._outgoing.add(track, stream_id, metadata, to)

    def remove_track(self, track: Sendable) -> None:
        """Stop sending `track`; the others see it end. Raises `ValueError` if it is not being sent."""
        self._outgoing.remove(track)

    def replace_track(self, old: Sendable, new: Sendable | None) -> None:
        """Send `new` in place of `old` at once, or nothing; the others notice only what they hear.

        Stream id and metadata stay. After `None` the track is still known as `old`. Raises `ValueError` if
        `old` is not being sent, `new` is already, or one is audio and the other video.
        """
        self._outgoing.replace(old, new)

    async def join(self, channel: str) -> None:
        """Connect and join; who is there arrives as `PeerJoined` events.

        Raises `SignallingError` (see `SignallingClient.connect` and `publish`); joining may then be tried
        again. Raises `ValueError` for a reserved or impossible name.
        """
        self._check_joinable(channel)
        self._set_state("joining")
        self._channel = channel
        try:
            if self._reader is None:
                self._connected(await self._client.connect())
                self._reader = self._tasks.create_task(self._read(), name="peer-reader")
            await self._client.subscribe(channel, include_sender_metadata=True)
        except BaseException as error:
            self._channel = None
            if self._state == "joining":
                self._set_state("idle")
            if isinstance(error, AckTimeoutError | DisconnectedError):
                # Otherwise the client would bring us back into a room of which nothing is known here.
                with suppress(SignallingError):
                    await self._client.unsubscribe(channel)
            raise
        if self._state == "joining":
            self._set_state("joined")

    async def send(self, data: Any) -> None:
        """Send JSON `data` to everybody in the room. Raises as `SignallingClient.publish` does.

        Beyond 100 at once it suspends: what is sent in whatever way leaves at 80 a second at most, because
        servers put out who sends faster.
        """
        self._joined_channel()
        await self._pacer.turn()
        await self._client.publish(self._joined_channel(), data)

    async def publish(self, channel: str, data: Any) -> None:
        """Send JSON `data` to everybody in a channel, which need not be the room joined. Raises as `send`."""
        check_not_reserved(channel)
        await self._pacer.turn()
        await self._client.publish(channel, data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        """Send JSON `data` to one peer. Raises as `send`, and `ValueError` for our own id."""
        self._joined_channel()
        if peer_id == self._peer_id:
            raise ValueError("a peer cannot send to itself")
        await self._pacer.turn()
        await self._client.send(peer_id, data)

    async def leave(self) -> None:
        """Leave the room and close everything. Final; returns when it is done."""
        # What handlers began may need the room still.
        await self._handlers.settle()
        # Out of the room first: a peer that sees only its connection close would try to connect again.
        await self._client.close()
        closing = self._close()
        if self._reader is not None:
            closing.append(self._reader)
        if closing:
            await asyncio.wait(closing)
        await self._handlers.settle()

    # ---- signalling events --------------------------------------------------------------------------

    async def _read(self) -> None:
        async for event in self._client.events():
            if self._state == "closed":
                continue
            match event:
                case Connected(is_reconnect=True):
                    self._connected(event)
                    if self._state in ("joined", "reconnecting"):
                        # Alone, there is nobody to compare, and the server may send nothing at all.
                        self._roster_wait.begin(insist=bool(self._roster.remotes))
                        if not self._roster.remotes:
                            self._set_state("joined")
                case Renewed(ice_servers):
                    self._may_use(ice_servers)
                case Disconnected(will_retry=True):
                    # Not in a room yet, it is `join` that fails.
                    if self._state == "joined":
                        self._set_state("reconnecting")
                case Disconnected(code, reason):
                    self._fail(str(code), reason)
                case SubscriptionLost(channel, code) if channel == self._channel:
                    self._fail(code, "the room was not given back after a reconnect")
                case ErrorFrame(code, _, message) if code in FATAL_CODES:
                    self._fail(code, message or "the server refused")
                case Presence(channel) if channel == self._channel:
                    self._presence(event)
                case Direct():
                    self._roster.direct(event)
                case Message(channel, sender, data, metadata) if channel == self._channel:
                    if sender != self._peer_id:
                        self._emit(DataReceived(sender, data, "broadcast", metadata))

    def _connected(self, event: Connected) -> None:
        self._peer_id = event.peer_id
        self._roster.own_id_is(event.peer_id)
        self._may_use(event.ice_servers)

    def _may_use(self, ice_servers: Sequence[IceServer]) -> None:
        if self._given_ice_servers is None:
            self._ice_servers = ice_servers

    def _ask_for_roster(self) -> None:
        assert self._channel is not None
        self._tasks.create_task(self._subscribe_again(self._channel))

    def _without_roster(self) -> None:
        self._roster.unknown()
        self._set_state("joined")

    async def _subscribe_again(self, channel: str) -> None:
        try:
            await self._client.subscribe(channel, include_sender_metadata=True)
        except SignallingError as error:
            logger.warning("subscribing again failed: %s", type(error).__name__)

    def _presence(self, presence: Presence) -> None:
        if self._roster_wait.over():
            self._roster.reconcile(presence.joined)
            self._set_state("joined")
            return
        for member in presence.left:
            self._roster.gone(member.peer_id)
        for member in presence.joined:
            self._roster.here(member)

    # ---- helpers ------------------------------------------------------------------------------------

    def _emit(self, event: PeerEvent) -> None:
        self._events.put(event)
        self._handlers.dispatch(event)

    async def _send_signal(self, peer_id: str, data: Any) -> bool:
        try:
            await self._client.send(peer_id, data)
        except SignallingError as error:
            SEND_FAILURES.inc()
            logger.debug("a signal did not reach its peer: %s", type(error).__name__)
            return False
        return True

    def _check_joinable(self, channel: str) -> None:
        if self._state != "idle":
            raise SignallingError(f"join() is for a peer that is in no room; this one is {self._state}")
        check_not_reserved(channel)

    def _joined_channel(self) -> str:
        # While joining, too: whom a handler was told of is to be answered.
        if self._channel is None or self._state not in ("joining", "joined", "reconnecting"):
            raise NotConnectedError("join a room first")
        return self._channel

    def _set_state(self, state: PeerState) -> None:
        if self._state not in (state, "closed"):
            self._state = state
            self._emit(StateChanged(None, state))

    def _fail(self, code: str, message: str) -> None:
        if self._state != "closed":
            logger.warning("out of the room: %s", code)
            self._emit(FatalError(code, message))
            self._close()

    def _close(self) -> list[asyncio.Task[None]]:
        self._roster_wait.over()
        closing = self._roster.close()
        self._outgoing.close()
        self._set_state("closed")
        self._events.finish()
        return closing
