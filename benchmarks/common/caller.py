"""A caller: one WebRTC connection to a system, on plain aiortc, the same for every system measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection
from aiortc.contrib.media import MediaBlackhole

from benchmarks.common.ears import Ears
from benchmarks.common.mouth import Mouth
from benchmarks.common.signalling import Signalling

CONNECT_TIMEOUT_S = 60.0
#: A system that has nothing to say may send nothing: the clock is looked at this often all the same.
_LOOK_EVERY_S = 0.02


class CallFailedError(Exception):
    """A system did not connect, or sent no sound."""


class Caller:
    """`async with Caller(signalling) as caller`: `caller.mouth` speaks, `caller.ears` hear.

    Times are in seconds of the monotonic clock. Messages that the system sends are kept in `messages`, with
    the time each of them came.
    """

    def __init__(self, signalling: Signalling) -> None:
        self.mouth = Mouth()
        self.ears = Ears()
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self._signalling = signalling
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._sink = MediaBlackhole()
        self._connected = asyncio.Event()
        self._reading: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        sender = self._pc.addTrack(self.mouth)
        self._pc.on("track", self._on_track)
        self._pc.on("connectionstatechange", self._on_state)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._signalling.connect(self._pc, self._on_message)
                await self._connected.wait()
        except TimeoutError:
            await self.close()
            raise CallFailedError(f"not connected within {CONNECT_TIMEOUT_S:g} s") from None
        except BaseException:
            await self.close()
            raise
        self.mouth.watch(sender)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._signalling.close()
        await self._pc.close()
        await self._sink.stop()

    async def first_sound_s(self, after_s: float, timeout_s: float) -> float | None:
        """When the first sound after `after_s` arrived; None: there is none `timeout_s` from now."""
        await self.until(lambda: self.ears.first_sound_s(after_s) is not None, timeout_s)
        return self.ears.first_sound_s(after_s)

    async def quiet(self, quiet_s: float, timeout_s: float) -> bool:
        """Wait until nothing was heard for so long; False when it took longer than `timeout_s`."""
        began_s = time.monotonic()

        def is_quiet() -> bool:
            return time.monotonic() - max(began_s, self.ears.last_sound_s() or began_s) >= quiet_s

        return await self.until(is_quiet, timeout_s)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for `condition`, which is looked at with every packet; False when it took longer."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline_s:
                return False
            await self.ears.packet(_LOOK_EVERY_S)
        return True

    def _on_state(self) -> None:
        if self._pc.connectionState == "connected":
            self._connected.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        receiver = next(t.receiver for t in self._pc.getTransceivers() if t.receiver.track is track)
        if track.kind == "audio":
            self.ears.listen_to(receiver)
        # Somebody has to read what is decoded, or it piles up.
        self._sink.addTrack(track)
        self._reading.append(asyncio.create_task(self._sink.start()))

    def _on_message(self, message: dict[str, Any]) -> None:
        self.messages.append((time.monotonic(), message))
