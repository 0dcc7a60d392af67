"""One pocketsphinx decoder, and the judgement on what it heard.

Two language models hear every utterance: the stock one, which knows general English, and a trigram model of
the phrases a persona expects. The phrases win when their path through the audio is more likely than the stock
model's by `PHRASES_MARGIN` nats per frame of speech; so a caller who says something else is not forced into
a phrase. What is left is refused when it cannot be speech: words drawn out over noise, or sounds that fit the
words badly. The thresholds come from ``benchmarks/embedded_stt.py``, which prints where speech and noise lie.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pocketsphinx import Config, Decoder

from pipelines.audio import SPEECH_RATE_HZ, Samples, to_int16
from pipelines.stt.sphinx_phrases import pronouncer, sentences, trigram_arpa

#: Phrase sets a decoder keeps; the one used longest ago goes.
MAX_PHRASE_SETS = 8
#: Frames are 10 ms.
FRAME_RATE_HZ = 100
#: Likelihood that the phrases must have over general English, nats per frame.
#: Expected sentences in three voices: 95 % above 0.5; other sentences: 95 % below 0.2.
PHRASES_MARGIN = 0.3
#: Phrases of so many words with such a path need no comparison. Half of the expected sentences are above -4;
#: of other sentences the best is at -4.7.
PLAIN_SCORE = -4.5
PLAIN_WORDS = 3
#: A phone lasts 5 to 16 frames in speech (median of a word's phones); noise stretches a word beyond this …
SLOW_PHONE_FRAMES = 20.0
#: … and speech has at most this share of its frames in such words.
MAX_SLOW_SHARE = 0.5
#: Speech has 5.6 to 18 phones a second; fewer is a hum.
MIN_PHONES_PER_S = 4.5
#: Mean acoustic score of the spoken frames, nats; speech lies between -5.7 and -1.
MIN_ACOUSTIC = -5.8
#: Posterior per word that up to two words need; of expected sentences 95 % are above 0.14, breath and knocks
#: are often below 0.03.
MIN_CONFIDENCE = 0.05
SHORT_WORDS = 2
#: One word alone leaves the posterior little to go by ("four" 0.03 to 0.04, "stop" 0.04): where the sounds
#: fit as well as this, so much will do. Noise that the voice detection lets through is told by its pace.
CLEAR_ACOUSTIC = -4.0
CLEAR_CONFIDENCE = 0.025

# pocketsphinx shows scores through exp(), that of a whole path in units of 1024 (its SENSCR_SHIFT).
_SCORE_UNIT = 1 << 10
_PAUSES = frozenset({"<s>", "</s>", "<sil>", "(NULL)", "[NOISE]", "[SPEECH]"})
_VARIANT = re.compile(r"\(\d+\)$")
# The search's width: noise keeps ten times more hypotheses alive than speech; this bounds what it costs.
_MAX_ACTIVE = 5000
# Digital silence has no logarithm; two tenths of a second of faint hiss on both sides are what the model
# expects.
_HISS_SAMPLES = 3200
_HISS = np.random.default_rng(0).normal(0.0, 2e-4, _HISS_SAMPLES).astype(np.float32)
_LONGER_THAN_A_BREATH = SPEECH_RATE_HZ * 1600 // 1000
#: The beginning is the caller's room, and not speech, where it is that much less loud than the whole.
_ROOM_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Heard:
    """The best path of one language model. Scores are nats per frame of speech."""

    text: str
    score: float = 0.0
    acoustic: float = 0.0
    phones_per_s: float = 0.0
    slow_share: float = 0.0
    confidence: float = 0.0

    @property
    def is_speech(self) -> bool:
        return (
            bool(self.text)
            and self.acoustic >= MIN_ACOUSTIC
            and (len(self.text.split()) > SHORT_WORDS or self._is_sure)
            and self.phones_per_s >= MIN_PHONES_PER_S
            and self.slow_share <= MAX_SLOW_SHARE
        )

    @property
    def _is_sure(self) -> bool:
        needed = CLEAR_CONFIDENCE if self.acoustic >= CLEAR_ACOUSTIC else MIN_CONFIDENCE
        return self.confidence >= needed

    @property
    def is_plain(self) -> bool:
        """Whether phrases fit so well that general English, three times as slow, need not be asked."""
        return self.is_speech and self.score > PLAIN_SCORE and len(self.text.split()) >= PLAIN_WORDS


NOTHING = Heard("")


class SphinxDecoder:
    """The stock model and any number of phrase sets. Not reentrant; about 100 MB, a phrase set 5 MB more."""

    def __init__(self) -> None:
        self._stock = Decoder(Config(loglevel="FATAL", maxhmmpf=_MAX_ACTIVE))
        self._sets: OrderedDict[tuple[str, ...], Decoder | None] = OrderedDict()

    def hear(self, audio: Samples, phrases: tuple[str, ...]) -> Heard:
        """Decide what was said in `audio`; `NOTHING` for noise, breath and silence."""
        expected = self.expect(audio, phrases)
        if expected.is_plain:
            return expected
        stock = self.expect(audio)
        if not stock.text:
            return NOTHING
        best = expected if expected.text and expected.score - stock.score > PHRASES_MARGIN else stock
        return best if best.is_speech else NOTHING

    def expect(self, audio: Samples, phrases: tuple[str, ...] | None = None) -> Heard:
        """The best path through `audio` of one model: that of `phrases`, or the stock one for None."""
        decoder = self._stock if phrases is None else self._phrase_decoder(phrases)
        if decoder is None:
            return NOTHING
        decoder.start_utt()
        framed = np.concatenate([_HISS, audio, _after(audio)])
        decoder.process_raw(to_int16(framed).tobytes(), full_utt=True)
        decoder.end_utt()
        return _best_path(decoder)

    def _phrase_decoder(self, phrases: tuple[str, ...]) -> Decoder | None:
        """The decoder of a phrase set, made if need be; None when the set holds no word."""
        if phrases not in self._sets:
            while len(self._sets) >= MAX_PHRASE_SETS:
                self._sets.popitem(last=False)
            self._sets[phrases] = self._make(sentences(phrases))
        self._sets.move_to_end(phrases)
        return self._sets[phrases]

    def _make(self, wanted: tuple[tuple[str, ...], ...]) -> Decoder | None:
        lines: dict[str, list[str]] = {word: self._pronunciations(word) for words in wanted for word in words}
        if missing := sorted(word for word, found in lines.items() if not found):
            pronounce = pronouncer()
            lines.update({word: [f"{word} {phones}"] for word in missing if (phones := pronounce(word))})
        known = tuple(words for words in wanted if all(lines[word] for word in words))
        if not known:
            return None
        with tempfile.TemporaryDirectory() as folder:
            # A dictionary of these words alone: made in 10 ms, where the whole one takes 800 for every set.
            dictionary, model = Path(folder) / "phrases.dict", Path(folder) / "phrases.arpa"
            entries = sorted({line for words in known for word in words for line in lines[word]})
            dictionary.write_text("\n".join(entries) + "\n", encoding="utf-8")
            model.write_text(trigram_arpa(known), encoding="utf-8")
            return Decoder(Config(loglevel="FATAL", dict=str(dictionary), lm=str(model)))

    def _pronunciations(self, word: str) -> list[str]:
        """The lines of the stock dictionary for `word`: ``a AH``, ``a(2) EY``."""
        lines: list[str] = []
        entry = word
        while phones := self._stock.lookup_word(entry):
            lines.append(f"{entry} {phones}")
            entry = f"{word}({len(lines) + 1})"
        return lines


def _after(audio: Samples) -> Samples:
    """What follows the last word, of whose silence there is next to nothing yet: more of the caller's room.

    Where its noise ended with the word, the word was often misheard: "my fellow Americans" 8 of 18 times, and
    3 with the room behind it. A breath is not helped to sound like a word: it gets none.
    """
    room = audio[_HISS_SAMPLES - 1 :: -1]
    if len(audio) < _LONGER_THAN_A_BREATH or _level(room) > _ROOM_SHARE * _level(audio):
        return _HISS
    return room + _HISS


def _level(audio: Samples) -> float:
    return float(np.sqrt(np.dot(audio, audio) / len(audio)))


def _best_path(decoder: Decoder) -> Heard:
    best = decoder.hyp()
    if best is None or not best.hypstr:
        return NOTHING
    words: list[str] = []
    acoustic = 0.0
    frames = slow_frames = phones = 0
    for segment in decoder.seg():
        if segment.word in _PAUSES:
            continue
        length = segment.end_frame - segment.start_frame + 1
        sounds = len((decoder.lookup_word(segment.word) or "").split()) or 1
        words.append(_VARIANT.sub("", segment.word))
        acoustic += _nats(segment.ascore)
        frames += length
        phones += sounds
        slow_frames += length if length > SLOW_PHONE_FRAMES * sounds else 0
    if not words:
        return NOTHING
    return Heard(
        text=" ".join(words),
        score=_SCORE_UNIT * _nats(best.score) / frames,
        acoustic=acoustic / frames,
        phones_per_s=phones * FRAME_RATE_HZ / frames,
        slow_share=slow_frames / frames,
        confidence=min(1.0, max(best.prob, 1e-300) ** (1 / len(words))),
    )


class SphinxCaptioner:
    """A decoder that follows one utterance while it is spoken, with the stock model. Not reentrant."""

    def __init__(self) -> None:
        # One cheap pass: captions are replaced by the decoding of the whole utterance.
        self._decoder = Decoder(Config(loglevel="FATAL", maxhmmpf=2000, fwdflat=False, bestpath=False))
        self._open = False

    def begin(self, audio: Samples) -> str:
        """Forget the utterance before; return the text of a new one that starts with `audio`."""
        if self._open:
            self._decoder.end_utt()
        self._decoder.start_utt()
        self._open = True
        return self.follow(audio)

    def follow(self, audio: Samples) -> str:
        """The text so far, `audio` being what came since the last time."""
        self._decoder.process_raw(to_int16(audio).tobytes())
        best = self._decoder.hyp()
        return best.hypstr if best is not None else ""


def _nats(score: float) -> float:
    return math.log(max(score, 1e-300))
