"""Opus as senders send it."""

from __future__ import annotations

from collections.abc import Mapping

import av
import numpy as np

RATE_HZ = 48_000
FRAME = 960


def voice(seconds: float) -> np.ndarray:
    """Something like a vowel whose pitch and loudness change; mono int16 at 48 kHz."""
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 25 * np.sin(2 * np.pi * 1.1 * times_s)) / RATE_HZ
    sound = sum(np.sin(order * phase + order) / order for order in range(1, 20))
    return (2500 * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * times_s)) * sound).astype(np.int16)


def packets(
    samples: np.ndarray,
    *,
    bit_rate: int = 24_000,
    layout: str = "mono",
    options: Mapping[str, str] | None = None,
) -> list[bytes]:
    """`samples` (mono, 48 kHz) as packets of 20 ms, made by libopus."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.bit_rate, encoder.format, encoder.layout, encoder.sample_rate = bit_rate, "s16", layout, RATE_HZ
    encoder.options = {"application": "voip", **(options or {})}
    made: list[bytes] = []
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        part = samples[start : start + FRAME]
        if layout == "stereo":
            part = np.repeat(part, 2)
        frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout=layout)
        frame.sample_rate, frame.pts = RATE_HZ, start
        made += [bytes(packet) for packet in encoder.encode(frame)]
    return made


#: What a sender does that was told of losses.
WITH_FEC = {"fec": "1", "packet_loss": "20"}
