"""The recognition of one segment, with everything that has nothing to do with how an engine recognises.

Nothing is recognised twice. A result stands for as long as nothing more was said: silence adds nothing.
Whoever asks while a job for the same words is at work shares it, and whoever asks while one waits makes it
run sooner: a job takes the audio there is when it starts, so a newer request never queues behind an older one
of its own segment. What was said before a pause in long speech is recognised once and kept.

Recognition begins before anybody asks, with the first window of silence: much of what it costs is over when
turn-taking has made up its mind that this is a pause.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineError
from pipelines.jobs import Job, JobDroppedError, JobQueue
from pipelines.stt.base import Transcript
from pipelines.stt.buffer import SegmentBuffer
from pipelines.stt.speech_track import PADDING_SAMPLES, Span, SpeechTrack, pieces

_ASKED = Counter(
    "voice_agent_stt_requests_total",
    "Transcripts asked for, by what answered: silent (there was no speech), known (recognised before), "
    "shared (by a job at work), new (by a job of its own)",
    ["answer"],
)

_TOO_FAST = Counter(
    "voice_agent_stt_too_fast_total", "Transcripts with more letters than anybody says in so little speech"
)

#: Nobody says more in a second, in speech no longer than this: what is found then is no words but what a
#: recogniser makes of a chord or a bell. In 281 recordings, each at six places, there are 21 at most; the
#: "Thank you." of a tune has 28 to 36.
MAX_LETTERS_PER_S, SHORT_SPEECH_S = 25.0, 0.5

#: Recognition begins by itself after this much silence, the least that can be seen: one window.
AHEAD_SAMPLES = 512
#: It does not where the last one took longer: it would be in the way of whoever asks next.
MAX_AHEAD_S = 0.6

NOTHING = Transcript("")


@dataclass(eq=False, slots=True)
class _Flight:
    """One job of a segment, and how many wait for it."""

    job: Job[Transcript] = field(init=False)
    waiters: int = 0
    #: The end of speech in the audio it took; None until it starts.
    speech_end: int | None = None
    #: Only a caption waits for it …
    is_caption: bool = False
    #: … and somebody who needs the words has come since.
    is_replaced: bool = False


class SegmentRecognition(ABC):
    """See `Recognition`. An engine adds how it hears a piece of speech, and what it shows as a caption."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._audio = SegmentBuffer()
        self._track = SpeechTrack()
        self._closed = False
        self._flights: list[_Flight] = []
        # Between the loop, which asks, and the threads, which take the audio there is when they start.
        self._lock = threading.Lock()
        #: The newest result, and the end of the speech that it knows.
        self._known: tuple[int, Transcript] = (0, NOTHING)
        #: Results of the pieces that are over.
        self._kept: dict[Span, Transcript] = {}
        self._took_s = 0.0

    @abstractmethod
    def _hear(self, audio: Samples, go_on: Callable[[], None]) -> Transcript:
        """Recognise one piece of speech, on a thread of the queue.

        `go_on` raises when nobody wants the result any more; it is called where stopping is possible.
        """

    @abstractmethod
    async def partial(self) -> str:
        """See `Recognition`."""

    def feed(self, samples: Samples) -> None:
        self._track.feed(self._audio.append(samples))
        if self._track.has_speech and self._track.silence == AHEAD_SAMPLES:
            self._start_ahead()

    async def transcribe(self, *, decisive: bool, rough: bool = False) -> Transcript:  # noqa: ARG002
        """See `Recognition`. An engine that has something rough at hand adds that."""
        return await self._ask(decisive=decisive)

    async def _ask(self, *, decisive: bool, is_caption: bool = False) -> Transcript:
        if self._closed:
            raise EngineError("this recognition is closed")
        if not self._track.has_speech:
            _ASKED.labels("silent").inc()
            return NOTHING
        known_end, known = self._known
        if known_end == self._track.end:
            _ASKED.labels("known").inc()
            return known
        flight = self._join(decisive=decisive, is_caption=is_caption)
        flight.waiters += 1
        try:
            return await flight.job.wait()
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                self._jobs.drop(flight.job)

    def close(self) -> None:
        self._closed = True
        for flight in self._flights:
            self._jobs.drop(flight.job)
        self._audio.clear()

    def _join(self, *, decisive: bool, is_caption: bool) -> _Flight:
        """A job that will know everything said so far: one that is there, or a new one."""
        self._flights = [flight for flight in self._flights if not flight.job.result.done()]
        with self._lock:
            fitting = [one for one in self._flights if one.speech_end in (None, self._track.end)]
        if not fitting:
            _ASKED.labels("new").inc()
            for other in self._flights:
                other.is_replaced = other.is_caption and not is_caption
            flight = self._start(decisive=decisive)
            flight.is_caption = is_caption
            return flight
        _ASKED.labels("shared").inc()
        if decisive:
            self._jobs.hurry(fitting[0].job)
        fitting[0].is_caption &= is_caption
        return fitting[0]

    def _start(self, *, decisive: bool) -> _Flight:
        flight = _Flight()
        flight.job = self._jobs.submit(lambda: self._run(flight), decisive=decisive)
        self._flights.append(flight)
        return flight

    def _start_ahead(self) -> None:
        if self._closed or self._took_s > MAX_AHEAD_S or not self._jobs.is_free:
            return
        try:
            self._start(decisive=False)
        except EngineError:
            # The engine is closing: whoever asks for a transcript is told so, feeding is no asking.
            return

    # ---- on a thread of the queue

    def _run(self, flight: _Flight) -> Transcript:
        with self._lock:
            flight.speech_end = end = self._track.end
        pauses, start = self._track.pauses, self._track.start or 0

        def go_on() -> None:
            is_stale = not flight.waiters and self._track.end > end
            if self._closed or is_stale or flight.is_replaced:
                raise JobDroppedError("nobody waits for this any more")

        if not flight.waiters and self._track.speaking:
            raise JobDroppedError("begun too late: there is more speech already")
        began = time.monotonic()
        *over, last = pieces(start, end, pauses)
        for piece in over:
            if piece not in self._kept:
                self._kept[piece] = self._hear_piece(piece, pauses, go_on)
        whole = _joined([*(self._kept[piece] for piece in over), self._hear_piece(last, pauses, go_on)])
        self._took_s = time.monotonic() - began
        with self._lock:
            if end > self._known[0]:
                self._known = (end, whole)
        return whole

    def _hear_piece(self, piece: Span, pauses: tuple[Span, ...], go_on: Callable[[], None]) -> Transcript:
        audio = self._padded(piece, pauses)
        # Only now: a segment that was closed meanwhile has no audio any more.
        go_on()
        heard = self._hear(audio, go_on)
        speech_s = (piece.end - piece.start) / SPEECH_RATE_HZ
        letters = sum(map(str.isalnum, heard.text))
        if speech_s <= SHORT_SPEECH_S and letters > MAX_LETTERS_PER_S * speech_s:
            _TOO_FAST.inc()
            return NOTHING
        return heard

    def _padded(self, piece: Span, pauses: tuple[Span, ...]) -> Samples:
        """The piece and some silence around it, but nothing of its neighbours."""
        start, end = piece.start - PADDING_SAMPLES, piece.end + PADDING_SAMPLES
        for pause in pauses:
            middle = (pause.start + pause.end) // 2
            start = max(start, middle) if pause.end == piece.start else start
            end = min(end, middle) if pause.start == piece.end else end
        return self._audio.since(max(0, start), end)


def _joined(transcripts: list[Transcript]) -> Transcript:
    """One transcript of the pieces; as sure as the words in it are on average."""
    spoken = [transcript for transcript in transcripts if transcript.text]
    if len(spoken) < 2:
        return spoken[0] if spoken else NOTHING
    sure = [(t.confidence, len(t.text)) for t in spoken if t.confidence is not None]
    logs = sum(math.log(max(confidence, 1e-9)) * length for confidence, length in sure)
    confidence = math.exp(logs / sum(length for _, length in sure)) if sure else None
    return Transcript(" ".join(t.text for t in spoken), confidence, spoken[0].language)
