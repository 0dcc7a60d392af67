"""From the pieces of a received stream to samples: one decoder for each codec a call may have."""

from __future__ import annotations

from typing import Any, Protocol

import av
import numpy as np
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from numpy.typing import NDArray
from prometheus_client import Counter

from agent.realtime import opus
from agent.realtime.receiving.jitter import Lost, Piece, Silence, Sound

Pcm16 = NDArray[np.int16]

AUDIO_SECONDS = Counter(
    "voice_agent_received_audio_seconds_total",
    "Sound given to readers: sound as received; of lost packets, recovered (told by the packet after it) or "
    "concealed (made up); silence (nothing was sent)",
    ["kind"],
)
MALFORMED = Counter("voice_agent_received_audio_malformed_total", "Packets that could not be decoded")

_AS_RECEIVED, _RECOVERED, _CONCEALED, _SILENCE = (
    AUDIO_SECONDS.labels(kind) for kind in ("sound", "recovered", "concealed", "silence")
)


class PieceDecoder(Protocol):
    """Pieces of one stream, in their order, to mono int16; as many samples as the piece has time."""

    rate_hz: int

    def decode(self, piece: Piece) -> Pcm16: ...


def clock_hz(codec: RTCRtpCodecParameters) -> int:
    """The rate of the codec's time stamps."""
    return int(codec.clockRate)


def packet_ticks(codec: RTCRtpCodecParameters, payload: bytes) -> int:
    """How long a packet lasts in units of its time stamps; 0 if it is malformed."""
    # The telephone's codecs have one byte for each tick of 8 kHz; G.722, too, whose rate is twice its clock.
    return opus.packet_ticks(payload) if _is_opus(codec) else len(payload)


def make_decoder(codec: RTCRtpCodecParameters, rate_hz: int) -> PieceDecoder:
    """A decoder to `rate_hz`, which is one of `opus.RATES_HZ`."""
    return OpusPieces(rate_hz) if _is_opus(codec) else TelephonePieces(codec, rate_hz)


def _is_opus(codec: RTCRtpCodecParameters) -> bool:
    return str(codec.name).lower() == "opus"


class OpusPieces:
    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._decoder = opus.OpusDecoder(rate_hz)

    def decode(self, piece: Piece) -> Pcm16:
        seconds = piece.ticks / opus.CLOCK_HZ
        try:
            match piece:
                case Sound(_, _, payload):
                    _AS_RECEIVED.inc(seconds)
                    return self._decoder.decode(payload)
                case Lost(_, ticks, successor) if successor:
                    (_RECOVERED if opus.has_fec(successor) else _CONCEALED).inc(seconds)
                    return self._decoder.recover(ticks, successor)
                case Lost(_, ticks):
                    _CONCEALED.inc(seconds)
                    return self._decoder.conceal(ticks)
                case Silence(_, ticks):
                    _SILENCE.inc(seconds)
                    return np.zeros(ticks * self.rate_hz // opus.CLOCK_HZ, np.int16)
        except opus.OpusError:
            MALFORMED.inc()
            return self._decoder.conceal(piece.ticks)


class TelephonePieces:
    """G.711 and G.722, which cannot conceal anything: what was lost is silent."""

    def __init__(self, codec: RTCRtpCodecParameters, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._clock_hz = clock_hz(codec)
        self._decoder: Any = get_decoder(codec)
        self._resampler = av.AudioResampler("s16", "mono", rate_hz)

    def decode(self, piece: Piece) -> Pcm16:
        seconds = piece.ticks / self._clock_hz
        if isinstance(piece, Sound):
            _AS_RECEIVED.inc(seconds)
            try:
                parts = [
                    part.to_ndarray()[0]
                    for frame in self._decoder.decode(JitterFrame(piece.payload, piece.at))
                    for part in self._resampler.resample(frame)
                ]
                return np.concatenate(parts) if parts else np.zeros(0, np.int16)
            except av.FFmpegError:
                MALFORMED.inc()
        else:
            _SILENCE.inc(seconds)
        return np.zeros(round(seconds * self.rate_hz), np.int16)
