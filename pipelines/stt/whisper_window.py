"""Whisper on a window as long as what was said, instead of always thirty seconds.

The encoder's cost grows faster than its window: 30 s of it takes seven times as long as 10 s. faster-whisper
pads everything to 30 s; here the features are cut to the speech plus a margin, and the model underneath is
called with those. What looks wrong afterwards is recognised once more on the full window, as it was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from prometheus_client import Counter

from pipelines.audio import SPEECH_RATE_HZ, Samples

FULL_WINDOWS = Counter(
    "voice_agent_stt_full_windows_total",
    "Recognitions repeated on Whisper's full window because the short one looked wrong",
    ["why"],
)

#: Feature frames per second of audio; two of them make one position of the encoder.
FRAMES_PER_S = 100
#: Cut exactly to the speech, stock weights lose words: with 2 s of silence behind it and at least 10 s in all
#: they do not (reported for whisper.cpp's `audio_ctx`, and by streaming servers built on it).
MIN_WINDOW_S = 10.0
MARGIN_S = 2.0
FULL_WINDOW_S = 30.0

#: A recognition may begin with 32 ms of silence behind the words, and a word that is cut off so is more often
#: taken for another (53 of 453 sentences misheard; with 400 ms 49). With a fifth of a second of a quiet room
#: behind that it is as if more had been waited for (50).
_HUSH = np.random.default_rng(0).normal(0.0, 2e-4, SPEECH_RATE_HZ // 5).astype(np.float32)

#: Nobody speaks more than about 6 tokens a second; a decoder that writes on has lost the thread.
TOKENS_PER_S = 10
EXTRA_TOKENS = 16
#: The first words begin within a second: in steps of 20 ms, as OpenAI's implementation has it.
MAX_INITIAL_TIMESTAMP = 50

# The limits of OpenAI's reference implementation (transcribe.py): above this probability of no speech an
# unlikely text is noise, and text that compresses better than this is one phrase over and over.
NO_SPEECH_PROB = 0.6
UNLIKELY_LOGPROB = -1.0
REPETITION_RATIO = 2.4


@dataclass(frozen=True, slots=True)
class Heard:
    """What the decoder wrote; `text` is empty when that was noise or nonsense."""

    text: str
    #: Mean log probability of a token.
    logprob: float
    language: str


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    logprob: float
    no_speech_prob: float
    is_cut: bool

    def fault(self) -> str | None:
        """What is wrong with it, if anything."""
        if self.is_cut:
            return "too long"
        if get_compression_ratio(self.text) > REPETITION_RATIO:
            return "repetition"
        return "unlikely" if self.logprob < UNLIKELY_LOGPROB else None

    def is_noise(self) -> bool:
        return self.no_speech_prob > NO_SPEECH_PROB and self.logprob < UNLIKELY_LOGPROB


def window_s(audio_s: float) -> float:
    """The window for so much audio, in seconds."""
    return min(FULL_WINDOW_S, max(MIN_WINDOW_S, math.ceil(10 * (audio_s + MARGIN_S)) / 10))


def hear(
    model: WhisperModel,
    audio: Samples,
    language: str | None,
    beam_size: int,
    go_on: Callable[[], None] = lambda: None,
) -> Heard:
    """Recognise at most 30 s of 16 kHz mono `audio`; `language` is one of the model's; None detects it.

    `go_on` is called between the steps: what it raises ends the recognition.
    """
    features = model.feature_extractor(np.concatenate([audio, _HUSH]))
    audio_s = len(audio) / SPEECH_RATE_HZ
    window = window_s(audio_s)
    encoded = _encode(model, features, window)
    if language is None:
        language = _detect(model, encoded)
    tokenizer = Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
    )
    max_tokens = min(model.max_length // 2, EXTRA_TOKENS + int(audio_s * TOKENS_PER_S))
    go_on()
    decoded = _decode(model, encoded, tokenizer, max_tokens, beam_size)
    fault = decoded.fault()
    if fault and not decoded.is_noise() and window < FULL_WINDOW_S:
        go_on()
        FULL_WINDOWS.labels(fault).inc()
        encoded = _encode(model, features, FULL_WINDOW_S)
        decoded = _decode(model, encoded, tokenizer, max_tokens, beam_size)
    is_wrong = decoded.is_noise() or decoded.fault() in ("repetition", "too long")
    return Heard("" if is_wrong else decoded.text, decoded.logprob, language)


def _encode(model: WhisperModel, features: Any, seconds: float) -> Any:
    return model.encode(pad_or_trim(features, round(seconds * FRAMES_PER_S)))


def _detect(model: WhisperModel, encoded: Any) -> str:
    if not model.model.is_multilingual:
        return "en"
    token, _ = model.model.detect_language(encoded)[0][0]
    language: str = token.strip("<|>")
    return language


def _decode(
    model: WhisperModel, encoded: Any, tokenizer: Tokenizer, max_tokens: int, beam_size: int
) -> _Decoded:
    # With timestamps, as faster-whisper decodes: two more tokens, and of 1086 words the small model of
    # `benchmarks/recognition.py` mistakes 95; without them 106.
    prompt = model.get_prompt(tokenizer, [])
    # No second tries at higher temperatures: they cost up to five times the time and invent more.
    result = model.model.generate(
        encoded,
        [prompt],
        beam_size=beam_size,
        # CTranslate2 gives what is generated half of this length.
        max_length=2 * max_tokens,
        return_scores=True,
        return_no_speech_prob=True,
        suppress_blank=True,
        suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP,
    )[0]
    tokens = result.sequences_ids[0]
    # The score leaves out the end mark, the mean counts it.
    logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
    is_cut = len(tokens) >= max_tokens
    return _Decoded(tokenizer.decode(tokens).strip(), logprob, result.no_speech_prob, is_cut)
