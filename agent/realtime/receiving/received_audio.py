"""What another peer says, as a track: undecoded until it is read, at the rate its reader wants."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCRtpCodecParameters
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray
from prometheus_client import Counter

from agent.realtime.receiving.decoding import PieceDecoder, clock_hz, make_decoder
from agent.realtime.receiving.jitter import MAX_AHEAD_MS, Counts, Lost, Piece, Silence

DROPPED_FRAMES = Counter(
    "voice_agent_received_frames_dropped_total",
    "Frames of a remote track dropped because nobody read them in time",
)

#: Sound kept while nobody reads; and how long nobody has to have read for that. Speech is consumed faster
#: than it is spoken, so a reader that was held up catches up and no delay stays; beyond a second it is gone
#: for good, and so is this.
MAX_WAITING_MS = 1000.0
#: Read in a row without a turn for anybody else: decoding takes up to 0.1 ms each.
MAX_PIECES_IN_A_ROW = 25
#: Pieces are no longer, but for packets that are.
PIECE_MS = 20

FRAME_RATE_HZ = 48_000


class ReceivedAudio(MediaStreamTrack):
    """Sound in its order and without holes; see `jitter` for what becomes of lost packets.

    `recv` gives frames as aiortc's tracks do; `read` plain samples at a lower rate, which costs less. Whoever
    reads decodes, so a track that nobody reads costs next to nothing. Several readers share what there is.
    """

    kind = "audio"

    def __init__(self, track_id: str) -> None:
        super().__init__()
        self._id = track_id
        #: What became of its packets.
        self.counts = Counts()
        self._kept: deque[tuple[Piece, RTCRtpCodecParameters]] = deque()
        self._kept_ms = 0.0
        self._changed = asyncio.Event()
        self._is_awaited = False
        self._read_s = float("-inf")
        self._in_a_row = 0
        #: Readers get what comes in turn, or the first would get all of it.
        self._turn = asyncio.Lock()
        self._over = False
        self._decoder: PieceDecoder | None = None
        self._codec: RTCRtpCodecParameters | None = None

    def take(self, pieces: Iterable[Piece], codec: RTCRtpCodecParameters) -> None:
        """More sound has come.

        While somebody reads, as much is kept as can come at once after a stall, `MAX_AHEAD_MS`: a relay
        reached over TCP hands it over before any reader has its turn. Otherwise it is `MAX_WAITING_MS`. What
        is older goes, and is counted.
        """
        if self._over or self.readyState != "live":
            return
        for piece in _in_parts(pieces, clock_hz(codec) * PIECE_MS // 1000):
            self._kept.append((piece, codec))
            self._kept_ms += _duration_ms(piece, codec)
        while self._kept_ms > (MAX_AHEAD_MS if self._is_read else MAX_WAITING_MS):
            self._next()
            DROPPED_FRAMES.inc()
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes. What waits can still be read; the track has ended when it has been."""
        self._over = True
        self._changed.set()

    async def recv(self) -> av.AudioFrame:
        """The next frame, mostly 20 ms of 48 kHz mono s16. `MediaStreamError` once the track has ended."""
        samples, piece, codec = await self._read(FRAME_RATE_HZ)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = FRAME_RATE_HZ
        frame.pts = piece.at * FRAME_RATE_HZ // clock_hz(codec)
        frame.time_base = Fraction(1, FRAME_RATE_HZ)
        return frame

    async def read(self, rate_hz: int) -> NDArray[np.int16]:
        """The next samples, mono int16 at `rate_hz`, one of `opus.RATES_HZ`; mostly 20 ms.

        `MediaStreamError` once the track has ended.
        """
        return (await self._read(rate_hz))[0]

    async def _read(self, rate_hz: int) -> tuple[NDArray[np.int16], Piece, RTCRtpCodecParameters]:
        async with self._turn:
            while True:
                await self._piece_is_there()
                if not self._kept or self.readyState != "live":
                    self.stop()
                    raise MediaStreamError
                piece, codec = self._next()
                self._read_s = time.monotonic()
                samples = self._decoder_for(codec, rate_hz).decode(piece)
                if len(samples):
                    return samples, piece, codec

    async def _piece_is_there(self) -> None:
        """Or nothing more will come."""
        self._in_a_row += 1
        if self._in_a_row > MAX_PIECES_IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while not self._kept and not self._over and self.readyState == "live":
            self._changed.clear()
            self._is_awaited = True
            try:
                await self._changed.wait()
            finally:
                self._is_awaited = False
            self._in_a_row = 0

    @property
    def _is_read(self) -> bool:
        return self._is_awaited or time.monotonic() - self._read_s < MAX_WAITING_MS / 1000

    def stop(self) -> None:
        super().stop()
        self._kept.clear()
        self._kept_ms = 0.0
        self._changed.set()

    def _next(self) -> tuple[Piece, RTCRtpCodecParameters]:
        piece, codec = self._kept.popleft()
        self._kept_ms -= _duration_ms(piece, codec)
        return piece, codec

    def _decoder_for(self, codec: RTCRtpCodecParameters, rate_hz: int) -> PieceDecoder:
        decoder = self._decoder
        if decoder is None or decoder.rate_hz != rate_hz or codec is not self._codec:
            self._decoder = decoder = make_decoder(codec, rate_hz)
            self._codec = codec
        return decoder


def _duration_ms(piece: Piece, codec: RTCRtpCodecParameters) -> float:
    return 1000.0 * piece.ticks / clock_hz(codec)


def _in_parts(pieces: Iterable[Piece], most_ticks: int) -> Iterator[Piece]:
    """Long stretches without packets as frames, which readers expect."""
    for piece in pieces:
        if isinstance(piece, Silence) or (isinstance(piece, Lost) and not piece.successor):
            for start in range(0, piece.ticks, most_ticks):
                yield type(piece)(piece.at + start, min(most_ticks, piece.ticks - start))
        else:
            yield piece
