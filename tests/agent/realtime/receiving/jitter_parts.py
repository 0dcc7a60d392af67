"""Packets for the jitter buffer, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterable

from agent.realtime.receiving.jitter import JitterBuffer, Lost, Packet, Piece, Silence, Sound

FRAME = 960
RATE_HZ = 48_000


def packet(number: int, *, source: int = 1, first: int = 0, start: int = 0, ticks: int = FRAME) -> Packet:
    """The packet `number` of a stream that speaks all the time; its payload says which it is."""
    return Packet(
        source,
        (first + number) & 0xFFFF,
        (start + number * FRAME) & 0xFFFFFFFF,
        ticks,
        b"" if not ticks else number.to_bytes(4, "big"),
    )


def run(arrivals: Iterable[tuple[float, Packet]], buffer: JitterBuffer | None = None) -> list[Piece]:
    """Everything that comes out, `poll` being called when it is due."""
    buffer = buffer or JitterBuffer(RATE_HZ)
    pieces: list[Piece] = []
    for at_ms, arrived in arrivals:
        pieces += polled(buffer, at_ms)
        pieces += buffer.put(arrived, at_ms)
    return pieces + polled(buffer, float("inf"))


def polled(buffer: JitterBuffer, until_ms: float) -> list[Piece]:
    pieces: list[Piece] = []
    while buffer.due_ms is not None and buffer.due_ms <= until_ms:
        due_ms = buffer.due_ms
        got = buffer.poll(due_ms)
        # Padding is released without being heard.
        assert got or buffer.due_ms != due_ms, "it was due"
        pieces += got
    return pieces


def numbers(pieces: Iterable[Piece]) -> list[int]:
    return [int.from_bytes(piece.payload, "big") for piece in pieces if isinstance(piece, Sound)]


def told(pieces: Iterable[Piece]) -> str:
    """One letter for each 20 ms: a number's last digit, ~ made up, + told by the next packet, _ silence."""
    text = ""
    for piece in pieces:
        frames = piece.ticks // FRAME
        match piece:
            case Sound(_, _, payload):
                text += str(int.from_bytes(payload, "big") % 10) * frames
            case Lost(_, _, successor):
                text += ("+" if successor else "~") * frames
            case Silence():
                text += "_" * frames
    return text


def assert_seamless(pieces: list[Piece], *, start: int = 0) -> None:
    end = start
    for piece in pieces:
        assert piece.at == end
        assert piece.ticks > 0
        end += piece.ticks
