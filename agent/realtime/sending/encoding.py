"""From the sound that is sent to packets: encoded once for all receivers that want it alike.

Silence is encoded until nothing of the sound before is left in the codec, and from then on three bytes stand
for each 20 ms of it, always the same. They go out at the usual pace, because most receivers need that: one on
aiortc holds the last four packets of a sentence back until others follow, and a recogniser notices by what
arrives that the speaker has stopped, not by what does not. Only to a receiver that asks for it (``usedtx=1``,
RFC 7587) is silence not sent, but for a sign of life every `SIGN_OF_LIFE_FRAMES`. For the same reasons our
own descriptions do not ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from aiortc import MediaStreamTrack
from prometheus_client import Counter

from agent.realtime.opus import CLOCK_HZ, FRAME_SAMPLES, OpusEncoder, Pcm16

ENCODED = Counter(
    "voice_agent_encoded_frames_total",
    "20 ms of sound encoded, for any number of receivers that want it alike",
)

#: What is sent to a receiver that asks for nothing. At so much libopus has bits to spare for telling of lost
#: packets from 2 % loss on, at 32 kbit/s only from 10 % on; see also `opus.COMPLEXITY`.
DEFAULT_BIT_RATE = 40_000
#: The least Opus has, and beyond what speech in mono gains nothing more.
MIN_BIT_RATE, MAX_BIT_RATE = 6_000, 64_000
#: Rates are multiples of it, so that no stranger has us keep one encoder for each rate there is.
BIT_RATE_STEP = 4_000

#: Of silence that is really encoded, so that the last sound dies away as it should.
SETTLING_FRAMES = 5
#: As libopus itself does it.
SIGN_OF_LIFE_FRAMES = 20
#: An encoder that was not needed for so long is dropped when another one is made.
IDLE_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a receiver wants its sound. Never stereo: a voice has one channel, and so has everything here."""

    bit_rate: int = DEFAULT_BIT_RATE
    #: Whether it makes use of what a packet tells of a lost one before it.
    fec: bool = False
    #: Whether it wants no packets while there is silence.
    dtx: bool = False

    @classmethod
    def of(cls, fmtp: Mapping[str, str]) -> Wishes:
        """From its description's format parameters (RFC 7587, section 7). What makes no sense is ignored.

        So are bit rates below the least there is, 6 kbit/s; those beyond the most are taken for the most.
        """
        asked = fmtp.get("maxaveragebitrate", "")
        bit_rate = DEFAULT_BIT_RATE
        if asked.isascii() and asked.isdigit() and int(asked[:9]) >= MIN_BIT_RATE:
            steps = min(int(asked[:9]), MAX_BIT_RATE) // BIT_RATE_STEP
            bit_rate = max(MIN_BIT_RATE, steps * BIT_RATE_STEP)
        return cls(bit_rate, fec=fmtp.get("useinbandfec") == "1", dtx=fmtp.get("usedtx") == "1")

    @property
    def encoding(self) -> tuple[int, bool]:
        """What the encoder has to know: bit rate and FEC. Silence is left out only after it."""
        return self.bit_rate, self.fec


@dataclass(frozen=True, slots=True)
class Packet:
    payload: bytes
    is_pause: bool = False


#: 20 ms of lasting silence: in mono, by the part of Opus that has a flag for it (RFC 6716, section 4.3). What
#: speech is encoded by spends ten times as much on it.
PAUSE = Packet(b"\xf8\xff\xfe", is_pause=True)
#: The same without a body: nothing is to be heard until something else comes.
PAUSE_WITHOUT_BODY = PAUSE.payload[:1]


class SoundStream:
    """One stream of sound that is sent to any number of receivers, 20 ms after 20 ms."""

    def __init__(self) -> None:
        #: The rate of what comes next before it became 48 kHz. Speech that was made at 16 kHz takes a fifth
        #: less work if that is known, and comes out closer to the original.
        self.content_rate_hz = CLOCK_HZ
        self._encoders: dict[tuple[int, bool], _Encoder] = {}

    def sound(self, samples: Pcm16, at: int) -> Sound:
        """The next 20 ms: mono at 48 kHz. `at` is their place in time, in samples."""
        return Sound(self, samples, at)

    def encoder(self, wishes: Wishes, at: int) -> _Encoder:
        encoder = self._encoders.get(wishes.encoding)
        if encoder is None:
            idle_before = at - IDLE_FRAMES * FRAME_SAMPLES
            self._encoders = {w: e for w, e in self._encoders.items() if e.used_at >= idle_before}
            encoder = self._encoders[wishes.encoding] = _Encoder(wishes)
        return encoder


class Sound:
    """20 ms on their way to any number of receivers, which ask for a packet in the order of the sounds."""

    __slots__ = ("_level", "_packets", "at", "is_silent", "samples", "stream")

    def __init__(self, stream: SoundStream, samples: Pcm16, at: int) -> None:
        self.stream = stream
        self.samples = samples
        self.at = at
        # A quarter of the time that `any` takes.
        self.is_silent = not np.count_nonzero(samples)
        self._level: int | None = None
        self._packets: dict[tuple[int, bool], Packet] = {}

    @property
    def level(self) -> int:
        """As RFC 6464 carries it: how many dB below full scale, 127 for silence."""
        if self._level is None:
            self._level = 127 if self.is_silent else -level_dbov(self.samples)
        return self._level

    def packet(self, wishes: Wishes, loss_percent: int) -> Packet:
        """Encoded as wished for a receiver that loses so many packets; the one that loses most decides."""
        encoder = self.stream.encoder(wishes, self.at)
        encoder.lossy(loss_percent)
        packet = self._packets.get(wishes.encoding)
        if packet is None:
            packet = self._packets[wishes.encoding] = encoder.encode(self)
        return packet


class _Encoder:
    def __init__(self, wishes: Wishes) -> None:
        self.used_at = 0
        self._opus = OpusEncoder(wishes.bit_rate, fec=wishes.fec)
        self._loss_percent = 0
        self._silent_frames = SETTLING_FRAMES

    def lossy(self, percent: int) -> None:
        """What one of the receivers loses; the most of all counts from the next sound on."""
        self._loss_percent = max(self._loss_percent, percent)

    def encode(self, sound: Sound) -> Packet:
        self.used_at = sound.at
        if sound.is_silent:
            self._silent_frames += 1
            if self._silent_frames > SETTLING_FRAMES:
                return PAUSE
        else:
            self._silent_frames = 0
        self._opus.loss_percent, self._loss_percent = self._loss_percent, 0
        self._opus.content_rate_hz = sound.stream.content_rate_hz
        ENCODED.inc()
        return Packet(self._opus.encode(sound.samples))


#: Takes the next sound; says whether it went out to somebody.
Sink: TypeAlias = Callable[[Sound], bool]


class FedTrack(MediaStreamTrack):
    """A track that can hand its sound on by itself, at the moment there is some, instead of being read."""

    sink: Sink | None = None

    def feed(self, sink: Sink | None) -> None:
        """From now on everything goes to `sink`; None for no longer. Nobody may read the track meanwhile."""
        self.sink = sink


def level_dbov(samples: Pcm16) -> int:
    """Loudness in dB relative to full scale, from -127, which is silence, to 0."""
    if not len(samples):
        return -127
    exact = samples.astype(np.float64)
    rms = math.sqrt(float(np.dot(exact, exact)) / len(samples)) / 32767.0
    return round(min(0.0, max(-127.0, 20.0 * math.log10(rms)))) if rms > 0 else -127
