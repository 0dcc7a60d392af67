"""The ends of a call, ours and the vendor's, as one thing: each says a tone and knows what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import metered_realtime as vendor
import numpy as np
from aioice.ice import StunProtocol
from aiortc import MediaStreamTrack
from metered_realtime.media_io import AudioSource as VendorSource

from agent.realtime import DataReceived, StateChanged, TrackAdded, iter_speech
from tests.agent.realtime.peer_parts import (
    EAR_BLOCKS,
    Participant,
    participant,
    pitch_hz,
    same_pitch,
    token_provider,
    tone,
)
from tests.conftest import RunningHub

#: Without any servers the vendor's client asks a public one; aiortc has no use for this one and asks nobody.
NO_SERVER = {"iceServers": [{"urls": "stuns:localhost"}]}


class Side(Protocol):
    """One end of a call. `peer_id` is as the room knows it."""

    peer_id: str
    #: The tone it says; None if it only listens.
    says_hz: float | None

    async def hears(self, other: Side) -> None:
        """Wait until the tone of `other` arrives from now on."""

    async def misses(self, peer_id: str) -> None:
        """Wait until this peer is known to have left."""

    async def send(self, data: Any) -> None: ...

    async def send_to(self, peer_id: str, data: Any) -> None: ...

    async def got(self, kind: str, data: Any, sender: Side) -> None:
        """Wait until this message has come; `kind` is broadcast or direct."""

    async def break_media(self, other: Side) -> None:
        """Lose the path to `other`, as this end would notice it."""

    async def forget(self) -> None:
        """What `back_with` waits for has to happen from now on."""

    async def back_with(self, other: Side) -> None:
        """Wait until this end, having lost something since `forget`, is connected to `other` again."""


#: ``open_side(hub, peer_id, says_hz, url=..., **claims)``
OpenSide: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


def _cut(protocol: StunProtocol) -> None:
    """Let no datagram in or out of a socket."""

    async def send_data(*_: object) -> None:
        pass

    protocol.send_data = send_data
    protocol.send_stun = protocol.datagram_received = lambda *_: None


@dataclass
class Ours:
    """Our `Peer`."""

    inner: Participant
    says_hz: float | None

    @property
    def peer_id(self) -> str:
        assert self.inner.peer.peer_id is not None
        return self.inner.peer.peer_id

    def tracks(self) -> list[tuple[str, str | None, Any]]:
        """Of every track so far: who sent it, its stream id, its metadata."""
        added = (event for event in self.inner.seen if isinstance(event, TrackAdded))
        return [(event.remote.id, event.stream_id, event.metadata) for event in added]

    async def hears(self, other: Side) -> None:
        pitches = self.inner.pitches
        for key in [key for key in pitches if key[0] == other.peer_id]:
            del pitches[key]

        def heard() -> bool:
            return any(
                same_pitch(pitch, other.says_hz)
                for (remote, _), stream in list(pitches.items())
                if remote == other.peer_id
                for pitch in stream
            )

        await self.inner.until(heard)

    async def misses(self, peer_id: str) -> None:
        await self.inner.until(lambda: peer_id not in self.inner.peer.remote_peers)

    async def send(self, data: Any) -> None:
        await self.inner.peer.send(data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        await self.inner.peer.send_to(peer_id, data)

    async def got(self, kind: str, data: Any, sender: Side) -> None:
        await self.inner.event(DataReceived, kind=kind, data=data, sender_id=sender.peer_id)

    async def break_media(self, other: Side) -> None:
        path = self.inner.peer.remote_peers[other.peer_id]._connections.current._path
        for connection in path._arrivals._connections:
            for protocol in connection._protocols:
                _cut(protocol)
        await self.inner.event(StateChanged, remote=other.peer_id, state="reconnecting")

    async def forget(self) -> None:
        self.inner.seen.clear()

    async def back_with(self, other: Side) -> None:
        def is_back() -> bool:
            lost = any(isinstance(e, StateChanged) and e.state == "reconnecting" for e in self.inner.seen)
            remote = self.inner.peer.remote_peers.get(other.peer_id)
            return (
                lost
                and self.inner.peer.state == "joined"
                and remote is not None
                and remote.state == "connected"
            )

        await self.inner.until(is_back)


@asynccontextmanager
async def ours(
    hub: RunningHub, peer_id: str | None, says_hz: float | None = None, **more: Any
) -> AsyncIterator[Ours]:
    async with participant(hub, peer_id, says_hz=says_hz, sends=says_hz is not None, **more) as someone:
        yield Ours(someone, says_hz)


class VendorPython:
    """The vendor's Python peer; what it hears is judged with our ears."""

    def __init__(self, peer: vendor.MeteredPeer, source: VendorSource, says_hz: float | None) -> None:
        self.peer = peer
        self.source = source
        self.says_hz = says_hz
        #: Of every track so far: who sent it, its stream ids, its metadata.
        self.tracks: list[tuple[str, list[str], Any]] = []
        self.data: list[vendor.Data] = []
        #: State changes of remote peers.
        self.states: list[tuple[str, str]] = []
        self.channels: list[Any] = []
        self.messages: list[Any] = []
        self._pitches: dict[str, list[float | None]] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        peer.on(vendor.PeerJoined, self._joined)
        peer.on(vendor.PeerLeft, lambda _: self._changed.set())
        peer.on(vendor.Data, self._received)

    @property
    def peer_id(self) -> str:
        assert self.peer.peer_id is not None
        return self.peer.peer_id

    def remote(self, peer_id: str) -> vendor.RemotePeer:
        return next(remote for remote in self.peer.remote_peers if remote.id == peer_id)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def hears(self, other: Side) -> None:
        self._pitches.pop(other.peer_id, None)
        await self.until(
            lambda: any(same_pitch(p, other.says_hz) for p in self._pitches.get(other.peer_id, ()))
        )

    async def misses(self, peer_id: str) -> None:
        await self.until(lambda: all(remote.id != peer_id for remote in self.peer.remote_peers))

    async def send(self, data: Any) -> None:
        await self.peer.send(data)

    async def send_to(self, peer_id: str, data: Any) -> None:
        await self.peer.send_to(peer_id, data)

    async def got(self, kind: str, data: Any, sender: Side) -> None:
        wanted = (kind, data, sender.peer_id)
        await self.until(lambda: any((e.kind, e.data, e.sender_peer_id) == wanted for e in self.data))

    async def break_media(self, other: Side) -> None:
        # What aiortc says of a dead path after half a minute.
        pc = self.remote(other.peer_id).pc
        pc._RTCPeerConnection__connectionState = "failed"
        pc.emit("connectionstatechange")

    async def forget(self) -> None:
        self.states.clear()

    async def back_with(self, other: Side) -> None:
        await self.until(lambda: (other.peer_id, "connected") in self.states)

    def speak(self) -> None:
        self._spawn(self._speak())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def keep(self, channel: Any) -> None:
        self.channels.append(channel)
        channel.on("message", self._message)
        self._changed.set()

    def _message(self, data: Any) -> None:
        self.messages.append(data)
        self._changed.set()

    def _joined(self, event: vendor.PeerJoined) -> None:
        remote = event.peer
        remote.on(vendor.Track, lambda track: self._track(remote.id, track))
        remote.on(vendor.DataChannelOpened, lambda opened: self.keep(opened.channel))
        remote.on(vendor.StateChange, lambda change: self._state(remote.id, change.to))

    def _state(self, peer_id: str, state: str) -> None:
        self.states.append((peer_id, state))
        self._changed.set()

    def _received(self, event: vendor.Data) -> None:
        self.data.append(event)
        self._changed.set()

    def _track(self, peer_id: str, event: vendor.Track) -> None:
        self.tracks.append((peer_id, [stream.id for stream in event.streams], event.metadata))
        self._changed.set()
        self._spawn(self._listen(peer_id, event.track))

    async def _listen(self, peer_id: str, track: MediaStreamTrack) -> None:
        window: list[np.ndarray] = []
        async for block in iter_speech(track):
            window.append(block)
            if len(window) == EAR_BLOCKS:
                self._pitches.setdefault(peer_id, []).append(pitch_hz(np.concatenate(window)))
                window.clear()
                self._changed.set()

    async def _speak(self) -> None:
        assert self.says_hz is not None
        while True:
            await self.source.push(tone(self.says_hz).samples.tobytes())

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.add(asyncio.ensure_future(work))


@asynccontextmanager
async def vendor_python(
    hub: RunningHub,
    peer_id: str | None,
    says_hz: float | None = None,
    *,
    room: str = "room",
    url: str | None = None,
    **claims: Any,
) -> AsyncIterator[VendorPython]:
    source = VendorSource(input_rate=16_000, max_buffered_seconds=0.5)
    credential = (
        {"token_provider": token_provider(hub, peer_id, metadata=NO_SERVER, **claims)}
        if peer_id
        else {"api_key": hub.key}
    )
    prompt = vendor.ReconnectOptions(initial_delay=0.05, multiplier=1.0, jitter_ratio=0.0)
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(
            vendor.MeteredPeer(url=url or hub.url, reconnect=prompt, **credential)
        )
        side = VendorPython(peer, source, says_hz)
        stack.push_async_callback(side.close)
        if says_hz is not None:
            peer.add_track(source, vendor.MediaStream(id="vendor-voice"), metadata={"role": "caller"})
            side.speak()
        await peer.join(room)
        yield side
