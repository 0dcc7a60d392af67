from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from piper import PiperVoice
from rapidfuzz.distance import Levenshtein

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineError
from pipelines.llm.scripted import UNDERSTOOD_PHRASES
from pipelines.models import ModelStore
from pipelines.options import SttOptions
from pipelines.stt.sphinx import MAX_CAPTIONERS, SphinxEngine
from pipelines.stt.sphinx_phrases import phones_of, pronouncer, sentences, trigram_arpa, words_of

Say = Callable[[str], Awaitable[Samples]]
Recording = Callable[[str], Samples]


async def hear(engine: SphinxEngine, audio: Samples, phrases: tuple[str, ...] = UNDERSTOOD_PHRASES) -> str:
    recognition = engine.recognise(language="en", phrases=phrases)
    recognition.feed(audio)
    try:
        return (await recognition.transcribe(decisive=True)).text
    finally:
        recognition.close()


def word_error_rate(pairs: list[tuple[str, str]]) -> float:
    """Errors over words; `pairs` are what was said and what was heard."""
    said = [words_of(text) for text, _ in pairs]
    errors = sum(
        Levenshtein.distance(words, words_of(heard)) for words, (_, heard) in zip(said, pairs, strict=True)
    )
    return errors / sum(map(len, said))


@pytest.mark.parametrize("text", ["what is twelve times three", "tell me another joke", "what day is it"])
async def test_expected_sentences_are_heard_to_the_word(sphinx: SphinxEngine, say: Say, text: str) -> None:
    assert await hear(sphinx, await say(text)) == text


async def test_other_sentences_are_not_forced_into_a_phrase(sphinx: SphinxEngine, say: Say) -> None:
    text = "who won the football game last night"
    heard = await hear(sphinx, await say(text))
    assert heard == await hear(sphinx, await say(text), ())
    assert word_error_rate([(text, heard)]) < 0.3


async def test_callers_are_heard(
    sphinx: SphinxEngine, callers: list[dict[str, str]], recording: Recording
) -> None:
    phrases = (*UNDERSTOOD_PHRASES, *(caller["text"] for caller in callers))
    heard = await asyncio.gather(*(hear(sphinx, recording(c["file"]), phrases) for c in callers[:16]))
    assert word_error_rate([(c["text"], h) for c, h in zip(callers, heard, strict=False)]) <= 0.03


async def test_people_who_say_something_else_are_heard_as_the_stock_model_hears_them(
    sphinx: SphinxEngine, recording: Recording
) -> None:
    said = {
        "austen-0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
        "cards-005": "eight of spades four of clubs seven of hearts",
        "platforms-en": "today only platforms one and three are used",
    }
    heard = await asyncio.gather(*(hear(sphinx, recording(f"speech/{name}.wav")) for name in said))
    assert word_error_rate(list(zip(said.values(), heard, strict=True))) < 0.3


@pytest.mark.parametrize("name", ["car_horn", "dog_bark", "engine_idling", "ringing_phone"])
async def test_noise_says_nothing(sphinx: SphinxEngine, recording: Recording, name: str) -> None:
    assert await hear(sphinx, recording(f"noise/{name}.wav")) == ""


async def test_babble_in_the_background_says_nothing(sphinx: SphinxEngine, recording: Recording) -> None:
    babble = recording("noise/people_talking.wav")
    assert await hear(sphinx, babble[: 4 * SPEECH_RATE_HZ]) == ""


@pytest.mark.parametrize("loudness", [0.0, 1e-4, 1e-2, 0.3])
async def test_hiss_says_nothing(sphinx: SphinxEngine, loudness: float) -> None:
    hiss = np.random.default_rng(1).normal(0, 1, SPEECH_RATE_HZ).astype(np.float32) * loudness
    assert await hear(sphinx, hiss) == ""


@pytest.mark.parametrize("word", ["yes", "no", "stop", "goodbye"])
async def test_one_word_is_heard(sphinx: SphinxEngine, recording: Recording, word: str) -> None:
    assert await hear(sphinx, recording(f"callers/{word}.wav")) == word


async def test_one_word_is_heard_of_another_voice(sphinx: SphinxEngine, models_folder: Path) -> None:
    voice = PiperVoice.load(models_folder / "piper-rms-30mb.onnx")
    quiet = np.random.default_rng(0).normal(0, 2e-4, 6400).astype(np.float32)
    words = ["yes", "no", "four", "stop", "wait"]
    heard = []
    for word in words:
        (spoken,) = voice.synthesize(f"{word}.")
        heard.append(await hear(sphinx, np.concatenate([quiet, spoken.audio_float_array, quiet])))
    assert heard == words


async def test_rough_words_of_long_speech_are_the_caption(sphinx: SphinxEngine, say: Say) -> None:
    recognition = sphinx.recognise(language="en")
    recognition.feed((await say("my name is david and can you hear me tell me another joke"))[:32000])
    rough = await recognition.transcribe(decisive=False, rough=True)
    assert rough.text == recognition._caption != ""
    recognition.close()


async def test_what_is_asked_for_at_a_pause_is_never_the_caption(sphinx: SphinxEngine, say: Say) -> None:
    # Others may see the pause before this recognition's own detector does.
    recognition = sphinx.recognise(language="en")
    audio = await say("my name is david and can you hear me tell me another joke")
    recognition.feed(audio[: 2 * SPEECH_RATE_HZ])
    while not recognition._track.speaking:
        recognition.feed(audio[len(recognition._audio) :][:512])
    await recognition.transcribe(decisive=False)
    assert recognition._caption == ""
    recognition.close()


async def test_captions_grow_while_people_speak(sphinx: SphinxEngine, say: Say) -> None:
    audio = await say("my name is david and can you hear me")
    recognition = sphinx.recognise(language="en")
    captions = []
    for start in range(0, len(audio), 8000):
        recognition.feed(audio[start : start + 8000])
        captions.append(await recognition.partial())
    recognition.close()
    assert len(set(captions)) > 2
    assert "my name is" in captions[-1]


async def test_one_segment_more_than_there_are_captioners_goes_without(
    sphinx: SphinxEngine, say: Say
) -> None:
    audio = await say("my name is david")
    crowd = [sphinx.recognise(language="en") for _ in range(MAX_CAPTIONERS + 1)]
    captions = []
    for recognition in crowd:
        recognition.feed(audio)
        captions.append(await recognition.partial())
    assert all(captions[:-1])
    assert captions[-1] == ""
    crowd[0].close()
    assert await crowd[-1].partial() == captions[0]
    for recognition in crowd:
        recognition.close()


async def test_the_event_loop_runs_while_it_decodes(sphinx: SphinxEngine, say: Say) -> None:
    audio = np.resize(await say("who won the football game last night"), 4 * SPEECH_RATE_HZ)
    task = asyncio.create_task(hear(sphinx, audio))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    # A decoder in this process would leave a handful.
    assert turns > 50


async def test_a_process_that_dies_is_reported_and_replaced(store: ModelStore, say: Say) -> None:
    engine = await SphinxEngine.load(SttOptions(workers=1), models=store, reason="under test")
    try:
        first = engine._processes[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineError, match="process died"):
            await hear(engine, await say("tell me a joke"))
        assert await hear(engine, await say("tell me a joke")) == "tell me a joke"
        assert engine._processes[0].pid not in (None, first)
    finally:
        await engine.close()


async def test_words_the_dictionary_lacks_are_pronounced(sphinx: SphinxEngine, say: Say) -> None:
    text = "call doctor zylberstein at kubernetes"
    assert await hear(sphinx, await say(text), (*UNDERSTOOD_PHRASES, text)) == text


def test_pronunciations_use_the_phones_of_the_dictionary() -> None:
    pronounce = pronouncer()
    assert pronounce("kitchen").split()[0] == "K"
    assert pronounce("zylberstein").split()[-1] == "N"
    assert phones_of("") == ""


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("What's the time?", ["what's", "the", "time"]),
        ("Gate 42!", ["gate", "four", "two"]),
        ("‘Quoted’ – and: dashed", ["quoted", "and", "dashed"]),
        ("…", []),
    ],
)
def test_phrases_become_words_of_the_dictionary(phrase: str, words: list[str]) -> None:
    assert words_of(phrase) == words


def test_a_language_model_of_the_sentences() -> None:
    known = sentences(["Hello there.", "hello there", "", "Good morning"])
    assert known == (("hello", "there"), ("good", "morning"))
    arpa = trigram_arpa(known)
    assert "ngram 3=4" in arpa
    assert "<s> hello there" in arpa
