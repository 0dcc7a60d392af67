"""Data channels to one peer, which go on when the connection under them is made anew."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Self, TypeAlias

from aiortc import RTCDataChannel, RTCPeerConnection
from prometheus_client import Counter

from agent.realtime.connections.aiortc_seam import number_streams_from
from agent.realtime.errors import ChannelClosedError, ChannelFullError, ChannelOverflowError

logger = logging.getLogger(__name__)

REFUSED = Counter("voice_agent_data_channels_refused_total", "Data channels of others not accepted", ["why"])
OVERFLOWS = Counter(
    "voice_agent_data_channel_overflows_total",
    "Reliable data channels closed because nobody read them in time",
)
DROPPED = Counter(
    "voice_agent_data_channel_messages_dropped_total", "Messages of lossy data channels dropped unread"
)

#: To and from one peer together.
MAX_CHANNELS = 16
MAX_LABEL_CHARS = 128
#: Stream ids end at 65,534; whoever picks high ones itself leaves enough for a day of new connections.
MAX_COUNTED_STREAM = 60_000
#: What aiortc, and with it every peer of ours and the vendor's Python client, says it takes at most.
MAX_MESSAGE_BYTES = 65_536
#: Handed to the transport and not sent yet; above it `send` suspends, down to half of it.
HIGH_WATER_BYTES = 262_144
MAX_WAITING_SENDS = 256
#: Received and not read yet: messages on one channel, and bytes on all channels of one peer.
MAX_WAITING_MESSAGES = 1024
MAX_WAITING_BYTES = 1_048_576
#: How long after a new connection works its opener has to bring a channel back.
REOPEN_S = 10.0

ChannelState: TypeAlias = Literal["connecting", "open", "closed"]
Message: TypeAlias = str | bytes


class DataChannel:
    """Messages to and from one peer: ``await channel.send(...)``, ``async for message in channel``.

    When the connection is made anew, the side that opened the channel opens it again underneath, and this
    object goes on: meanwhile its state is ``connecting`` and `send` waits. What was on its way then is lost,
    even on a reliable channel; number your messages if that matters. A channel that the other side does not
    bring back within 10 s of the new connection is closed.

    At most 1024 messages wait for a reader, and 1 MiB on all channels of a peer. Beyond that a channel that
    may lose messages drops the oldest; a reliable one has no silent gaps: it is closed, on both sides, and
    reading raises `ChannelOverflowError` after what had arrived.
    """

    def __init__(
        self, channels: DataChannels, label: str, *, ordered: bool, max_retransmits: int | None, lossy: bool
    ) -> None:
        self.label = label
        self.ordered = ordered
        self.max_retransmits = max_retransmits
        self._channels = channels
        self._lossy = lossy
        self._raw: RTCDataChannel | None = None
        self._closed = False
        self._overflowed = False
        self._inbox: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._sending = asyncio.Lock()
        self._waiting_sends = 0

    @property
    def state(self) -> ChannelState:
        if self._closed:
            return "closed"
        return "open" if self._raw is not None and self._raw.readyState == "open" else "connecting"

    async def send(self, message: Message) -> None:
        """Hand over text or bytes; concurrent calls go out in the order they were made.

        Suspends until the channel is open and less than 256 KiB wait to be sent. Raises `ValueError` for more
        than 64 KiB, `ChannelFullError` when 256 calls are waiting already, and `ChannelClosedError`.
        """
        size = message_bytes(message)
        if size > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes; this one has {size}")
        if self._waiting_sends >= MAX_WAITING_SENDS:
            raise ChannelFullError(f"{MAX_WAITING_SENDS} messages wait to be sent already")
        self._waiting_sends += 1
        try:
            async with self._sending:
                # Thousands of small messages in one go would hold up everything else.
                await asyncio.sleep(0)
                raw = await self._writable(size)
                raw.send(message)
        finally:
            self._waiting_sends -= 1

    def close(self) -> None:
        """Close for good, on both sides. What waits to be read can still be read."""
        self._end()
        if self._raw is not None:
            self._raw.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._inbox:
            if self._overflowed:
                raise ChannelOverflowError("messages arrived faster than they were read")
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._take()

    # ---- for `DataChannels`

    async def opened(self) -> None:
        """Return when the channel is open. Raises `ChannelClosedError`."""
        await self._writable(0)

    def use(self, raw: RTCDataChannel) -> None:
        """Go on with `raw` as soon as it is open."""
        raw.bufferedAmountLowThreshold = HIGH_WATER_BYTES // 2
        raw.on("message", self._received)
        raw.on("bufferedamountlow", self._changed.set)
        raw.on("close", lambda: self._lost(raw))
        if raw.readyState == "open":
            self._switch(raw)
        else:
            raw.on("open", lambda: self._switch(raw))

    def is_on(self, pc: RTCPeerConnection) -> bool:
        """Whether it is open over this connection."""
        return self._raw is not None and self._raw.transport is pc.sctp

    # ---- inside

    async def _writable(self, size: int) -> RTCDataChannel:
        while True:
            if self._closed:
                raise ChannelClosedError("the data channel is closed")
            raw = self._raw
            if raw is not None and raw.readyState == "open":
                waiting = raw.bufferedAmount
                if not waiting or waiting + size <= HIGH_WATER_BYTES:
                    return raw
            self._changed.clear()
            await self._changed.wait()

    def _switch(self, raw: RTCDataChannel) -> None:
        if raw.id is not None:
            self._channels.in_use(raw.id)
        if self._closed:
            raw.close()
        else:
            self._raw = raw
            self._changed.set()

    def _lost(self, raw: RTCDataChannel) -> None:
        if raw is not self._raw:
            return
        if raw.transport.state == "connected":
            # The connection works, so it is this channel that the other side has closed.
            self._end()
        self._changed.set()

    def _received(self, message: Message) -> None:
        size = message_bytes(message)
        while self._lossy and self._inbox and not self._has_room(size):
            DROPPED.inc()
            self._take()
        if self._closed:
            return
        if self._has_room(size):
            self._inbox.append(message)
            self._channels.waiting_bytes += size
            self._arrived.set()
        elif self._lossy:
            DROPPED.inc()
        else:
            OVERFLOWS.inc()
            logger.warning("a data channel was closed because its messages were not read in time")
            self._overflowed = True
            self.close()

    def _has_room(self, size: int) -> bool:
        fits = self._channels.waiting_bytes + size <= MAX_WAITING_BYTES
        return fits and len(self._inbox) < MAX_WAITING_MESSAGES

    def _take(self) -> Message:
        message = self._inbox.popleft()
        self._channels.waiting_bytes -= message_bytes(message)
        return message

    def _end(self) -> None:
        self._closed = True
        self._channels.forget(self)
        self._arrived.set()
        self._changed.set()


class DataChannels:
    """All channels to one peer. `opened` is called with each one that the other side opens."""

    def __init__(self, opened: Callable[[DataChannel], None]) -> None:
        self.waiting_bytes = 0
        self._opened = opened
        #: Those opened here, with the connections they were opened on.
        self._ours: dict[DataChannel, RTCPeerConnection | None] = {}
        self._theirs: list[DataChannel] = []
        self._reopening: asyncio.TimerHandle | None = None
        self._closed = False
        #: The stream ids of all connections so far are below this.
        self._used_streams = 0

    def open(self, label: str, *, ordered: bool, max_retransmits: int | None) -> DataChannel:
        """A channel that is opened on every connection from now on. Raises as `create_data_channel`."""
        if not 1 <= len(label) <= MAX_LABEL_CHARS or not label.isascii() or not label.isprintable():
            raise ValueError(f"a label has 1-{MAX_LABEL_CHARS} printable ASCII characters")
        if max_retransmits is not None and not 0 <= max_retransmits <= 65_535:
            raise ValueError("max_retransmits must be 0-65535, or None to never give up")
        if self._closed:
            raise ChannelClosedError("the peer has left")
        if len(self._ours) + len(self._theirs) >= MAX_CHANNELS:
            raise ValueError(f"there can be at most {MAX_CHANNELS} data channels with a peer")
        lossy = max_retransmits is not None
        channel = DataChannel(self, label, ordered=ordered, max_retransmits=max_retransmits, lossy=lossy)
        self._ours[channel] = None
        return channel

    def in_use(self, stream_id: int) -> None:
        """A channel has this id on the connection of today."""
        if stream_id < MAX_COUNTED_STREAM:
            self._used_streams = max(self._used_streams, stream_id + 1)

    def forget(self, channel: DataChannel) -> None:
        """`channel` is closed."""
        self._ours.pop(channel, None)
        if channel in self._theirs:
            self._theirs.remove(channel)

    def attach(self, pc: RTCPeerConnection) -> None:
        """Take what the other side opens on this connection."""
        pc.on("datachannel", lambda raw: self._arrived(pc, raw))

    def create_on(self, pc: RTCPeerConnection) -> None:
        """Open on this connection what was opened here and is not open there."""
        for channel, created_on in list(self._ours.items()):
            if created_on is not pc:
                self._ours[channel] = pc
                channel.use(
                    pc.createDataChannel(
                        channel.label, ordered=channel.ordered, maxRetransmits=channel.max_retransmits
                    )
                )

    def number_on(self, pc: RTCPeerConnection) -> None:
        """See that channels opened on a new connection are new to the other side.

        A browser that restarts ICE keeps its channels, and takes no other under the id of one that it has.
        """
        number_streams_from(pc, self._used_streams)

    def missing_on(self, pc: RTCPeerConnection) -> bool:
        """Whether a description is needed before all that was opened here is open there."""
        is_negotiated = pc.sctp is not None and pc.sctp.mid is not None
        return any(created_on is not pc or not is_negotiated for created_on in self._ours.values())

    @property
    def wanted(self) -> bool:
        """Whether a connection is needed for a channel."""
        return bool(self._ours)

    def connected(self, pc: RTCPeerConnection) -> None:
        """A new connection works: what the other side does not bring back soon is closed."""
        if self._reopening is None and any(not channel.is_on(pc) for channel in self._theirs):
            loop = asyncio.get_running_loop()
            self._reopening = loop.call_later(REOPEN_S, self._close_what_is_gone)

    def close(self) -> None:
        """The peer has left."""
        self._closed = True
        self._stop_waiting()
        for channel in [*self._ours, *self._theirs]:
            channel.close()

    def _arrived(self, pc: RTCPeerConnection, raw: RTCDataChannel) -> None:
        known = next((c for c in self._theirs if c.label == raw.label and not c.is_on(pc)), None)
        if known is not None:
            known.use(raw)
        elif self._closed or len(raw.label) > MAX_LABEL_CHARS:
            self._refuse(raw, "label")
        elif len(self._ours) + len(self._theirs) >= MAX_CHANNELS:
            self._refuse(raw, "too many")
        else:
            limits: tuple[Any, Any] = (raw.maxRetransmits, raw.maxPacketLifeTime)
            channel = DataChannel(
                self,
                raw.label,
                ordered=raw.ordered,
                max_retransmits=raw.maxRetransmits,
                lossy=limits != (None, None),
            )
            self._theirs.append(channel)
            channel.use(raw)
            self._opened(channel)

    def _refuse(self, raw: RTCDataChannel, why: str) -> None:
        REFUSED.labels(why).inc()
        raw.close()

    def _close_what_is_gone(self) -> None:
        self._stop_waiting()
        for channel in [channel for channel in self._theirs if channel.state == "connecting"]:
            channel.close()

    def _stop_waiting(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None


def message_bytes(message: Message) -> int:
    """How many bytes a message is on the wire."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
