"""Packets of sound as they come in, through the jitter buffer, to the track they belong to."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiortc import RTCRtpCodecParameters
from prometheus_client import Counter

from agent.realtime.receiving.decoding import clock_hz, packet_ticks
from agent.realtime.receiving.jitter import Counts, JitterBuffer, Packet, Piece
from agent.realtime.receiving.received_audio import ReceivedAudio
from agent.realtime.receiving.rtp_header import Rtp

PACKETS = Counter(
    "voice_agent_received_audio_packets_total",
    "Packets of sound by what became of them: received in all, lost on the way, late, duplicate, refused",
    ["fate"],
)
HELD = Counter(
    "voice_agent_received_audio_held_seconds_total",
    "How long packets of sound, all together, were held back for missing ones before them",
)
SKIPPED = Counter(
    "voice_agent_received_audio_skipped_seconds_total",
    "Time of remote tracks left out because nothing came for longer than is filled up",
)

#: Metrics are brought up to date with the first packet after so long.
REPORT_MS = 1000.0


class AudioArrival:
    """Puts packets in order and in time for `track`, which may be replaced. Belongs to the running loop."""

    def __init__(self, track: ReceivedAudio) -> None:
        self.track = track
        self._counts = track.counts = Counts()
        self._reported = Counts()
        self._reported_ms = 0.0
        self._loop = asyncio.get_running_loop()
        self._codec: RTCRtpCodecParameters | None = None
        self._buffer: JitterBuffer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_ms: float | None = None

    def packet(self, packet: Rtp, codec: RTCRtpCodecParameters) -> None:
        """A packet is here."""
        now_ms = self._now_ms()
        buffer = self._buffer_for(codec)
        ticks = packet_ticks(codec, packet.payload)
        arrived = Packet(packet.ssrc, packet.sequence_number, packet.timestamp, ticks, packet.payload)
        self._give(buffer.put(arrived, now_ms))
        self._wake_later()
        if now_ms - self._reported_ms > REPORT_MS:
            self._reported_ms = now_ms
            self._report()

    def renew(self, track: ReceivedAudio) -> None:
        """What comes from now on belongs to `track`."""
        self._flush()
        self.track = track
        track.counts = self._counts

    def end(self) -> None:
        """Nothing comes any more. Idempotent."""
        self._flush()
        self._report()
        self.track.end()

    def _buffer_for(self, codec: RTCRtpCodecParameters) -> JitterBuffer:
        before = self._buffer
        if before is None or codec is not self._codec:
            self._flush()
            position = 0
            if before is not None:
                position = before.position * clock_hz(codec) // before.rate_hz
            self._buffer = JitterBuffer(clock_hz(codec), position=position, counts=self._counts)
            self._codec = codec
        assert self._buffer is not None
        return self._buffer

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._due_ms = None
        if self._buffer is not None:
            self._give(self._buffer.flush(self._now_ms()))

    def _give(self, pieces: list[Piece]) -> None:
        if pieces and self._codec is not None:
            self.track.take(pieces, self._codec)

    def _wake_later(self) -> None:
        due_ms = None if self._buffer is None else self._buffer.due_ms
        if due_ms == self._due_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_ms, self._timer = due_ms, None
        if due_ms is not None:
            self._timer = self._loop.call_at(due_ms / 1000, self._wake)

    def _wake(self) -> None:
        self._timer = self._due_ms = None
        if self._buffer is not None:
            self._give(self._buffer.poll(self._now_ms()))
            self._wake_later()

    def _report(self) -> None:
        now, before = self._counts, self._reported
        for fate in ("received", "lost", "late", "duplicate", "refused"):
            PACKETS.labels(fate).inc(getattr(now, fate) - getattr(before, fate))
        HELD.inc((now.held_ms - before.held_ms) / 1000)
        SKIPPED.inc((now.skipped_ms - before.skipped_ms) / 1000)
        self._reported = replace(now)

    def _now_ms(self) -> float:
        return self._loop.time() * 1000
