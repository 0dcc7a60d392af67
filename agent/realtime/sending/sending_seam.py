"""Every reach into the private parts of aiortc's senders of sound; the others are in `aiortc_seam`.

Checked with aiortc 1.16; tests/agent/realtime/sending/test_sending_seam.py guards it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import av
import numpy as np
from aiortc import rtp
from aiortc.mediastreams import MediaStreamError
from prometheus_client import Counter, Histogram

from agent.realtime.opus import CLOCK_HZ, FRAME_SAMPLES
from agent.realtime.sending.encoding import (
    PAUSE_WITHOUT_BODY,
    SIGN_OF_LIFE_FRAMES,
    Sound,
    SoundStream,
    Wishes,
    level_dbov,
)
from agent.realtime.sending.relay import Shaper
from agent.realtime.sending.reported_loss import ReportedLoss
from agent.realtime.sending.tracks import OutgoingTrack

logger = logging.getLogger(__name__)

PACKETS = Counter(
    "voice_agent_sent_audio_packets_total",
    "Packets of sound: sound, silence, or left_out because the receiver wants none while there is silence",
    ["kind"],
)
BYTES = Counter(
    "voice_agent_sent_audio_bytes_total", "What was in the packets of sound sent, without headers"
)
LOSS = Histogram(
    "voice_agent_sent_audio_loss_ratio",
    "How much of the sound sent was lost, by the reports of receivers",
    buckets=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
)
FAILURES = Counter(
    "voice_agent_sent_audio_failures_total", "Senders of sound that ended by an error instead of a goodbye"
)

_SOUND, _SILENCE, _LEFT_OUT = (PACKETS.labels(kind) for kind in ("sound", "silence", "left_out"))

_HEADER = struct.Struct("!BBHLL")
#: Seconds from the epoch of NTP to that of Unix.
_NTP_EPOCH_S = 2_208_988_800


class Mouth:
    """Takes the place of the encoder and the loop of a sender of sound.

    aiortc encodes as stereo at 96 kbit/s whatever the receiver says it wants, tells nothing of lost packets,
    encodes once for each receiver, and takes each 20 ms through a resampler, two tasks and a thread. Here
    they go out at the moment the clock of their source hands them on, all in one go. What aiortc keeps:
    encryption, the path, sender reports, the other codecs.
    """

    def __init__(self, sender: Any) -> None:
        """`sender` is an `RTCRtpSender` whose track is an `OutgoingTrack`, and which has not started yet."""
        #: As the receiver's last description has them.
        self.wishes = Wishes()
        self._sender = sender
        self._loss = ReportedLoss()
        self._timeline = _Timeline()
        #: What a header says beside the numbers of its packet, by the level it tells.
        self._headers: dict[int, tuple[int, bytes]] = {}
        #: Opus as it was agreed on; None before the sender starts, and if it is another codec.
        self._codec: Any = None
        # In the lower half, as aiortc does: decryption copes with an overflow only if nothing is lost.
        self._sequence = random.randrange(1 << 15)
        self._origin = random.randrange(1 << 32)
        #: How long nothing but silence has been there, and whether time was left out since the last sound.
        self._pause_frames = 0
        self._is_gap = True
        self._aiortc_run: Callable[..., Coroutine[Any, Any, None]] = self._sender._run_rtp
        self._aiortc_rtcp: Callable[[Any], Coroutine[Any, Any, None]] = self._sender._handle_rtcp_packet
        self._sender._run_rtp = self._run
        self._sender._handle_rtcp_packet = self._reported

    @property
    def can_go_on(self) -> bool:
        """Whether what has ended can begin again. aiortc's own loop would do so with other numbers, at which
        receivers hear nothing for minutes.
        """
        return self._codec is not None

    def go_on(self) -> None:
        """Begin again if an error has ended it; the sender has another track by now."""
        sender = self._sender
        if sender._RTCRtpSender__rtp_exited.is_set():
            sender._RTCRtpSender__rtp_exited.clear()
            sender._RTCRtpSender__rtp_task = asyncio.ensure_future(self._run(self._codec))

    async def _run(self, codec: Any) -> None:
        sender = self._sender
        track: OutgoingTrack = sender.track
        if codec.mimeType.lower() != "audio/opus":
            sender._RTCRtpSender__loop = _AtOnce()
            await self._aiortc_run(codec)
            return
        self._codec = codec
        sender._RTCRtpSender__rtp_started.set()
        try:
            track.feed(self._say)
            stream, shape = SoundStream(), Shaper()
            while True:
                for frame in shape(await track.recv()):
                    self._say(stream.sound(frame.to_ndarray()[0], frame.pts or 0))
        except (asyncio.CancelledError, MediaStreamError):
            pass
        except Exception:
            # Tracks may be the application's, and so is what they raise.
            FAILURES.inc()
            logger.exception("a connection can send no more of a track")
        finally:
            track.feed(None)
            track.stop()
            if sender.track is track:
                sender._RTCRtpSender__track = None
            # Whoever stops the sender waits for it.
            sender._RTCRtpSender__rtp_exited.set()

    def _say(self, sound: Sound) -> bool:
        """Whether it went out, or would have if it were not silent. An error ends this sender, not others."""
        try:
            return self._sender._enabled and self._send(sound)
        except ConnectionError:
            pass
        except Exception:
            FAILURES.inc()
            logger.exception("a connection can send no more sound")
        self._sender._RTCRtpSender__rtp_task.cancel()
        return False

    def _send(self, sound: Sound) -> bool:
        packet = sound.packet(self.wishes, self._loss.percent)
        at, is_next = self._timeline.place(sound)
        self._is_gap |= not is_next
        self._pause_frames = self._pause_frames + 1 if packet.is_pause else 0
        payload = packet.payload
        if packet.is_pause and self.wishes.dtx:
            if self._pause_frames % SIGN_OF_LIFE_FRAMES != 1:
                self._is_gap = True
                _LEFT_OUT.inc()
                return True
            payload = PAUSE_WITHOUT_BODY
        self._send_packet(payload, at, sound.level, is_start=self._is_gap and not packet.is_pause)
        self._is_gap &= packet.is_pause
        (_SILENCE if sound.is_silent else _SOUND).inc()
        BYTES.inc(len(payload))
        return True

    def _send_packet(self, payload: bytes, at: int, level: int, *, is_start: bool) -> None:
        sender = self._sender
        first, extensions = self._headers.get(level) or self._header(level)
        timestamp = (self._origin + at) & 0xFFFFFFFF
        head = _HEADER.pack(
            first, is_start << 7 | self._codec.payloadType, self._sequence, timestamp, sender._ssrc
        )
        _in_one_go(sender.transport._send_rtp(head + extensions + payload))
        self._sequence = (self._sequence + 1) & 0xFFFF
        # What its reports say.
        sender._RTCRtpSender__ntp_timestamp = int((time.time() + _NTP_EPOCH_S) * (1 << 32))
        sender._RTCRtpSender__rtp_timestamp = timestamp
        sender._RTCRtpSender__octet_count += len(payload)
        sender._RTCRtpSender__packet_count += 1

    def _header(self, level: int) -> tuple[int, bytes]:
        """The first byte and the extensions of packets of such a level, as aiortc would write them."""
        packet = rtp.RtpPacket()
        packet.extensions.mid = self._sender._RTCRtpSender__mid
        packet.extensions.audio_level = (False, level)
        data = packet.serialize(self._sender._RTCRtpSender__rtp_header_extensions_map)
        self._headers[level] = header = (data[0], data[_HEADER.size :])
        return header

    async def _reported(self, packet: Any) -> None:
        if isinstance(packet, rtp.RtcpRrPacket | rtp.RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == self._sender._ssrc:
                    self._loss.report(report.fraction_lost)
                    LOSS.observe(report.fraction_lost / 256)
        await self._aiortc_rtcp(packet)


class _Timeline:
    """Lets the sound of one stream after another appear as one, with the pauses there were."""

    def __init__(self) -> None:
        self._stream: SoundStream | None = None
        self._start = self._shift = self._end = 0

    def place(self, sound: Sound) -> tuple[int, bool]:
        """Where it is, in samples since the first one; and whether it follows on what was before."""
        if sound.stream is not self._stream:
            now = int(time.monotonic() * CLOCK_HZ)
            if self._stream is None:
                self._start = now
            self._shift = max(now - self._start, self._end) - sound.at
            self._stream = sound.stream
        at = sound.at + self._shift
        is_next = at == self._end
        self._end = at + FRAME_SAMPLES
        return at, is_next


class _AtOnce:
    """The one method of an event loop that a sender calls: it encodes where the sound is fetched.

    aiortc hands every frame to a thread and waits for it, which costs more than the work; and where all
    threads of the default executor are busy with something else, the voice falters.
    """

    def run_in_executor(self, _executor: None, work: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        async def done() -> Any:
            # Between two frames others have their turn, and the sender can be cancelled.
            await asyncio.sleep(0)
            return work(*args)

        return done()


def use_fast_audio_level() -> None:
    """Replace the loudness that goes with every packet of the other codecs by one that numpy computes.

    aiortc's is a Python loop over all samples, and was the largest single cost of a call.
    """
    rtp.compute_audio_level_dbov = audio_level_dbov


def audio_level_dbov(frame: av.AudioFrame) -> int:
    """Loudness of the first plane of an s16 frame; see `level_dbov`."""
    return level_dbov(np.frombuffer(memoryview(frame.planes[0]), np.int16))


def _in_one_go(sending: Coroutine[Any, Any, None]) -> None:
    """Run what is a coroutine but waits for nothing: sockets take a datagram or lose it."""
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
    raise RuntimeError("aiortc waited for something while it sent a packet")
