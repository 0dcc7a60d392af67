"""The order and the completeness of received sound. Pure: packets and the time in, pieces of sound out.

Somebody who listens to a loudspeaker needs sound at an even pace, so a jitter buffer for him holds everything
back as long as the latest packet may take. A recogniser has no pace: what it needs is every piece in its
order, as soon as possible. So nothing is held back here but what follows a gap, and that only as long as the
missing packet is worth waiting for (`reordering`)::

    arrives    1  2  .  4  5  .   6  3
    released   1  2  .  .  .  ~45 6            ~ is made up in the place of 3, which comes too late

On a clean path the delay is nothing at all, and after a burst it is nothing again with the next packet.
How long a piece lasts is told by the time stamps, so a gap keeps its length: what was lost is to be made up
(`Lost`), what was not sent is silence (`Silence`). What was not sent for a few packets is made up, too: a
sender that stalled left something out there, and after the comfort noise of one that was silent the decoder
makes up more of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from agent.realtime.receiving.reordering import MAX_WAIT_MS, ReorderingWait

#: A gap that lasts longer is left out but for its ends: it was an outage, and nobody is helped by silence
#: after the fact. It shows in the positions and in `Counts.skipped_ms`, not in the sound itself. Senders that
#: leave out silence send a sign of life each 400 ms or, as libopus, 420 ms; with one of them lost a pause is
#: still as long as it was.
MAX_FILL_MS = 900.0
#: How much is made up from the sound before it; what follows is silence.
MAX_CONCEALED_MS = 100.0

#: RFC 3550, appendix A.1: a packet that much ahead or behind begins a new stream if the next one follows it.
MAX_DROPOUT_PACKETS = 3000
MAX_MISORDER_PACKETS = 100
#: Packets held back behind a gap; beyond, the gap is given up.
MAX_HELD_PACKETS = 64
#: Missing packets whose fate is followed; of a longer burst the last ones.
MAX_MISSING_PACKETS = 64
#: The source before comes back only when the present one has been quiet for so long.
SOURCE_QUIET_MS = 1000.0

#: Sound may come this much faster than time passes (clocks differ), and so much at once after a stall. More
#: is refused: it would be as much work as somebody cares to send.
MAX_PACE = 1.25
MAX_AHEAD_MS = 10_000.0


@dataclass(frozen=True, slots=True)
class Packet:
    """What is needed of an RTP packet: its numbers as they came, its length in units of its time stamps.

    A packet of length 0 (padding, or what cannot be understood) takes its place in the order and is not
    heard.
    """

    source: int
    sequence: int
    timestamp: int
    ticks: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """A packet to be decoded. `at` is where it begins, in ticks since the first packet, of all pieces."""

    at: int
    ticks: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Sound to be made up from what was before, and from `successor`, the packet after it, if not empty."""

    at: int
    ticks: int
    successor: bytes = b""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing was sent, or so much was lost that nothing can be made up."""

    at: int
    ticks: int


Piece: TypeAlias = Sound | Lost | Silence


@dataclass(slots=True)
class Counts:
    """What became of the packets of a stream, and of its time."""

    received: int = 0
    #: Came after they had been given up.
    late: int = 0
    #: Never came.
    lost: int = 0
    #: Came twice, or so late that they had been counted as lost.
    duplicate: int = 0
    #: Far from the others in number, of a source that is not heard any more, or more than there is time for.
    refused: int = 0
    #: Time that was lost, that was silent because nothing was sent, and that was left out. Between two
    #: sources it is the time of arrival that tells, and what was lost there counts as silent, too.
    lost_ms: float = 0.0
    silent_ms: float = 0.0
    skipped_ms: float = 0.0
    #: How long packets were held back, all together and at most.
    held_ms: float = 0.0
    max_held_ms: float = 0.0


@dataclass(slots=True)
class _Stream:
    """Packets of one source whose numbers follow one another. Numbers are unwrapped: they do not overflow."""

    source: int
    #: The packet it began with, the next one to be released, and the newest that came.
    first: int
    next: int
    newest: int
    #: What has to be added to an unwrapped time stamp to get a position.
    offset: int
    #: The time stamp at which what was released ends.
    end: int
    held: dict[int, tuple[Packet, float]] = field(default_factory=dict)
    #: Packets that have not come, and since when that is known, in their order; also some given up already.
    missing: dict[int, float] = field(default_factory=dict)
    #: The length of the last packet.
    ticks: int = 0


class JitterBuffer:
    """Packets of `rate_hz` time stamps in, pieces out; times are milliseconds of any monotonic clock.

    Pieces come with ever growing positions, from `position` on, each packet at most once. They follow one
    another without a gap but where one was longer than `MAX_FILL_MS`.
    """

    def __init__(self, rate_hz: int, *, position: int = 0, counts: Counts | None = None) -> None:
        self.rate_hz = rate_hz
        self._per_ms = rate_hz / 1000
        self._max_fill = int(MAX_FILL_MS * self._per_ms)
        self._max_concealed = int(MAX_CONCEALED_MS * self._per_ms)
        self._wait = ReorderingWait()
        self._stream: _Stream | None = None
        self._heard_ms = 0.0
        self._quiet_source: int | None = None
        #: The number after a packet that was far from all others.
        self._strange: tuple[int, int] | None = None
        self._position = position
        self._ahead_ms = 0.0
        self._paced_ms: float | None = None
        self.counts = counts or Counts()

    @property
    def position(self) -> int:
        """Where the next piece begins unless there is a gap."""
        return self._position

    @property
    def wait_ms(self) -> float:
        """How long a missing packet is waited for at present."""
        return self._wait.wait_ms

    @property
    def due_ms(self) -> float | None:
        """When `poll` has something to do; None as long as nothing is held back."""
        stream = self._stream
        if stream is None or not stream.held:
            return None
        return self._given_up_ms(stream)

    def put(self, packet: Packet, now_ms: float) -> list[Piece]:
        """A packet is here: what can be released now."""
        self.counts.received += 1
        pieces: list[Piece] = []
        if not self._has_room(now_ms) or self._is_of_the_past(packet, now_ms):
            self.counts.refused += 1
            return pieces
        stream = self._stream
        if stream is not None and self._is_expected(stream, packet):
            self._heard_ms, self._strange = now_ms, None
            return [self._follow_on(stream, packet)]
        number = None if stream is None else _number(stream, packet)
        if stream is None or number is None:
            if stream is not None and not self._begins_anew(stream, packet):
                self.counts.refused += 1
                return pieces
            pieces = self.flush(now_ms) + self._until(packet, now_ms)
            stream = self._begin(packet)
            number = stream.next
        self._heard_ms, self._strange = now_ms, None
        self._learn_of_lost(stream, now_ms)
        if not self._is_new(stream, number, now_ms):
            return pieces
        self._note_missing(stream, number, now_ms)
        stream.held[number] = packet, now_ms
        return pieces + self._release(stream, now_ms)

    def poll(self, now_ms: float) -> list[Piece]:
        """Time has passed: what can be released now."""
        return [] if self._stream is None else self._release(self._stream, now_ms)

    def flush(self, now_ms: float) -> list[Piece]:
        """Whatever is held back, without waiting for what is missing."""
        return [] if self._stream is None else self._release(self._stream, now_ms, at_once=True)

    # ---- what nearly every packet is

    def _is_expected(self, stream: _Stream, packet: Packet) -> bool:
        """The next one, right after the one before, with nothing missing or held back."""
        return (
            packet.sequence == stream.next & 0xFFFF
            and packet.timestamp == stream.end & 0xFFFFFFFF
            and packet.source == stream.source
            and packet.ticks > 0
            and not stream.held
            and not stream.missing
            and stream.newest == stream.next - 1
        )

    def _follow_on(self, stream: _Stream, packet: Packet) -> Sound:
        """What all the rest comes to for such a packet."""
        stream.newest, stream.next = stream.next, stream.next + 1
        stream.end, stream.ticks = stream.end + packet.ticks, packet.ticks
        sound = Sound(self._position, packet.ticks, packet.payload)
        self._position += packet.ticks
        self._ahead_ms += packet.ticks / self._per_ms
        return sound

    # ---- which packets belong together

    def _is_of_the_past(self, packet: Packet, now_ms: float) -> bool:
        """Of the source heard before this one, though this one is still heard."""
        stream = self._stream
        if stream is None or packet.source == stream.source:
            return False
        return packet.source == self._quiet_source and now_ms - self._heard_ms < SOURCE_QUIET_MS

    def _begins_anew(self, stream: _Stream, packet: Packet) -> bool:
        """Another source, or a second packet where the one before was not expected either."""
        if packet.source != stream.source:
            return True
        begins = self._strange == (packet.source, packet.sequence)
        self._strange = packet.source, (packet.sequence + 1) & 0xFFFF
        return begins

    def _begin(self, packet: Packet) -> _Stream:
        if self._stream is not None and self._stream.source != packet.source:
            self._quiet_source = self._stream.source
        self._stream = _Stream(
            source=packet.source,
            first=packet.sequence,
            next=packet.sequence,
            newest=packet.sequence - 1,
            offset=self._position - packet.timestamp,
            end=packet.timestamp,
        )
        return self._stream

    def _until(self, packet: Packet, now_ms: float) -> list[Piece]:
        """The pause before a packet whose time stamps say nothing of it, for they begin with it."""
        gap = int(int(now_ms - self._heard_ms) * self._per_ms) - packet.ticks
        if self._stream is None or gap <= self._max_concealed:
            # So much later any packet may come.
            return []
        start = self._position
        self._position += gap
        if gap > self._max_fill:
            self.counts.skipped_ms += gap / self._per_ms
            return []
        self.counts.silent_ms += gap / self._per_ms
        return [Silence(start, gap)]

    def _is_new(self, stream: _Stream, number: int, now_ms: float) -> bool:
        since_ms = stream.missing.pop(number, None)
        if since_ms is not None:
            self._wait.came(now_ms - since_ms)
        if number >= stream.next and number not in stream.held:
            return True
        if since_ms is not None or number < stream.first:
            self.counts.late += 1
        else:
            self.counts.duplicate += 1
        return False

    # ---- what is missing

    def _note_missing(self, stream: _Stream, number: int, now_ms: float) -> None:
        first = max(stream.newest + 1, number - MAX_MISSING_PACKETS)
        self.counts.lost += max(0, first - stream.newest - 1)
        for missing in range(first, number):
            stream.missing[missing] = now_ms
        while len(stream.missing) > MAX_MISSING_PACKETS:
            stream.missing.pop(next(iter(stream.missing)))
            self.counts.lost += 1
        stream.newest = max(stream.newest, number)

    def _learn_of_lost(self, stream: _Stream, now_ms: float) -> None:
        while stream.missing:
            number, since_ms = next(iter(stream.missing.items()))
            if now_ms - since_ms <= MAX_WAIT_MS:
                return
            del stream.missing[number]
            self.counts.lost += 1
            self._wait.never_came()

    def _given_up_ms(self, stream: _Stream) -> float:
        """When the packet that is to be released next is not waited for any longer."""
        # What is not followed any more has been missing for long.
        since_ms = stream.missing.get(stream.next, float("-inf"))
        return since_ms + self._wait.wait_ms

    # ---- release

    def _release(self, stream: _Stream, now_ms: float, *, at_once: bool = False) -> list[Piece]:
        pieces: list[Piece] = []
        while stream.held:
            if stream.next not in stream.held:
                is_full = len(stream.held) > MAX_HELD_PACKETS
                if not (at_once or is_full or now_ms >= self._given_up_ms(stream)):
                    break
            number = stream.next if stream.next in stream.held else min(stream.held)
            packet, since_ms = stream.held.pop(number)
            self.counts.held_ms += now_ms - since_ms
            self.counts.max_held_ms = max(self.counts.max_held_ms, now_ms - since_ms)
            pieces += self._in_place(stream, packet, number - stream.next)
            stream.next = number + 1
        return pieces

    def _in_place(self, stream: _Stream, packet: Packet, lost_packets: int) -> list[Piece]:
        """The packet, and before it what fills the gap between it and what was released last."""
        if not packet.ticks:
            # Its time is silence when the next one comes; to be lost is another thing.
            return []
        gap = _signed(packet.timestamp - stream.end, 32)
        if gap < 0:
            # The sender's clock began anew.
            stream.offset = self._position - packet.timestamp
            stream.end, gap = packet.timestamp, 0
        start = stream.end + gap
        pieces = self._filled(gap, min(gap, lost_packets * (stream.ticks or packet.ticks)), packet)
        self._position = start + stream.offset
        pieces.append(Sound(self._position, packet.ticks, packet.payload))
        self._position += packet.ticks
        self._ahead_ms += sum(piece.ticks for piece in pieces) / self._per_ms
        stream.end, stream.ticks = start + packet.ticks, packet.ticks
        return pieces

    def _filled(self, gap: int, lost: int, packet: Packet) -> list[Piece]:
        """What takes the place of `gap` ticks, `lost` of them lost and the others not sent."""
        # The packet can tell something about what was right before it. Whether that was lost, or what was
        # before a pause, nobody knows: both are made up.
        last = min(packet.ticks, lost)
        first = min(lost, gap - last, self._max_concealed)
        silent = gap - first - last
        skipped = silent if gap > self._max_fill else 0
        if skipped or silent > self._max_concealed:
            silent -= skipped
        else:
            first, silent = first + silent, 0
        lost = min(lost, gap - skipped)
        self.counts.lost_ms += lost / self._per_ms
        self.counts.silent_ms += (gap - skipped - lost) / self._per_ms
        self.counts.skipped_ms += skipped / self._per_ms
        at = self._position
        pieces: list[Piece] = []
        if first:
            pieces.append(Lost(at, first))
        if silent:
            pieces.append(Silence(at + first, silent))
        if last:
            pieces.append(Lost(at + gap - last, last, packet.payload))
        return pieces

    def _has_room(self, now_ms: float) -> bool:
        """Whether what was released has not run too far ahead of time."""
        if self._paced_ms is not None:
            self._ahead_ms = max(0.0, self._ahead_ms - MAX_PACE * (now_ms - self._paced_ms))
        self._paced_ms = now_ms
        return self._ahead_ms < MAX_AHEAD_MS


def _number(stream: _Stream, packet: Packet) -> int | None:
    """The packet's unwrapped number; None if it does not belong to the stream."""
    if packet.source != stream.source:
        return None
    delta = _signed(packet.sequence - stream.newest, 16)
    return stream.newest + delta if -MAX_MISORDER_PACKETS <= delta <= MAX_DROPOUT_PACKETS else None


def _signed(difference: int, bits: int) -> int:
    """The difference of two numbers that overflow, taken the shorter way round."""
    half = 1 << (bits - 1)
    return (difference + half) % (1 << bits) - half
