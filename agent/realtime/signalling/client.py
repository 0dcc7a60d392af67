"""The signalling client: one lasting presence on a server, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Self

from prometheus_client import Counter

from agent.realtime.codes import CloseCode
from agent.realtime.errors import (
    NotConnectedError,
    SignallingConnectError,
    SignallingError,
    TokenProviderError,
)
from agent.realtime.frames import GoingAway, Publish, Send, Unsubscribe, Welcome
from agent.realtime.ice_servers import IceServer, parse_ice_servers
from agent.realtime.json_text import Json
from agent.realtime.names import MAX_CHANNEL_CHARS, is_channel, is_peer_id
from agent.realtime.signalling.backoff import STABLE_AFTER_S, Backoff, floor_s
from agent.realtime.signalling.credentials import TokenProvider, credential_source
from agent.realtime.signalling.events import (
    Connected,
    Disconnected,
    Event,
    EventStream,
    Renewed,
    SubscriptionLost,
    TokenProviderFailing,
)
from agent.realtime.signalling.link import Incoming, Link, Loss, Request, Timeouts
from agent.realtime.signalling.opening import check_url, open_link
from agent.realtime.signalling.renewal import Line, Outcome, Renewal, renew_in_time
from agent.realtime.signalling.subscriptions import Subscriptions

logger = logging.getLogger(__name__)

#: From so many failures of the token provider in a row on, its owner is told.
TOKEN_FAILURES_TOLD = 3

RECONNECTS = Counter("voice_agent_signalling_reconnects", "Signalling connections won back after a loss.")
LOSSES = Counter("voice_agent_signalling_losses", "Signalling connections lost, by close code.", ["code"])
OVERFLOWS = Counter("voice_agent_signalling_overflows", "Connections given up because events were not taken.")


class SignallingState(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class SignallingClient:
    """Speaks the room protocol to a server, reconnects when the connection is lost, and subscribes again.

    What happens is told through `events`, which has to be read by exactly one reader: when it is 1024
    events behind, they are thrown away and the connection is made anew, so that the reader gets a fresh
    and whole picture instead of an old one with holes.

    ``async with SignallingClient(...) as client`` connects and closes. No task outlives `close`.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token_provider: TokenProvider | None = None,
        reconnect: Backoff | None = Backoff(),  # noqa: B008 (immutable)
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (immutable)
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
    ) -> None:
        """`url` is the server's origin; give either a publishable `key` or a `token_provider`.

        `reconnect` None: a lost connection stays lost. `jitter` returns numbers in [-1, 1].
        Raises `ValueError` for an address or credential that cannot be used.
        """
        self._url = check_url(url)
        self._credential = credential_source(key, token_provider, timeouts.token_s)
        self._reconnect = reconnect
        self._timeouts = timeouts
        self._jitter = jitter
        self._state = SignallingState.IDLE
        self._events = EventStream()
        self._subscriptions = Subscriptions()
        self._ice_servers: tuple[IceServer, ...] = ()
        self._retry_after_ms: int | None = None
        self._attempts = 0
        self._token_failures = 0
        self._line: Line | None = None
        #: Held while requests have to wait for a new connection to be ready. A lock lets those who waited go
        #: first, and in the order in which they came.
        self._gate = asyncio.Lock()
        self._may_renew = True
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def state(self) -> SignallingState:
        return self._state

    @property
    def peer_id(self) -> str | None:
        """Our own id on the present connection; None without one."""
        return self._line.link.welcome.peer_id if self._line else None

    def events(self) -> EventStream:
        """Everything that happens, in order: ``async for event in client.events()``. Ends after the last
        `Disconnected`. Every call returns the same stream."""
        return self._events

    async def connect(self) -> Connected:
        """Make the first connection: one attempt. After a failure it may be called again.

        Raises `SignallingConnectError` or `TokenProviderError`.
        """
        if self._state is not SignallingState.IDLE:
            raise SignallingError(f"connect() is for a new client; this one is {self._state}")
        self._state = SignallingState.CONNECTING
        try:
            link = await self._open()
        except BaseException:
            if self._state is SignallingState.CONNECTING:
                self._state = SignallingState.IDLE
            raise
        if self._state is not SignallingState.CONNECTING:
            await link.close(CloseCode.NORMAL, "client requested close")
            raise SignallingError("the client was closed while it was connecting")
        connected = self._welcomed(link, is_reconnect=False)
        self._task = asyncio.create_task(self._run(), name="signalling")
        return connected

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "client requested close") -> None:
        """Leave for good. Idempotent; returns when nothing of the client runs any more."""
        was_closed, self._state = self._state is SignallingState.CLOSED, SignallingState.CLOSED
        was_connected = self._task is not None
        if self._line is not None:
            await self._line.link.close(code, reason)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if was_closed:
            return
        if was_connected:
            self._finish(Loss(code, reason))
        self._events.finish()

    def check_alive(self) -> None:
        """Call this when something makes you doubt the connection, such as a media path that died.

        The server is asked for a sign of life, and when nothing at all is heard within `Timeouts.alive_s`,
        the connection is dropped and made anew. Returns at once. May be called freely: while a check runs,
        for a second after one, and without a connection it does nothing.
        """
        if self._line is not None:
            self._line.link.check_alive()

    # ---- requests -----------------------------------------------------------------------------------

    async def subscribe(self, channel: str, *, include_sender_metadata: bool = False) -> None:
        """Join a channel, and join it again after every reconnect, until `unsubscribe`.

        The first `Presence` for the channel that follows is its roster. Raises as `publish` does; what the
        server refused is forgotten, what it may have granted before the line broke is asked for again.
        """
        _check_channel(channel)
        await self._subscriptions.add(await self._ready_link(), channel, include_sender_metadata)

    async def unsubscribe(self, channel: str) -> None:
        """Leave a channel. It is forgotten at once, whatever the server answers. Raises as `publish`."""
        _check_channel(channel)
        self._subscriptions.forget(channel)
        if self._line is not None:
            self._line.rosters.forget(channel)
        await self._request(lambda request_id: Unsubscribe(channel, request_id))

    async def publish(self, channel: str, data: Json) -> None:
        """Send `data` to everybody else in a channel. Returns when the server has taken it.

        Raises `NotConnectedError`, `DisconnectedError`, `AckTimeoutError`, `ServerRequestError`,
        `FrameTooLargeError`, and `ValueError` or `TypeError` for data that is not JSON. Nothing is ever
        repeated behind the caller's back.
        """
        _check_channel(channel)
        await self._request(lambda request_id: Publish(channel, data, request_id))

    async def send(self, to: str, data: Json) -> None:
        """Send `data` to one peer. Raises as `publish`; an absent peer is `peer_not_found`."""
        if not is_peer_id(to):
            raise ValueError("a peer id has 1-128 characters and no control characters")
        await self._request(lambda request_id: Send(to, data, request_id))

    async def _request(self, make_frame: Callable[[str], Request]) -> None:
        await (await self._ready_link()).request(make_frame)

    async def _ready_link(self) -> Link:
        self._require_line()
        async with self._gate:
            return self._require_line().link

    def _require_line(self) -> Line:
        if self._line is None or self._state is not SignallingState.CONNECTED:
            raise NotConnectedError("not connected to the signalling server")
        return self._line

    # ---- the connection's life ----------------------------------------------------------------------

    async def _open(self) -> Link:
        try:
            credential = await self._credential()
        except TokenProviderError:
            self._token_failures += 1
            raise
        self._token_failures = 0
        return await open_link(self._url, credential, self._timeouts)

    def _welcomed(self, link: Link, *, is_reconnect: bool) -> Connected:
        welcome = link.welcome
        self._take_ice_servers(welcome)
        self._line = Line(link, self._deliver)
        self._retry_after_ms = None
        self._state = SignallingState.CONNECTED
        connected = Connected(
            peer_id=welcome.peer_id,
            is_reconnect=is_reconnect,
            ice_servers=self._ice_servers,
            max_message_bytes=welcome.max_message_size,
            server_time=welcome.server_time,
            expires_at=welcome.expires_at,
        )
        self._emit(connected)
        return connected

    def _take_ice_servers(self, welcome: Welcome) -> None:
        offered = (welcome.metadata or {}).get("iceServers")
        if offered is None:
            return
        servers = parse_ice_servers(offered)
        if servers is None:
            logger.warning("the server's list of ICE servers is not valid and was passed over")
        else:
            self._ice_servers = servers

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                is_again = False
                while self._line is not None:
                    loss = await self._live(self._line, tasks, replay=is_again)
                    self._line = None
                    LOSSES.labels(str(int(loss.code))).inc()
                    await self._regain(loss)
                    is_again = True
        except Exception:
            # Nobody awaits this task before `close`: a fault of our own must reach the reader here.
            logger.exception("signalling failed")
            LOSSES.labels("internal").inc()
            self._finish(Loss(CloseCode.ABNORMAL, "internal error"))

    async def _live(self, line: Line, tasks: asyncio.TaskGroup, *, replay: bool) -> Loss:
        """Until the line is lost, and every line that took its place in good time."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        line.start(tasks)
        while True:
            async with asyncio.TaskGroup() as beside:
                replaying = beside.create_task(self._replay(line.link)) if replay else None
                renewing = beside.create_task(self._renew_in_time(line, tasks))
                loss = await line.lost
                if replaying is not None:
                    replaying.cancel()
                if self._line is line:
                    renewing.cancel()
            if self._line is line or self._line is None:
                break
            line, replay = self._line, False
        if line.is_taken_for_gone:
            self._may_renew = False
        if loop.time() - began_s >= STABLE_AFTER_S:
            self._attempts = 0
        return loss

    async def _replay(self, link: Link) -> None:
        await self._subscriptions.replay(
            link,
            pause_s=self._timeouts.replay_pause_s,
            on_lost=lambda channel, code: self._emit(SubscriptionLost(channel, code)),
        )

    async def _renew_in_time(self, line: Line, tasks: asyncio.TaskGroup) -> None:
        async def attempt() -> Outcome:
            return await Renewal(line, self._subscriptions, self._gate).run(tasks, self._open, self._switch)

        if self._may_renew:
            await renew_in_time(line, self._jitter(), attempt)

    def _switch(self, line: Line) -> None:
        """Requests go to `line` from now on."""
        welcome = line.link.welcome
        self._line = line
        self._retry_after_ms = None
        self._take_ice_servers(welcome)
        self._emit(Renewed(self._ice_servers, welcome.server_time, welcome.expires_at))

    async def _regain(self, loss: Loss) -> None:
        """Wait and try until there is a line again, or there is to be none."""
        is_told = False
        while self._state is not SignallingState.CLOSED:
            policy = self._reconnect
            if policy is None or not policy.allows(self._attempts, loss.code):
                self._finish(loss)
                return
            if not is_told:
                self._emit(Disconnected(int(loss.code), loss.reason, will_retry=True))
                is_told = True
            self._state = SignallingState.RECONNECTING
            self._attempts += 1
            await asyncio.sleep(self._delay_s(policy, loss))
            try:
                link = await self._open()
            except SignallingConnectError as error:
                loss = Loss(error.code, error.reason, error.retry_after_ms)
            except TokenProviderError as error:
                loss = Loss(CloseCode.ABNORMAL, str(error))
                if self._token_failures >= TOKEN_FAILURES_TOLD:
                    self._emit(TokenProviderFailing(self._token_failures, str(error)))
            else:
                RECONNECTS.inc()
                self._welcomed(link, is_reconnect=True)
                return
            logger.warning("signalling: attempt %d to reconnect failed: %s", self._attempts, loss.reason)

    def _delay_s(self, policy: Backoff, loss: Loss) -> float:
        asked_ms = max(loss.retry_after_ms or 0, self._retry_after_ms or 0)
        self._retry_after_ms = None
        least_s = floor_s(loss.code, asked_ms)
        if loss.code == CloseCode.TOKEN_EXPIRED and self._attempts == 1 and not least_s:
            # Nothing is wrong with the server or the way to it.
            return 0.0
        return policy.delay_s(self._attempts, floor_s=least_s, spread=self._jitter())

    def _deliver(self, frame: Incoming) -> bool:
        if isinstance(frame, GoingAway):
            self._retry_after_ms = frame.retry_after_ms
        if self._events.offer(frame):
            return True
        OVERFLOWS.inc()
        logger.warning("signalling events were not taken in time; starting afresh")
        self._events.discard_waiting()
        return False

    def _finish(self, loss: Loss) -> None:
        self._line = None
        self._state = SignallingState.CLOSED
        self._emit(Disconnected(int(loss.code), loss.reason, will_retry=False))
        self._events.finish()

    def _emit(self, event: Event) -> None:
        if not self._events.offer(event):
            self._events.discard_waiting()
            self._events.offer(event)


def _check_channel(channel: str) -> None:
    # Servers count characters or bytes; what satisfies both is sent.
    if not is_channel(channel) or len(channel.encode()) > MAX_CHANNEL_CHARS:
        raise ValueError(f"a channel name has 1-{MAX_CHANNEL_CHARS} bytes and no control characters")
