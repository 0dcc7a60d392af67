"""Where a voice's speech begins and ends in its audio, and the audio without the silence round it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Kept before the first sound, so that it does not start with a click.
LEAD_MS = 10
#: Kept after the last sound, where the voice leaves as much: after a sentence, and inside of one.
SENTENCE_TAIL_MS = 240
CLAUSE_TAIL_MS = 120
#: Levels are taken over so long.
_FRAME_MS = 5
#: Quieter is silence in any voice; the softest consonants of a voice at full level are about -45.
_SILENCE_DBFS = -55.0
#: In a voice with noise of its own, so much above the noise …
_ABOVE_NOISE_DB = 8.0
#: … but never less than so much under its loud sounds.
_BELOW_SPEECH_DB = 30.0


def spoken_span(samples: NDArray[np.int16], rate_hz: int) -> tuple[int, int] | None:
    """The first and the last (exclusive) sample of what can be heard; None when nothing can."""
    frame = rate_hz * _FRAME_MS // 1000
    # One sound is two frames long at least: noise is a single one at times.
    count = -(-len(samples) // frame)
    if count < 2:
        return None
    padded = np.zeros(count * frame, np.float64)
    padded[: len(samples)] = samples
    power = np.mean(np.square(padded.reshape(count, frame) / 32768.0), axis=1)
    levels = 10 * np.log10(np.maximum(power, 1e-12))
    noise, loud = np.percentile(levels, (10, 95))
    limit = max(_SILENCE_DBFS, min(noise + _ABOVE_NOISE_DB, loud - _BELOW_SPEECH_DB))
    heard = levels > limit
    sounds = np.flatnonzero(heard[:-1] & heard[1:])
    if not len(sounds):
        return None
    return int(sounds[0]) * frame, min(len(samples), (int(sounds[-1]) + 2) * frame)


def trimmed_span(samples: NDArray[np.int16], rate_hz: int, *, sentence: bool) -> tuple[int, int]:
    """The part of a clause's audio to play; all of it when there is nothing to hear."""
    span = spoken_span(samples, rate_hz)
    if span is None:
        return 0, len(samples)
    tail_ms = SENTENCE_TAIL_MS if sentence else CLAUSE_TAIL_MS
    start = max(0, span[0] - rate_hz * LEAD_MS // 1000)
    return start, min(len(samples), span[1] + rate_hz * tail_ms // 1000)
