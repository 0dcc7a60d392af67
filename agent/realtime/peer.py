"""The agent as one participant of one room: who is there, what they say, and a voice for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeAlias

from prometheus_client import Counter

from agent.realtime import aiortc_seam
from agent.realtime.backoff import Backoff
from agent.realtime.credentials import TokenProvider
from agent.realtime.errors import NotConnectedError, SignallingError
from agent.realtime.events import Connected, Disconnected, SubscriptionLost
from agent.realtime.frames import Direct, ErrorFrame, Message, Presence
from agent.realtime.ice import IceServer
from agent.realtime.link import Timeouts
from agent.realtime.names import is_reserved
from agent.realtime.peer_events import (
    DataReceived,
    FatalError,
    PeerEvents,
    StateChanged,
)
from agent.realtime.remote import RemotePeer
from agent.realtime.roster import Roster
from agent.realtime.signalling import SignallingClient
from agent.realtime.source import AudioSource
from agent.realtime.surroundings import Outgoing, Surroundings

logger = logging.getLogger(__name__)

SEND_FAILURES = Counter("voice_agent_signal_send_failures_total", "Signals that did not reach their peer")

#: How long after a reconnect the roster is waited for before subscribing again, and how often.
ROSTER_S = 5.0
ROSTER_RETRIES = 2

#: Error codes which, not answering any request, mean that the room is lost.
FATAL_CODES = frozenset(
    {
        "account_suspended",
        "channel_not_authorized",
        "action_not_permitted",
        "invalid_token",
        "token_expired",
    }
)

PeerState: TypeAlias = Literal["idle", "joining", "joined", "reconnecting", "closed"]


class Peer:
    """One participant of one room, with a WebRTC connection to each other participant.

        async with Peer(url, token_provider=provider) as peer:
            peer.add_source(source, stream_id="agent-voice")
            await peer.join("room-42")
            async for event in peer.events():
                ...

    Give a publishable `key` or a `token_provider`. `ice_servers` replaces what the server sends; without
    either, only direct connections are tried, and no public server is ever asked. Leaving the block leaves
    the room, closes every connection within two seconds, and leaves no task behind. A fault inside is raised
    from the block as an ExceptionGroup.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token_provider: TokenProvider | None = None,
        ice_servers: Sequence[IceServer] | None = None,
        reconnect: Backoff | None = Backoff(),  # noqa: B008 (immutable)
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (immutable)
    ) -> None:
        """Raises `ValueError` for an address or credential that cannot be used."""
        self._client = SignallingClient(
            url, key=key, token_provider=token_provider, reconnect=reconnect, timeouts=timeouts
        )
        self._given_ice_servers = ice_servers
        self._ice_servers: Sequence[IceServer] = ice_servers or ()
        self._events = PeerEvents()
        self._tasks = asyncio.TaskGroup()
        self._reader: asyncio.Task[None] | None = None
        self._outgoing: list[Outgoing] = []
        self._roster = Roster(
            self._tasks,
            Surroundings(
                send=self._send_signal,
                is_online=lambda: self._client.peer_id is not None,
                ice_servers=lambda: self._ice_servers,
                outgoing=self._outgoing,
                emit=self._events.put,
                spawn=self._tasks.create_task,
            ),
        )
        self._state: PeerState = "idle"
        self._peer_id: str | None = None
        self._channel: str | None = None
        self._roster_timer: asyncio.TimerHandle | None = None
        self._awaits_roster = False

    async def __aenter__(self) -> Self:
        aiortc_seam.use_fast_audio_level()
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

    def add_source(
        self, source: AudioSource, *, stream_id: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Let every present and future peer hear `source`, as the stream `stream_id`.

        Receivers know the stream by its id; `metadata` is told to each of them before the track arrives.
        """
        if not stream_id or not stream_id.isascii() or not stream_id.isprintable() or " " in stream_id:
            raise ValueError("stream_id must be printable ASCII without spaces")
        outgoing = Outgoing(source, stream_id, metadata)
        self._outgoing.append(outgoing)
        self._roster.send_also(outgoing)

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
        except BaseException:
            self._channel = None
            if self._state == "joining":
                self._set_state("idle")
            raise
        if self._state == "joining":
            self._set_state("joined")

    async def send(self, data: Any) -> None:
        """Send JSON `data` to everybody in the room. Raises as `SignallingClient.publish` does."""
        await self._client.publish(self._joined_channel(), data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        """Send JSON `data` to one peer. Raises as `send`, and `ValueError` for our own id."""
        self._joined_channel()
        if peer_id == self._peer_id:
            raise ValueError("a peer cannot send to itself")
        await self._client.send(peer_id, data)

    async def leave(self) -> None:
        """Leave the room and close everything. Final; returns when it is done."""
        # Out of the room first: a peer that sees only its connection close would try to connect again.
        await self._client.close()
        closing = self._close()
        if self._reader is not None:
            closing.append(self._reader)
        if closing:
            await asyncio.wait(closing)

    # ---- signalling events --------------------------------------------------------------------------

    async def _read(self) -> None:
        async for event in self._client.events():
            match event:
                case Connected(is_reconnect=True):
                    self._connected(event)
                    self._await_roster()
                case Disconnected(will_retry=True):
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
                        self._events.put(DataReceived(sender, data, "broadcast", metadata))

    def _connected(self, event: Connected) -> None:
        self._peer_id = event.peer_id
        self._roster.own_id_is(event.peer_id)
        if self._given_ice_servers is None:
            self._ice_servers = event.ice_servers

    def _await_roster(self, attempt: int = 0) -> None:
        """After a reconnect the next presence is the whole roster; it is asked for if it does not come."""
        self._cancel_roster_timer()
        self._awaits_roster = True
        if not self._roster.remotes:
            # Alone, there is nobody to compare, and the server may send nothing at all.
            self._set_state("joined")
            return
        loop = asyncio.get_running_loop()
        self._roster_timer = loop.call_later(ROSTER_S, self._roster_is_late, attempt)

    def _roster_is_late(self, attempt: int) -> None:
        assert self._channel is not None
        if attempt >= ROSTER_RETRIES:
            logger.warning("no roster came after a reconnect; taking the room for empty")
            self._presence(Presence(self._channel))
            return
        self._await_roster(attempt + 1)
        self._tasks.create_task(self._subscribe_again(self._channel))

    async def _subscribe_again(self, channel: str) -> None:
        try:
            await self._client.subscribe(channel, include_sender_metadata=True)
        except SignallingError as error:
            logger.warning("subscribing again failed: %s", type(error).__name__)

    def _presence(self, presence: Presence) -> None:
        if self._awaits_roster:
            self._awaits_roster = False
            self._cancel_roster_timer()
            self._roster.reconcile(presence.joined)
            self._set_state("joined")
            return
        for member in presence.left:
            self._roster.gone(member.peer_id)
        for member in presence.joined:
            self._roster.here(member)

    # ---- helpers ------------------------------------------------------------------------------------

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
        if is_reserved(channel.lower()):
            raise ValueError("channel names beginning with _metered/, _internal/ or _system/ are reserved")

    def _joined_channel(self) -> str:
        if self._channel is None or self._state not in ("joined", "reconnecting"):
            raise NotConnectedError("join a room first")
        return self._channel

    def _set_state(self, state: PeerState) -> None:
        if self._state not in (state, "closed"):
            self._state = state
            self._events.put(StateChanged(None, state))

    def _fail(self, code: str, message: str) -> None:
        if self._state != "closed":
            logger.warning("out of the room: %s", code)
            self._events.put(FatalError(code, message))
            self._close()

    def _close(self) -> list[asyncio.Task[None]]:
        self._cancel_roster_timer()
        closing = self._roster.close()
        self._set_state("closed")
        self._events.finish()
        return closing

    def _cancel_roster_timer(self) -> None:
        if self._roster_timer is not None:
            self._roster_timer.cancel()
            self._roster_timer = None
