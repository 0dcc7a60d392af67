"""What every registered engine must do, whoever wrote it.

An engine joins by its registration: the tests run over all names in the entry points. One that needs weights
or an endpoint gets them from `options`; it is skipped with the reason where they are not there.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import ChatServer

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.base import EngineBusyError, EngineError, EngineInfo, EngineKind, EngineUnavailableError
from pipelines.engines import engine_class, engine_names
from pipelines.llm.base import LanguageModel, Message, TextDelta
from pipelines.models import ModelStore
from pipelines.options import LlmOptions, SttOptions, TtsOptions
from pipelines.stt.base import SpeechToText, Transcript
from pipelines.stt.buffer import MAX_SEGMENT_SAMPLES
from pipelines.tts.base import TextToSpeech

HELLO = (Message("system", "Be brief."), Message("user", "hello"))


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The options under which an engine can run here; more can be given."""

    def make(kind: EngineKind, name: str, **more: Any) -> Any:
        if kind == "stt":
            if name == "faster-whisper":
                more["model"] = str(request.getfixturevalue("models_folder") / "whisper-mini-en")
            return SttOptions(engine=name, **more)
        if kind == "tts":
            return TtsOptions(engine=name, voice="builtin", **more)
        chat: ChatServer = request.getfixturevalue("chat")
        return LlmOptions(engine=name, base_url=chat.url, model="echo", **more)

    return make


async def load(
    kind: EngineKind, name: str, options: Callable[..., Any], store: ModelStore, **more: Any
) -> Any:
    return await engine_class(kind, name).load(options(kind, name, **more), models=store, reason="under test")


def good_info(info: EngineInfo, kind: EngineKind, name: str) -> bool:
    return (info.kind, info.engine, info.reason) == (kind, name, "under test") and bool(info.model)


# ---- recognisers


@pytest.fixture(scope="module", params=engine_names("stt"))
def stt(request: pytest.FixtureRequest, options: Any, store: ModelStore) -> Iterator[SpeechToText]:
    engine = asyncio.run(load("stt", request.param, options, store, workers=2, max_queue=4))
    assert good_info(engine.info, "stt", request.param)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture
async def hello(say: Callable[[str], Awaitable[Samples]]) -> Samples:
    return await say("Good morning.")


async def test_stt_hears_and_may_be_asked_again(stt: SpeechToText, hello: Samples) -> None:
    recognition = stt.recognise(language="en", phrases=("good morning", "good evening"))
    for start in range(0, len(hello), 512):
        recognition.feed(hello[start : start + 512])
    assert isinstance(await recognition.partial(), str)
    first = await recognition.transcribe(decisive=False)
    again = await recognition.transcribe(decisive=True)
    assert first.text == again.text != ""
    assert first.confidence is None or 0.0 <= first.confidence <= 1.0
    recognition.close()


async def test_stt_goes_on_after_a_pause(stt: SpeechToText, hello: Samples) -> None:
    recognition = stt.recognise(language="en", phrases=("good morning",))
    recognition.feed(hello)
    short = await recognition.transcribe(decisive=False)
    recognition.feed(np.zeros(8000, np.float32))
    recognition.feed(hello)
    assert len((await recognition.transcribe(decisive=True)).text) > len(short.text)
    recognition.close()


@pytest.mark.parametrize("samples", [0, 1, 160, SPEECH_RATE_HZ])
async def test_stt_hears_nothing_in_silence(stt: SpeechToText, samples: int) -> None:
    recognition = stt.recognise(language=None)
    recognition.feed(np.zeros(samples, np.float32))
    assert (await recognition.partial()) == ""
    assert (await recognition.transcribe(decisive=True)).text == ""
    recognition.close()


async def test_stt_takes_more_than_it_can_hold(stt: SpeechToText, hello: Samples) -> None:
    recognition = stt.recognise(language="en")
    recognition.feed(np.pad(hello, (0, 2 * MAX_SEGMENT_SAMPLES)))
    assert (await recognition.transcribe(decisive=True)).text
    recognition.close()


async def test_stt_keeps_concurrent_segments_apart(stt: SpeechToText, hello: Samples) -> None:
    alone = stt.recognise(language="en", phrases=("good morning",))
    alone.feed(hello)
    expected = (await alone.transcribe(decisive=True)).text
    many = [stt.recognise(language="en", phrases=("good morning",)) for _ in range(6)]
    for recognition in many[::2]:
        recognition.feed(hello)
    texts = await asyncio.gather(*(recognition.transcribe(decisive=True) for recognition in many))
    assert [text.text for text in texts] == [expected, ""] * 3


async def test_stt_forgets_a_cancelled_job(stt: SpeechToText, hello: Samples) -> None:
    recognition = stt.recognise(language="en", phrases=("good morning",))
    recognition.feed(hello)
    task = asyncio.create_task(recognition.transcribe(decisive=False))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await recognition.transcribe(decisive=True)).text
    recognition.close()


async def test_stt_refuses_what_its_queue_cannot_hold(stt: SpeechToText, hello: Samples) -> None:
    crowd = [stt.recognise(language="en") for _ in range(12)]
    for recognition in crowd:
        recognition.feed(hello)
    results = await asyncio.gather(
        *(recognition.transcribe(decisive=False) for recognition in crowd), return_exceptions=True
    )
    refused = sum(isinstance(result, EngineBusyError) for result in results)
    # Six have room; one less where a call that was cancelled before is still being computed.
    assert refused in {6, 7, 8}
    assert sum(isinstance(result, Transcript) for result in results) == 12 - refused


async def test_stt_closed_recognition_says_so(stt: SpeechToText, hello: Samples) -> None:
    recognition = stt.recognise(language="en")
    recognition.feed(hello)
    recognition.close()
    recognition.close()
    recognition.feed(hello)
    with pytest.raises(EngineError):
        await recognition.transcribe(decisive=True)


@pytest.mark.parametrize(
    "phrases", [("",), ("…", "!"), ("good morning", "call mister Xqzt", "…", "42nd street")]
)
async def test_stt_takes_any_phrases(stt: SpeechToText, hello: Samples, phrases: tuple[str, ...]) -> None:
    recognition = stt.recognise(language="en", phrases=phrases)
    recognition.feed(hello)
    assert (await recognition.transcribe(decisive=True)).text
    recognition.close()


async def test_stt_refuses_audio_of_the_wrong_shape(stt: SpeechToText) -> None:
    with pytest.raises(ValueError, match="mono"):
        stt.recognise(language=None).feed(np.zeros((2, 160), np.float32))


# ---- voices


@pytest.fixture(scope="module", params=engine_names("tts"))
def tts(request: pytest.FixtureRequest, options: Any, store: ModelStore) -> Iterator[TextToSpeech]:
    engine = asyncio.run(load("tts", request.param, options, store, workers=2, max_queue=8))
    assert good_info(engine.info, "tts", request.param)
    yield engine
    asyncio.run(engine.close())


async def spoken_ms(tts: TextToSpeech, text: str) -> float:
    pieces = [pcm async for pcm in tts.synthesize(text)]
    assert all(pcm.samples.dtype == np.int16 and pcm.samples.ndim == 1 for pcm in pieces)
    assert len({pcm.rate_hz for pcm in pieces}) <= 1
    return sum(pcm.duration_ms for pcm in pieces)


async def test_tts_speaks(tts: TextToSpeech) -> None:
    assert 300 < await spoken_ms(tts, "Good morning.") < 3000


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!", "—", "[[", "😀"])
async def test_tts_has_nothing_to_say(tts: TextToSpeech, text: str) -> None:
    assert await spoken_ms(tts, text) == 0


@pytest.mark.parametrize("text", ["word " * 300, "x" * 3000, "One. " * 60])
async def test_tts_speaks_long_text(tts: TextToSpeech, text: str) -> None:
    assert await spoken_ms(tts, text) > 10_000


@pytest.mark.parametrize("text", ["[[ hello ]] there", "<b>bold</b> & 'quoted'", "naïve café 北京 привет"])
async def test_tts_takes_text_of_any_kind(tts: TextToSpeech, text: str) -> None:
    assert await spoken_ms(tts, text) > 0


async def test_tts_serves_concurrent_calls(tts: TextToSpeech) -> None:
    alone = await spoken_ms(tts, "Good morning.")
    lengths = await asyncio.gather(*(spoken_ms(tts, "Good morning.") for _ in range(6)))
    assert all(abs(length - alone) < alone / 2 for length in lengths)


async def test_tts_stops_when_the_iterator_is_closed(tts: TextToSpeech) -> None:
    async with aclosing(tts.synthesize("One sentence. " * 200)) as speech:  # type: ignore[type-var]
        await anext(speech)
    assert await spoken_ms(tts, "Good morning.") > 0


async def test_tts_survives_a_cancelled_caller(tts: TextToSpeech) -> None:
    task = asyncio.create_task(spoken_ms(tts, "One sentence. " * 200))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await spoken_ms(tts, "Good morning.") > 0


async def test_tts_refuses_what_its_queue_cannot_hold(tts: TextToSpeech) -> None:
    results = await asyncio.gather(
        *(spoken_ms(tts, "Good morning.") for _ in range(30)), return_exceptions=True
    )
    assert any(isinstance(result, EngineBusyError) for result in results)
    assert any(isinstance(result, float) for result in results)


# ---- language models


@pytest.fixture(params=engine_names("llm"))
async def llm(
    request: pytest.FixtureRequest, options: Any, store: ModelStore
) -> AsyncIterator[LanguageModel]:
    engine = await load("llm", request.param, options, store)
    assert good_info(engine.info, "llm", request.param)
    yield engine
    await engine.close()


async def text_of(llm: LanguageModel, *messages: Message) -> str:
    return "".join([delta.text async for delta in llm.stream(messages) if isinstance(delta, TextDelta)])


async def test_llm_answers_in_pieces(llm: LanguageModel) -> None:
    pieces = [delta async for delta in llm.stream(HELLO)]
    assert len(pieces) > 1
    assert all(isinstance(piece, TextDelta) and piece.text for piece in pieces)


@pytest.mark.parametrize("messages", [(), (Message("user", ""),), (Message("user", "?!"),)])
async def test_llm_takes_empty_input(llm: LanguageModel, messages: tuple[Message, ...]) -> None:
    assert isinstance(await text_of(llm, *messages), str)


async def test_llm_takes_a_long_dialogue(llm: LanguageModel) -> None:
    roles = [Message("user", "hello " * 200), Message("assistant", "Hello. " * 200)]
    assert await text_of(llm, *(roles * 40), Message("user", "hello"))


async def test_llm_keeps_concurrent_calls_apart(llm: LanguageModel) -> None:
    questions = ["hello", "what is two plus two", "goodbye"] * 5
    alone = {question: await text_of(llm, Message("user", question)) for question in set(questions)}
    answers = await asyncio.gather(*(text_of(llm, Message("user", question)) for question in questions))
    assert answers == [alone[question] for question in questions]


async def test_llm_can_be_left_in_mid_answer(llm: LanguageModel) -> None:
    async with aclosing(llm.stream(HELLO)) as answer:  # type: ignore[type-var]
        await anext(answer)
    assert await text_of(llm, *HELLO)


# ---- all


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in ("stt", "tts", "llm") for n in engine_names(k)])
async def test_closing_ends_every_thread(
    kind: EngineKind, name: str, options: Any, store: ModelStore
) -> None:
    before = set(threading.enumerate())
    engine = await load(kind, name, options, store)
    await engine.close()
    await engine.close()
    ours = [t.name for t in set(threading.enumerate()) - before if not t.name.startswith("asyncio")]
    assert ours == []


@pytest.mark.parametrize("name", engine_names("tts"))
async def test_tts_weights_that_are_none_fail_with_a_sentence(
    name: str, store: ModelStore, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no model")
    (tmp_path / "broken.onnx.json").write_text(json.dumps({"audio": {}}))
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        await engine_class("tts", name).load(TtsOptions(voice=str(broken)), models=store, reason="under test")


async def test_stt_weights_that_are_none_fail_with_a_sentence(store: ModelStore, tmp_path: Path) -> None:
    load_whisper = engine_class("stt", "faster-whisper").load
    with pytest.raises(EngineUnavailableError, match=r"model\.bin is missing"):
        await load_whisper(SttOptions(model=str(tmp_path)), models=store, reason="under test")
    for file in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(EngineError, match="does not load"):
        await load_whisper(SttOptions(model=str(tmp_path)), models=store, reason="under test")


async def test_llm_without_a_server_fails_with_a_sentence(store: ModelStore) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        engine = await engine_class("llm", "openai").load(
            LlmOptions(base_url=url), models=store, reason="under test"
        )
        with pytest.raises(EngineError, match="cannot be reached"):
            await text_of(engine, *HELLO)
        await engine.close()
