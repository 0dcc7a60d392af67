from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from prometheus_client import REGISTRY

from pipelines.audio import Pcm
from pipelines.base import EngineError, EngineInfo
from pipelines.tts.cache import PhraseCache
from pipelines.tts.piper import PiperEngine


class Counting:
    """A voice of 100 bytes a phrase that notes what it was asked; "fail" fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = asyncio.Event()
        self.wanted: asyncio.Event | None = None
        self.go_on.set()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("tts", "counting", "counting", "test")

    async def synthesize(
        self, text: str, *, wanted: asyncio.Event | None = None
    ) -> AsyncGenerator[Pcm, None]:
        self.asked.append(text)
        self.wanted = wanted
        for _ in range(2):
            yield Pcm(np.zeros(25, np.int16), 16_000)
            await self.go_on.wait()
        if text == "fail":
            raise EngineError("out of order")

    async def close(self) -> None:
        pass


async def say(voice: PhraseCache, text: str) -> int:
    return len([pcm async for pcm in voice.synthesize(text)])


def outcome(name: str) -> float:
    return REGISTRY.get_sample_value("voice_agent_tts_cache_total", {"outcome": name}) or 0.0


async def test_a_phrase_is_synthesised_once_and_comes_back_whole(piper: PiperEngine) -> None:
    voice = PhraseCache(piper)
    hits = outcome("hit")
    first = [pcm async for pcm in voice.synthesize("One moment.")]
    again = [pcm async for pcm in voice.synthesize("One moment.")]
    assert first == again != []
    assert outcome("hit") == hits + 1
    assert voice.info is piper.info


async def test_the_least_recently_said_goes_first() -> None:
    inner = Counting()
    voice = PhraseCache(inner, max_bytes=250)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert await say(voice, text) == 2
    assert inner.asked == ["a", "b", "c", "b"], "b made room for c"


async def test_long_text_is_streamed_and_not_kept_unless_it_was_prepared() -> None:
    inner = Counting()
    voice = PhraseCache(inner, max_chars=3)
    inner.go_on.clear()
    audio = voice.synthesize("long")
    await anext(audio)
    inner.go_on.set()
    await audio.aclose()
    assert await voice.prepare("long") == pytest.approx(50 / 16)
    await say(voice, "long")
    assert inner.asked == ["long", "long"]


async def test_two_calls_that_want_the_same_share_it() -> None:
    inner = Counting()
    voice = PhraseCache(inner)
    assert await asyncio.gather(*(say(voice, "a") for _ in range(5))) == [2] * 5
    assert inner.asked == ["a"]


async def test_a_phrase_made_ahead_is_waited_for_as_soon_as_anybody_does() -> None:
    inner = Counting()
    voice = PhraseCache(inner)
    inner.go_on.clear()
    ahead = asyncio.create_task(voice.prepare("a"))
    while inner.wanted is None:
        await asyncio.sleep(0)
    assert not inner.wanted.is_set()
    waited_for = asyncio.create_task(say(voice, "a"))
    await inner.wanted.wait()
    inner.go_on.set()
    await asyncio.gather(ahead, waited_for)
    assert inner.asked == ["a"]


async def test_what_failed_or_was_left_is_not_kept() -> None:
    inner = Counting()
    voice = PhraseCache(inner)
    with pytest.raises(EngineError):
        await say(voice, "fail")
    inner.go_on.clear()
    leaving, staying = (asyncio.create_task(say(voice, "a")) for _ in range(2))
    while inner.asked != ["fail", "a"]:
        await asyncio.sleep(0)
    leaving.cancel()
    inner.go_on.set()
    assert await staying == 2
    assert inner.asked == ["fail", "a", "a"]


async def test_closing_gives_the_memory_back() -> None:
    before = REGISTRY.get_sample_value("voice_agent_tts_cache_bytes")
    voice = PhraseCache(Counting())
    await say(voice, "a")
    assert REGISTRY.get_sample_value("voice_agent_tts_cache_bytes") == before + 100  # type: ignore[operator]
    await voice.close()
    await voice.close()
    assert REGISTRY.get_sample_value("voice_agent_tts_cache_bytes") == before
