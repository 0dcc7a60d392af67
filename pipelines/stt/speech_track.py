"""Where in a segment somebody speaks, found window by window as the audio comes.

A recogniser needs it three times: not to run on what holds no speech, to know that nothing was said since it
ran last, and to cut long speech where nobody speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.vad import PLAIN_PROBABILITY, WINDOW_SAMPLES, SileroVad, Windows

#: A window over the first is speech; speech lasts until one under the second (Silero's own defaults, a tenth
#: lower: here a missed word costs more than a window of noise).
SPEECH_PROBABILITY = 0.4
SILENCE_PROBABILITY = 0.25
#: Speech begins with so many windows in a row. A single one is a horn, a bell or a chord that happens to fall
#: so: no word is that short, and Whisper makes one of it.
ONSET_WINDOWS = 2
#: So little sound that is plainly speech in none of its windows is none: a tune can have 0.22 s of it. The
#: shortest word in 281 recordings, each at six places, has 0.29 s.
MIN_UNSURE_SAMPLES = SPEECH_RATE_HZ * 250 // 1000
#: Silence within speech from so long on is kept as a place to cut at.
MIN_PAUSE_SAMPLES = SPEECH_RATE_HZ * 200 // 1000


@dataclass(frozen=True, slots=True)
class Span:
    """Samples `start` to `end` of a segment."""

    start: int
    end: int


class SpeechTrack:
    """The speech of one segment. Fed by one thread; what it knows may be read by any. 0.1 ms a window."""

    def __init__(self) -> None:
        self._vad = SileroVad()
        self._windows = Windows()
        self._position = 0
        self._voiced = 0
        self._surest = 0.0
        #: First sample of speech; None while there was none.
        self.start: int | None = None
        #: The sample after the last one of speech; grows and never shrinks. 0 while there was none.
        self.end = 0
        #: Whether the last window was speech.
        self.speaking = False
        #: The pauses between the speech so far, as long as `MIN_PAUSE_SAMPLES` or longer.
        self.pauses: tuple[Span, ...] = ()

    @property
    def has_speech(self) -> bool:
        """Whether there was any that is worth a look."""
        is_long = self.end - (self.start or 0) >= MIN_UNSURE_SAMPLES
        return self.end > 0 and (is_long or self._surest >= PLAIN_PROBABILITY)

    @property
    def silence(self) -> int:
        """Samples since the end of speech that are known to be none."""
        return self._position - self.end

    def feed(self, samples: Samples) -> None:
        """Take what comes next."""
        for window in self._windows.split(samples):
            self._take(self._vad.probability(window))

    def _take(self, probability: float) -> None:
        began = self._position
        self._position += WINDOW_SAMPLES
        self._surest = max(self._surest, probability)
        self.speaking = probability >= (SILENCE_PROBABILITY if self.speaking else SPEECH_PROBABILITY)
        self._voiced = self._voiced + 1 if self.speaking else 0
        if not self.speaking or (self.start is None and self._voiced < ONSET_WINDOWS):
            return
        if self.start is None:
            self.start = self._position - ONSET_WINDOWS * WINDOW_SAMPLES
        elif began - self.end >= MIN_PAUSE_SAMPLES:
            self.pauses = (*self.pauses, Span(self.end, began))
        self.end = self._position


#: Speech that fits into Whisper's shortest window with its margin is recognised in one piece.
MAX_PIECE_SAMPLES = 12 * SPEECH_RATE_HZ
#: A shorter piece has too little around its words to be understood by.
MIN_PIECE_SAMPLES = 3 * SPEECH_RATE_HZ
#: Silence that is left on both sides of a piece, where there is so much. Before the words it is the length
#: with which the fewest of 280 recordings are misheard (26 at five places each; with 100, 200, 300 and 600 ms
#: 32, 31, 28 and 30).
PADDING_SAMPLES = SPEECH_RATE_HZ * 400 // 1000


def pieces(start: int, end: int, pauses: tuple[Span, ...]) -> list[Span]:
    """Speech from `start` to `end`, cut in pauses into pieces that can be recognised one by one.

    Only what is longer than `MAX_PIECE_SAMPLES` is cut, in the longest pause at which the piece is neither
    too short nor too long, else in the next one after that. More speech changes nothing about any piece but
    the last. Cutting where nobody speaks is what batch recognisers do (Bain et al., WhisperX, 2023): they
    found it no worse than windows of a fixed length.
    """
    found: list[Span] = []
    while end - start > MAX_PIECE_SAMPLES:
        late_enough = [pause for pause in pauses if pause.start - start >= MIN_PIECE_SAMPLES]
        early_enough = [pause for pause in late_enough if pause.start - start <= MAX_PIECE_SAMPLES]
        if early_enough:
            cut = max(early_enough, key=lambda pause: pause.end - pause.start)
        elif late_enough:
            cut = late_enough[0]
        else:
            break
        found.append(Span(start, cut.start))
        start = cut.end
    return [*found, Span(start, end)]
