"""The Opus decoder and encoder of libopus, with what a lossy path needs and FFmpeg does not pass on.

libavcodec decodes packets and nothing else: not what a packet says about a lost one before it (in-band FEC),
not at 16 kHz. Its encoder is not told of losses while it works. libopus itself is there all the same:
aiortc's own Opus is PyAV's, whose wheels carry it, and a PyAV built from source is linked to the system's.
The bindings on PyPI look for the system's library alone and carry none. So the few functions needed are
called here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

#: The rates it decodes to; each is as good as a higher one for what it can carry.
RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
#: The rate of Opus time stamps, whatever is sent or decoded (RFC 7587).
CLOCK_HZ = 48_000
#: Everything lasts a multiple of it (RFC 6716), and no packet longer than 120 ms.
STEP_TICKS = CLOCK_HZ // 400
MAX_PACKET_TICKS = CLOCK_HZ * 120 // 1000

Pcm16 = NDArray[np.int16]

#: What `OpusEncoder` takes at a time: 20 ms.
FRAME_SAMPLES = CLOCK_HZ // 50
#: The largest packet of one frame (RFC 6716, 3.2.1).
MAX_FRAME_BYTES = 1275

#: How much work is done for each bit, 0 to 10. Speech at 40 kbit/s and 2 comes out as close to the original
#: as at 32 kbit/s and 9, which is what browsers send, for half the work (105 instead of 190 µs a frame); at 1
#: it is three quarters of that, and audibly rougher.
COMPLEXITY = 2

#: First bytes of packets that CELT alone made are this or greater (RFC 6716, section 3.1).
_CELT_ONLY = b"\x80"

# opus_defines.h
_APPLICATION_VOIP, _SIGNAL_VOICE = 2048, 3001
_BANDWIDTHS = ((8_000, 1101), (12_000, 1102), (16_000, 1103), (24_000, 1104), (48_000, 1105))
_SET_MAX_BANDWIDTH = 4004
_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS_PERC, _SET_SIGNAL = (
    4002,
    4010,
    4012,
    4014,
    4024,
)

_SILK_MS, _HYBRID_MS, _CELT_MS = (10.0, 20.0, 40.0, 60.0), (10.0, 20.0), (2.5, 5.0, 10.0, 20.0)


class OpusError(RuntimeError):
    """libopus is not there, or did not take a packet."""


def packet_ticks(payload: bytes) -> int:
    """How long a packet lasts, at 48 kHz, by its first bytes (RFC 6716, 3.1); 0 if malformed."""
    if not payload:
        return 0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame_ms = _SILK_MS[config & 3]
    elif config < 16:
        frame_ms = _HYBRID_MS[config & 1]
    else:
        frame_ms = _CELT_MS[config & 3]
    frames = (1, 2, 2, payload[1] & 63 if len(payload) > 1 else 0)[code]
    ticks = int(frame_ms * frames * CLOCK_HZ) // 1000
    return ticks if ticks <= MAX_PACKET_TICKS else 0


class OpusDecoder:
    """One stream decoded to mono int16 at `rate_hz`, one of `RATES_HZ`; stereo is mixed.

    Whatever is decoded or made up must be so in its order. A call takes some 20 µs.
    """

    def __init__(self, rate_hz: int) -> None:
        if rate_hz not in RATES_HZ:
            raise ValueError(f"rate_hz must be one of {', '.join(map(str, RATES_HZ))}, got {rate_hz}")
        self.rate_hz = rate_hz
        self._opus = library()
        # The state lies in memory of our own, so there is nothing to be given back.
        self._state = ctypes.create_string_buffer(self._opus.opus_decoder_get_size(1))
        if self._opus.opus_decoder_init(self._state, rate_hz, 1) != 0:
            raise OpusError("libopus made no decoder")
        self._was_celt = False
        self._samples: Pcm16 = np.zeros(rate_hz * MAX_PACKET_TICKS // CLOCK_HZ, np.int16)
        self._samples_at = self._samples.ctypes.data

    def decode(self, payload: bytes) -> Pcm16:
        """The sound of a packet. `OpusError` if it is none."""
        if not payload:
            return np.zeros(0, np.int16)
        self._was_celt = payload[:1] >= _CELT_ONLY
        # Into memory that is always the same: to find out where an array lies takes as long as to copy it.
        done = self._decode(payload, self._samples_at, len(self._samples), fec=0)
        return self._samples[:done].copy()

    def recover(self, ticks: int, successor: bytes) -> Pcm16:
        """`ticks` (of 48 kHz) that were lost right before `successor`, which is decoded afterwards.

        As far as the packet tells of them; the rest is made up from what was before.
        """
        if self._was_celt and has_fec(successor):
            # Right after a packet of CELT, as those of pauses often are, libopus does not look for what is
            # told. With an empty one of the other kind in between, which is not heard, it does.
            self.decode(bytes([successor[0] & 0xFC]))
        return self._fill(ticks, successor, fec=1)

    def conceal(self, ticks: int) -> Pcm16:
        """`ticks` (of 48 kHz) made up from what was decoded before, ever more quiet."""
        return self._fill(ticks, b"", fec=0)

    def _fill(self, ticks: int, payload: bytes, *, fec: int) -> Pcm16:
        # Only whole steps can be made up. What is missing at the end is silence.
        step = self.rate_hz * STEP_TICKS // CLOCK_HZ
        out: Pcm16 = np.zeros(self.rate_hz * ticks // CLOCK_HZ, np.int16)
        decodable = len(out) // step * step
        if decodable:
            self._decode(payload, out.ctypes.data, decodable, fec=fec)
        return out

    def _decode(self, payload: bytes, to: int, samples: int, *, fec: int) -> int:
        done = int(self._opus.opus_decode(self._state, payload or None, len(payload), to, samples, fec))
        if done < 0:
            raise OpusError(self._opus.opus_strerror(done).decode())
        return done


class OpusEncoder:
    """Mono speech at 48 kHz to packets of 20 ms. A call takes some 0.1 ms.

    With `fec` packets tell of the one before them as far as `loss_percent` makes it worth its bits.
    """

    def __init__(self, bit_rate: int, *, fec: bool) -> None:
        self._opus = library()
        self._state = ctypes.create_string_buffer(self._opus.opus_encoder_get_size(1))
        if self._opus.opus_encoder_init(self._state, CLOCK_HZ, 1, _APPLICATION_VOIP) != 0:
            raise OpusError("libopus made no encoder")
        self._set(_SET_SIGNAL, _SIGNAL_VOICE)
        self._set(_SET_COMPLEXITY, COMPLEXITY)
        self._set(_SET_BITRATE, bit_rate)
        self._set(_SET_INBAND_FEC, int(fec))
        self._loss_percent, self._content_rate_hz = 0, CLOCK_HZ
        self._packet = ctypes.create_string_buffer(MAX_FRAME_BYTES)

    @property
    def loss_percent(self) -> int:
        """How many packets are expected to be lost."""
        return self._loss_percent

    @loss_percent.setter
    def loss_percent(self, percent: int) -> None:
        if percent != self._loss_percent:
            self._set(_SET_PACKET_LOSS_PERC, percent)
            self._loss_percent = percent

    @property
    def content_rate_hz(self) -> int:
        """A rate at which the sound can be recorded without loss: no bits are spent on what is above."""
        return self._content_rate_hz

    @content_rate_hz.setter
    def content_rate_hz(self, rate_hz: int) -> None:
        if rate_hz != self._content_rate_hz:
            widest = _BANDWIDTHS[-1][1]
            self._set(_SET_MAX_BANDWIDTH, next((b for rate, b in _BANDWIDTHS if rate_hz <= rate), widest))
            self._content_rate_hz = rate_hz

    def encode(self, samples: Pcm16) -> bytes:
        """The packet of the next `FRAME_SAMPLES` samples. `ValueError` if they are not as many."""
        if samples.shape != (FRAME_SAMPLES,) or samples.dtype != np.int16 or not samples.flags.c_contiguous:
            raise ValueError(f"an Opus frame is {FRAME_SAMPLES} contiguous samples of 16 bits")
        size = self._opus.opus_encode(
            self._state, samples.ctypes.data, FRAME_SAMPLES, self._packet, MAX_FRAME_BYTES
        )
        if size < 0:
            raise OpusError(self._opus.opus_strerror(size).decode())
        return ctypes.string_at(self._packet, size)

    def _set(self, request: int, value: int) -> None:
        error = self._opus.opus_encoder_ctl(self._state, request, ctypes.c_int32(value))
        if error != 0:
            raise OpusError(f"setting {request} to {value}: {self._opus.opus_strerror(error).decode()}")


def has_fec(payload: bytes) -> bool:
    """Whether a packet of one frame, as those of calls are, tells of the packet before it.

    In SILK the first bits of a frame say which of its parts are speech, the next one whether it does (RFC
    6716, section 4.2.3).
    """
    if len(payload) < 2 or payload[0] & 3 or payload[0] >> 3 >= 16:
        return False
    config = payload[0] >> 3
    parts = max(1, config & 3) if config < 12 else 1
    return bool(payload[1] >> (7 - parts) & 1)


@cache
def library() -> ctypes.PyDLL:
    """libopus as PyAV brings it, else the system's. `OpusError` if there is none."""
    for name in _candidates():
        try:
            # A call is shorter than giving the interpreter's lock away and getting it back.
            found = ctypes.PyDLL(name)
        except OSError:
            continue
        return _declared(found)
    raise OpusError("libopus was found neither beside PyAV nor in the system; install it (Debian: libopus0)")


def _candidates() -> Iterator[str]:
    package = Path(av.__file__).parent
    # Where the tools that make wheels put libraries on Linux and Windows, and on macOS.
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from (str(path) for path in sorted(folder.glob("*opus*")))
    if system := ctypes.util.find_library("opus"):
        yield system


def _declared(opus: ctypes.PyDLL) -> ctypes.PyDLL:
    opus.opus_decoder_get_size.argtypes = [ctypes.c_int]
    opus.opus_decoder_init.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int]
    opus.opus_decode.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    ]
    opus.opus_encoder_get_size.argtypes = [ctypes.c_int]
    opus.opus_encoder_init.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int, ctypes.c_int]
    # Of a function with any number of arguments only those before are declared.
    opus.opus_encoder_ctl.argtypes = [ctypes.c_char_p, ctypes.c_int]
    opus.opus_encode.argtypes = [
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int32,
    ]
    opus.opus_strerror.argtypes = [ctypes.c_int]
    opus.opus_strerror.restype = ctypes.c_char_p
    return opus
