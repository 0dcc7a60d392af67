"""A peer that acts as a person: calls an agent, plays what it has to say in real time, and listens.

What it measures it measures on the sound it receives, on one clock, not on what the agent says about itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from agent.call_log import CallLog, Line, TurnLatency
from agent.client import ServiceClient
from agent.realtime import (
    AudioSource,
    DataReceived,
    FatalError,
    Peer,
    PeerLeft,
    SignallingError,
    TrackAdded,
)
from agent.recording import RATE_HZ, Int16, Recording, Sound, find_speech, is_sound
from agent.worker import VOICE_STREAM_ID
from pipelines.audio import Pcm

CALLER_STREAM_ID = "caller-voice"
#: Silence sent before anything is said, as a person needs to draw breath; recognisers want some, too.
LEAD_IN_MS = 300
#: A reply is over when nothing was heard for so long after it was announced as final.
QUIET_MS = 500.0

News: TypeAlias = Line | TurnLatency | str


class CallFailedError(Exception):
    """The call broke down or never came to be; the message says why."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Something the caller played. Times are in milliseconds on the caller's clock."""

    name: str
    began_ms: float
    over_ms: float
    #: When the first word in it began and the last one ended; None in both: it was only silence.
    start_ms: float | None
    end_ms: float | None

    @property
    def said_by_ms(self) -> float:
        """When the agent may begin to answer."""
        return self.over_ms if self.end_ms is None else self.end_ms


class Caller:
    """`async with Caller(service, room) as caller`: in the room from the beginning to the end of the block.

    `agent_peer_id` is the agent's id in the room where it is known; else the first peer with an agent's voice
    is taken for it. `on_news` is called with each caption, latency and problem as it comes, and must not
    block. Everything raises `CallFailedError` once the call has broken down; `ServiceError` when no access is
    given.
    """

    def __init__(
        self,
        service: ServiceClient,
        room: str,
        *,
        name: str = "caller",
        agent_peer_id: str | None = None,
        on_news: Callable[[News], None] = lambda _: None,
    ) -> None:
        self.log = CallLog()
        self.recording = Recording()
        self.spoken: list[Spoken] = []
        self._service, self._room, self._name = service, room, name
        self._agent = agent_peer_id
        self._on_news = on_news
        self._source = AudioSource()
        self._peer: Peer | None = None
        self._tasks = asyncio.TaskGroup()
        self._own: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._failure: str | None = None
        self._listening: MediaStreamTrack | None = None
        self._frames = 0
        self._last_sound_ms = float("-inf")
        #: The first sound after the last thing said, and None until there is one.
        self._reply_since_ms: float | None = None

    async def __aenter__(self) -> Self:
        access = await self._service.access(self._room, self._name)

        async def provide() -> str:
            # The same token for a reconnect: another one would make another peer of us.
            assert access.token is not None
            return access.token

        try:
            self._peer = (
                Peer(access.url, key=access.key) if access.key else Peer(access.url, token_provider=provide)
            )
        except ValueError as error:
            raise CallFailedError(f"the service gave access that cannot be used: {error}") from None
        await self._peer.__aenter__()
        await self._tasks.__aenter__()
        try:
            self._source.start()
            self._peer.add_track(self._source, stream_id=CALLER_STREAM_ID)
            await self._peer.join(self._room)
        except SignallingError as error:
            await self.__aexit__(None, None, None)
            raise CallFailedError(f"the room cannot be joined: {error}") from None
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self._own.append(self._tasks.create_task(self._follow(self._peer), name="caller-events"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._peer is not None
        for task in self._own:
            task.cancel()
        # Task groups have to know of a cancellation, which may be their own doing; other errors pass by them.
        cancelled = isinstance(value, asyncio.CancelledError)
        told = (kind, value, trace) if cancelled else (None, None, None)
        try:
            await self._tasks.__aexit__(*told)
        finally:
            await self._source.close()
            await self._peer.__aexit__(*told)

    # ---- what a person does

    async def ready(self, timeout_s: float = 20.0) -> None:
        """Wait until the agent is there and its sound arrives."""
        if not await self._until(lambda: self._frames > 0, timeout_s):
            who = "the agent's sound did not arrive" if self._agent else "there is no agent in the room"
            raise CallFailedError(f"{who} within {timeout_s:g} s")

    async def say(self, name: str, samples: Int16) -> Spoken:
        """Play mono `samples` at 48 kHz in real time; returns when the last of them has been sent."""
        await self.pause(LEAD_IN_MS)
        self._reply_since_ms = None
        await self._source.push(Pcm(samples, RATE_HZ))
        await self._source.flush()
        await self._source.drained()
        # The last frame has just been handed out; what is in it sounds from now on.
        began_ms = _now_ms() - 1000.0 * (len(samples) - 1) / RATE_HZ
        speech = find_speech(samples)
        spoken = Spoken(
            name,
            began_ms,
            _now_ms(),
            began_ms + speech.start_ms if speech else None,
            began_ms + speech.end_ms if speech else None,
        )
        self.spoken.append(spoken)
        return spoken

    async def pause(self, pause_ms: float) -> None:
        """Say nothing for a while."""
        deadline_ms = _now_ms() + pause_ms
        while (left_ms := deadline_ms - _now_ms()) > 0:
            # Woken early when the call breaks down.
            await self._until(lambda: False, left_ms / 1000)

    async def wait_for_reply(self, timeout_s: float = 30.0) -> bool:
        """Wait until the agent has answered what was said last (or greeted), and has finished."""
        since_ms = self.spoken[-1].said_by_ms if self.spoken else float("-inf")

        def is_over() -> bool:
            answered = bool(self.log.said("agent", after_ms=since_ms))
            return answered and _now_ms() - self._last_sound_ms >= QUIET_MS

        return await self._until(is_over, timeout_s)

    async def wait_for_sound(self, sound_ms: float, timeout_s: float = 30.0) -> bool:
        """Wait until `sound_ms` of the answer to what was said last have been heard."""

        def is_heard() -> bool:
            return self._reply_since_ms is not None and _now_ms() - self._reply_since_ms >= sound_ms

        return await self._until(is_heard, timeout_s)

    async def wait_for_quiet(self, quiet_ms: float, timeout_s: float = 30.0) -> bool:
        """Wait until nothing was heard for `quiet_ms`."""
        began_ms = _now_ms()
        return await self._until(
            lambda: _now_ms() - max(began_ms, self._last_sound_ms) >= quiet_ms, timeout_s
        )

    def heard(self) -> list[Sound]:
        """What was heard of the agent so far, on the clock that `spoken` is on."""
        return self.recording.sounds()

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Frames and messages wake us, so a condition may look at the clock while the agent is there."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self._failure is not None:
                        raise CallFailedError(self._failure)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # ---- what happens

    async def _follow(self, peer: Peer) -> None:
        async for event in peer.events():
            match event:
                case TrackAdded(remote, track, stream_id) if stream_id == VOICE_STREAM_ID:
                    if self._agent in (None, remote.id):
                        self._agent = remote.id
                        self._listening = track
                        self._own.append(self._tasks.create_task(self._listen(track), name="caller-ears"))
                case PeerLeft(remote) if remote.id == self._agent:
                    self._fail("the agent left")
                case DataReceived(sender_id, data) if sender_id == self._agent:
                    news = self.log.take(data, own_id=peer.peer_id, now_ms=_now_ms())
                    if news is not None:
                        self._on_news(news)
                case FatalError(code, message):
                    self._fail(f"the room was lost: {message} ({code})")
                case _:
                    pass
            self._changed.set()

    async def _listen(self, track: MediaStreamTrack) -> None:
        self.recording.begin()
        while self._listening is track:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.AudioFrame):
                self._hear(frame)

    def _hear(self, frame: av.AudioFrame) -> None:
        now_ms = _now_ms()
        channels = len(frame.layout.channels)
        mixed = frame.to_ndarray().reshape(-1, channels).mean(axis=1).astype(np.int16)
        self.recording.add(mixed, 1000.0 * (frame.pts or 0) / frame.sample_rate, now_ms)
        self._frames += 1
        if is_sound(mixed):
            self._last_sound_ms = now_ms
            said_by_ms = self.spoken[-1].said_by_ms if self.spoken else float("-inf")
            if self._reply_since_ms is None and now_ms > said_by_ms and not self._source.queued_ms:
                self._reply_since_ms = now_ms
        self._changed.set()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason


def _now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000
