"""Participants of a real room, for tests: they speak a tone and say what tone they hear."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import numpy as np

from agent.realtime import (
    AudioSource,
    Backoff,
    Peer,
    PeerEvent,
    StateChanged,
    TrackAdded,
    iter_speech,
    mint_token,
)
from pipelines.audio import Pcm, level_dbfs
from tests.conftest import RunningHub

RATE_HZ = 16_000
#: How much is listened to before saying which tone it is.
EAR_BLOCKS = 8
SILENCE_DBFS = -60.0

#: Tests wait for no one.
PROMPT = Backoff(initial_s=0.05, multiplier=1.0, jitter_ratio=0.0)


def tone(hz: float, duration_ms: int = 200) -> Pcm:
    """Whole periods of a sine, for frequencies that are multiples of 5 Hz."""
    times_s = np.arange(RATE_HZ * duration_ms // 1000) / RATE_HZ
    return Pcm((8000 * np.sin(2 * np.pi * hz * times_s)).astype(np.int16), RATE_HZ)


def pitch_hz(samples: np.ndarray, rate_hz: int = RATE_HZ) -> float | None:
    """The strongest frequency; None for silence."""
    if level_dbfs(samples) < SILENCE_DBFS:
        return None
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


def same_pitch(heard_hz: float | None, hz: float | None) -> bool:
    """Within the resolution of what an ear holds."""
    if heard_hz is None or hz is None:
        return heard_hz is hz
    return abs(heard_hz - hz) <= 1000 / (EAR_BLOCKS * 20) + 5


class Participant:
    """A peer with a voice and ears. `seen` is every event so far."""

    def __init__(self, peer: Peer, source: AudioSource) -> None:
        self.peer = peer
        self.source = source
        self.seen: list[PeerEvent] = []
        #: All that was heard of each remote stream since the last `forget`, as pitches of 160 ms.
        self.pitches: dict[tuple[str, str | None], list[float | None]] = {}
        self._ears: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._speaking: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Drop what was seen and heard so far, and whoever it was of."""
        self.seen.clear()
        self.pitches.clear()
        self._ears = [ear for ear in self._ears if not ear.done()]

    def speak(self, hz: float) -> None:
        """Say a tone until told otherwise."""
        self.hush()
        self._speaking = asyncio.create_task(speak(self.source, tone(hz)))

    def hush(self) -> None:
        """Fall silent at once."""
        if self._speaking is not None:
            self._speaking.cancel()
            self._speaking = None
        self.source.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that happens here makes `condition` true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def event(self, kind: type[Any], /, **fields: Any) -> Any:
        """Wait until such an event has been seen, and return the first. ``remote`` is given by id."""

        def matches(event: PeerEvent) -> bool:
            if not isinstance(event, kind):
                return False
            return all(_plain(getattr(event, name)) == value for name, value in fields.items())

        await self.until(lambda: any(map(matches, self.seen)))
        return next(filter(matches, self.seen))

    async def hears(self, remote_id: str, hz: float | None, stream_id: str | None = None) -> None:
        """Wait until this pitch, or None for silence, comes from the remote peer's stream."""
        stream_id = stream_id or f"{remote_id}-voice"
        self.pitches.pop((remote_id, stream_id), None)

        def heard() -> bool:
            return any(same_pitch(pitch, hz) for pitch in self.pitches.get((remote_id, stream_id), ()))

        await self.until(heard)

    async def connected_to(self, remote_id: str) -> None:
        await self.event(StateChanged, remote=remote_id, state="connected")

    async def run(self) -> None:
        """Follow the peer's events until it has left."""
        try:
            async for event in self.peer.events():
                if isinstance(event, TrackAdded) and event.track.kind == "audio":
                    self._ears.append(asyncio.create_task(self._listen(event)))
                self.seen.append(event)
                self._changed.set()
            await asyncio.gather(*self._ears)
        finally:
            self.hush()
            for ear in self._ears:
                ear.cancel()
            await asyncio.gather(*self._ears, return_exceptions=True)

    async def _listen(self, added: TrackAdded) -> None:
        window: deque[np.ndarray] = deque(maxlen=EAR_BLOCKS)
        async for block in iter_speech(added.track):
            window.append(block)
            if len(window) == EAR_BLOCKS:
                pitch = pitch_hz(np.concatenate(window))
                self.pitches.setdefault((added.remote.id, added.stream_id), []).append(pitch)
                window.clear()
                self._changed.set()


async def speak(source: AudioSource, pcm: Pcm) -> None:
    """Say it over and over, until cancelled."""
    while True:
        await source.push(pcm)


def _plain(value: Any) -> Any:
    return getattr(value, "id", value)


def token_provider(hub: RunningHub, peer_id: str, **claims: Any) -> Callable[[], Any]:
    async def provide() -> str:
        return mint_token(hub.key_id, hub.secret, peer_id=peer_id, channels=["**"], **claims)[0]

    return provide


@asynccontextmanager
async def participant(
    hub: RunningHub,
    peer_id: str | None,
    *,
    room: str = "room",
    says_hz: float | None = None,
    url: str | None = None,
    sends: bool = True,
    receive_video: bool = False,
    ice: Mapping[str, Any] | None = None,
    **claims: Any,
) -> AsyncIterator[Participant]:
    """Somebody in `room`, named by a token, or with a publishable key when `peer_id` is None.

    `ice` is what else to tell the peer about its way to the others.
    """
    credential = {"token_provider": token_provider(hub, peer_id, **claims)} if peer_id else {"key": hub.key}
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(AudioSource())
        peer = await stack.enter_async_context(
            Peer(
                url or hub.url,
                reconnect=PROMPT,
                receive_video=receive_video,
                **credential,
                **(ice or {}),
            )
        )
        someone = Participant(peer, source)
        if sends:
            peer.add_track(source, stream_id=f"{peer_id}-voice", metadata={"role": "test"})
        following = asyncio.create_task(someone.run())
        try:
            if says_hz is not None:
                someone.speak(says_hz)
            await peer.join(room)
            yield someone
        finally:
            await peer.leave()
            await following


class Cable:
    """A TCP connection to the hub that can be pulled out."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._near: set[asyncio.StreamWriter] = set()
        self._stranded: set[asyncio.StreamWriter] = set()
        self._kept: list[asyncio.StreamReader] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._plugged = asyncio.Event()
        self._plugged.set()
        self.url = ""
        self.connections = 0

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.pull()
        self.plug()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def pull(self) -> None:
        """Break every connection without a word; new ones wait until `plug`."""
        self._plugged.clear()
        for writer in self._writers:
            writer.transport.abort()

    def plug(self) -> None:
        self._plugged.set()

    def lead_to(self, port: int) -> None:
        """New connections go to this port; those there are stay where they are."""
        self._target = port

    def strand(self) -> None:
        """Break the connections of the clients; the server is not told. New ones work."""
        for writer in self._near - self._stranded:
            self._stranded.add(writer)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._plugged.wait()
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self.connections += 1
            self._writers |= {writer, far_writer}
            self._near.add(writer)
            both = (self._pump(reader, far_writer, writer), self._pump(far_reader, writer, writer))
            tasks = {asyncio.create_task(pump) for pump in both}
            self._pumps |= tasks
            await asyncio.wait(tasks)
            if writer in self._stranded:
                # Streams close when they are forgotten.
                self._kept.append(far_reader)
            else:
                self._writers -= {writer, far_writer}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, near: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        if near not in self._stranded:
            writer.close()


async def both_hear(alice: Participant, bob: Participant) -> None:
    await alice.hears("bob", 1000)
    await bob.hears("alice", 440)
