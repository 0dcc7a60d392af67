from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import REGISTRY

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineError
from pipelines.jobs import JobDroppedError
from pipelines.stt.base import Transcript
from pipelines.stt.segment import AHEAD_SAMPLES, SHORT_SPEECH_S
from pipelines.stt.speech_track import MAX_PIECE_SAMPLES
from pipelines.stt.whisper import WhisperEngine, WhisperRecognition
from pipelines.vad import WINDOW_SAMPLES

Recording = Callable[[str], Samples]

WEATHER = "callers/what-is-the-weather-in-berlin.wav"


class Watched(WhisperRecognition):
    """Real recognition that can be held up, and says what it was given."""

    def __init__(self, engine: WhisperEngine) -> None:
        super().__init__(engine, "en")
        self.heard_samples: list[int] = []
        self.at_work = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def _hear(self, audio: Samples, go_on: Callable[[], None]) -> Transcript:
        self.at_work.set()
        assert self.may_go_on.wait(30)
        go_on()
        self.heard_samples.append(len(audio))
        return super()._hear(audio, go_on)

    def feed_windows(self, samples: Samples) -> None:
        for start in range(0, len(samples), WINDOW_SAMPLES):
            self.feed(samples[start : start + WINDOW_SAMPLES])

    async def is_at_work(self) -> None:
        assert await asyncio.to_thread(self.at_work.wait, 30)


@pytest.fixture
def watched(whisper: WhisperEngine) -> Watched:
    return Watched(whisper)


def silence(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 2e-4, int(seconds * SPEECH_RATE_HZ)).astype(np.float32)


def asked(answer: str) -> float:
    return REGISTRY.get_sample_value("voice_agent_stt_requests_total", {"answer": answer}) or 0.0


async def test_silence_after_speech_is_no_reason_to_recognise_again(
    watched: Watched, recording: Recording
) -> None:
    watched.feed(recording(WEATHER))
    watched.feed(silence(0.2))
    first = await watched.transcribe(decisive=False)
    known = asked("known")
    watched.feed(silence(0.5))
    assert await watched.transcribe(decisive=True) is first
    assert asked("known") == known + 1
    assert len(watched.heard_samples) == 1


async def test_more_speech_is_a_reason(watched: Watched, recording: Recording) -> None:
    watched.feed(recording("callers/hello.wav"))
    watched.feed(silence(0.3))
    assert (await watched.transcribe(decisive=False)).text == "Hello."
    watched.feed(recording(WEATHER))
    assert (await watched.transcribe(decisive=True)).text != "Hello."


async def test_recognition_begins_with_the_first_silence_before_anybody_asks(
    watched: Watched, recording: Recording
) -> None:
    watched.feed_windows(recording(WEATHER))
    watched.feed_windows(silence(0.2))
    await watched.is_at_work()
    assert (await watched.transcribe(decisive=True)).text == "What is the weather in Berlin?"
    assert watched.heard_samples == [pytest.approx(len(recording(WEATHER)), abs=SPEECH_RATE_HZ)]


async def test_all_who_ask_for_the_same_words_share_one_job(watched: Watched, recording: Recording) -> None:
    watched.may_go_on.clear()
    watched.feed(recording(WEATHER))
    watched.feed(silence(0.2))
    guess = asyncio.create_task(watched.transcribe(decisive=False))
    await watched.is_at_work()
    shared = asked("shared")
    sure = asyncio.create_task(watched.transcribe(decisive=True))
    await asyncio.sleep(0)
    assert asked("shared") == shared + 1
    guess.cancel()
    watched.may_go_on.set()
    assert (await sure).text == "What is the weather in Berlin?"
    assert len(watched.heard_samples) == 1


async def test_a_job_that_waits_takes_what_is_said_meanwhile(
    whisper: WhisperEngine, watched: Watched, recording: Recording
) -> None:
    """The older request and the newer one get the newest text, from one job."""
    opened = threading.Event()
    holding = [whisper._jobs.submit(lambda: opened.wait(30), decisive=True) for _ in range(2)]
    speech = recording(WEATHER)
    watched.feed(speech[: len(speech) // 2])
    older = asyncio.create_task(watched.transcribe(decisive=False))
    await asyncio.sleep(0)
    watched.feed(speech[len(speech) // 2 :])
    newer = asyncio.create_task(watched.transcribe(decisive=True))
    await asyncio.sleep(0)
    opened.set()
    assert await older is await newer
    assert (await newer).text == "What is the weather in Berlin?"
    assert len(watched.heard_samples) == 1
    await asyncio.gather(*(job.wait() for job in holding))


async def test_what_nobody_waits_for_stops_when_people_speak_on(
    watched: Watched, recording: Recording
) -> None:
    watched.may_go_on.clear()
    watched.feed_windows(recording(WEATHER))
    watched.feed_windows(silence(0.1))
    await watched.is_at_work()
    (flight,) = watched._flights
    watched.feed_windows(recording("callers/hello.wav"))
    watched.may_go_on.set()
    with pytest.raises(JobDroppedError):
        await flight.job.wait()


async def test_a_caption_gives_way_to_whoever_needs_the_words(watched: Watched, recording: Recording) -> None:
    watched.may_go_on.clear()
    speech = recording(WEATHER)
    watched.feed(speech[: len(speech) // 2])
    caption = asyncio.create_task(watched.partial())
    await watched.is_at_work()
    watched.feed(speech[len(speech) // 2 :])
    words = asyncio.create_task(watched.transcribe(decisive=False))
    await asyncio.sleep(0)
    watched.may_go_on.set()
    assert (await words).text == "What is the weather in Berlin?"
    assert await caption == ""
    assert len(watched.heard_samples) == 1


async def test_a_closed_segment_stops_its_job(watched: Watched, recording: Recording) -> None:
    watched.may_go_on.clear()
    watched.feed(recording(WEATHER))
    waiting = asyncio.create_task(watched.transcribe(decisive=True))
    await watched.is_at_work()
    watched.close()
    watched.may_go_on.set()
    with pytest.raises(JobDroppedError):
        await waiting
    with pytest.raises(EngineError, match="closed"):
        await watched.transcribe(decisive=True)


async def test_long_speech_is_recognised_piece_by_piece(watched: Watched, recording: Recording) -> None:
    speech = recording("speech/jfk.wav")
    watched.feed(speech)
    watched.feed(silence(0.4))
    await watched.transcribe(decisive=False)
    assert len(watched.heard_samples) == 1
    watched.feed(speech)
    watched.feed(silence(0.4))
    await watched.transcribe(decisive=False)
    before = len(watched.heard_samples)
    watched.feed(recording("callers/hello.wav"))
    watched.feed(silence(0.4))
    text = (await watched.transcribe(decisive=True)).text
    # Only the last piece was recognised anew.
    assert len(watched.heard_samples) == before + 1
    assert watched.heard_samples[-1] < MAX_PIECE_SAMPLES + SPEECH_RATE_HZ
    assert "ask not what your country can do for you" in text.lower()


async def test_noise_is_nobody_speaking(watched: Watched, recording: Recording) -> None:
    watched.feed(recording("noise/engine_idling.wav")[: 3 * SPEECH_RATE_HZ])
    silent = asked("silent")
    assert await watched.transcribe(decisive=True) == Transcript("")
    assert asked("silent") == silent + 1
    assert watched.heard_samples == []


async def test_more_words_than_anybody_says_so_fast_are_none(
    whisper: WhisperEngine, recording: Recording
) -> None:
    """A recogniser that makes a sentence of whatever is there, as Whisper does of tunes."""

    class Inventive(WhisperRecognition):
        said = "Thank you very much."

        def _hear(self, audio: Samples, go_on: Callable[[], None]) -> Transcript:
            return Transcript(self.said)

    hello = recording("callers/hello.wav")
    recognition = Inventive(whisper, "en")
    recognition.feed(np.concatenate([hello, silence(0.3)]))
    assert recognition._track.end - (recognition._track.start or 0) <= SHORT_SPEECH_S * SPEECH_RATE_HZ
    refused = REGISTRY.get_sample_value("voice_agent_stt_too_fast_total") or 0.0
    assert (await recognition.transcribe(decisive=True)).text == ""
    assert REGISTRY.get_sample_value("voice_agent_stt_too_fast_total") == refused + 1
    recognition.said = "Hello."
    recognition.feed(np.concatenate([hello, silence(0.3)]))
    assert (await recognition.transcribe(decisive=True)).text == "Hello."


def test_recognition_begins_with_the_least_silence_that_can_be_seen() -> None:
    assert AHEAD_SAMPLES == WINDOW_SAMPLES
