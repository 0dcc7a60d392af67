"""The caller: files in, one recording on one clock, a log of what was said, and real calls."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.call_log import MAX_KEPT, CallLog, Line, TurnLatency
from agent.caller import Caller, CallFailedError
from agent.client import ServiceClient, ServiceError
from agent.realtime import AudioSource, Peer
from agent.recording import (
    RATE_HZ,
    AudioFileError,
    Recording,
    Sound,
    find_sounds,
    find_speech,
    read_audio,
    write_wav,
)
from agent.service import running_service
from agent.settings import load_settings
from agent.worker import VOICE_STREAM_ID
from pipelines.audio import Pcm
from pipelines.engines import Engines

Int16 = NDArray[np.int16]
FRAME_MS = 20


def tone(duration_ms: float, level: float = 0.3) -> Int16:
    t = np.arange(int(duration_ms * RATE_HZ / 1000)) / RATE_HZ
    return (np.sin(2 * np.pi * 440 * t) * level * 32767).astype(np.int16)


def silence(duration_ms: float) -> Int16:
    return np.zeros(int(duration_ms * RATE_HZ / 1000), np.int16)


# ---- files


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_any_wav_is_read(tmp_path: Path, rate_hz: int, channels: int, width: int) -> None:
    t = np.arange(rate_hz // 2) / rate_hz
    wave_form = np.sin(2 * np.pi * 440 * t) * 0.5
    scaled = (wave_form * 127 + 128).astype("<u1") if width == 1 else None
    if scaled is None:
        scaled = (wave_form * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(np.repeat(scaled, channels).tobytes())
    samples = read_audio(tmp_path / "a.wav")
    assert abs(len(samples) - RATE_HZ // 2) <= RATE_HZ // 100
    peak = int(np.abs(samples.astype(int)).max())
    assert 0.4 * 32768 < peak < 0.6 * 32768


def test_other_sound_files_are_read_too(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.ogg"), "w") as out:
        stream = out.add_stream("libopus", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(500)[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        out.mux([packet for part in (frame, None) for packet in stream.encode(part)])
    assert len(find_sounds(read_audio(tmp_path / "a.ogg"))) == 1


def test_what_holds_no_sound_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not sound " * 50)
    (tmp_path / "nothing.wav").write_bytes(b"")
    write_wav(tmp_path / "empty.wav", silence(0))
    for name in ("text.wav", "nothing.wav", "empty.wav", "none.wav"):
        with pytest.raises(AudioFileError, match=name):
            read_audio(tmp_path / name)
    with pytest.raises(AudioFileError, match="no such file"):
        read_audio(tmp_path)


# ---- one clock


def frames(samples: Int16) -> list[tuple[Int16, float]]:
    size = RATE_HZ * FRAME_MS // 1000
    return [(samples[i : i + size], 1000 * i / RATE_HZ) for i in range(0, len(samples) - size + 1, size)]


def test_sounds_are_found_where_they_are() -> None:
    parts = (silence(500), tone(300), silence(200), tone(100), silence(1000), tone(250), silence(40))
    assert find_sounds(np.concatenate(parts)) == [Sound(500, 1100), Sound(2100, 2350)]
    assert find_sounds(silence(1000)) == []
    assert find_sounds(tone(1000, level=0.001)) == []
    assert find_sounds(tone(10)) == []


def test_speech_is_told_from_the_noise_of_its_room() -> None:
    speech = np.concatenate((silence(500), tone(300), silence(900), tone(300), silence(500)))
    room = np.random.default_rng(1).normal(0, 200, len(speech))
    assert find_speech((speech + room).astype(np.int16)) == Sound(500, 2000)
    assert find_speech(tone(400, level=0.02)) == Sound(0, 400)
    assert find_speech(silence(500)) is None
    assert find_speech(silence(0)) is None


def test_frames_that_arrive_late_for_a_moment_are_not_moved() -> None:
    recording, audio = Recording(), np.concatenate((silence(1000), tone(500), silence(1000)))
    for samples, stamp_ms in frames(audio):
        # Half a second in which this machine did nothing, just as the sound began.
        on_time_ms = 7000 + stamp_ms
        recording.add(samples, stamp_ms, max(on_time_ms, 8500) if 7900 < on_time_ms < 8500 else on_time_ms)
    assert recording.sounds() == [Sound(8000, 8500)]


def test_a_sender_that_fell_behind_is_heard_as_late_as_it_was() -> None:
    recording = Recording()
    for samples, stamp_ms in frames(np.concatenate((tone(1000), tone(1000)))):
        recording.add(samples, stamp_ms, 5000 + stamp_ms + (800 if stamp_ms >= 1000 else 0))
    assert recording.sounds() == [Sound(5000, 6000), Sound(6800, 7800)]


def test_lost_frames_are_silence_and_move_nothing() -> None:
    recording = Recording()
    for samples, stamp_ms in frames(np.concatenate((tone(400), silence(1000), tone(400)))):
        if not 300 <= stamp_ms < 600:
            recording.add(samples, stamp_ms, 100 + stamp_ms)
    assert recording.sounds() == [Sound(100, 400), Sound(1500, 1900)]


def test_a_new_connection_has_stamps_of_its_own() -> None:
    recording = Recording()
    for base_ms in (1000, 4000):
        recording.begin()
        for samples, stamp_ms in frames(tone(500)):
            recording.add(samples, stamp_ms, base_ms + stamp_ms)
    assert recording.sounds() == [Sound(1000, 1500), Sound(4000, 4500)]
    began_ms, samples = recording.render()
    assert (began_ms, len(samples)) == (1000, 3.5 * RATE_HZ)


def test_nothing_heard_is_an_empty_recording() -> None:
    assert Recording().sounds() == []
    assert len(Recording().render()[1]) == 0


# ---- messages


def caption(text: str, *, final: bool = True, **fields: Any) -> dict[str, Any]:
    return {"type": "agent.caption", "speaker": "agent", "id": "r1", "text": text, "final": final, **fields}


def test_later_captions_replace_earlier_ones_and_keep_their_place() -> None:
    log = CallLog()
    log.take(caption("Hel", final=False), own_id="me", now_ms=10)
    log.take(caption("heard", speaker="caller", peer="me", id="s1"), own_id="me", now_ms=15)
    log.take(caption("Hello.", interrupted=True), own_id="me", now_ms=20)
    log.take(caption("others", speaker="caller", peer="you", id="s2"), own_id="me", now_ms=25)
    assert log.said("agent") == [Line("agent", "r1", "Hello.", True, True, 10)]
    assert [line.text for line in log.said("caller")] == ["heard"]
    assert log.said("agent", after_ms=11) == []


def test_what_turned_out_to_be_nothing_is_not_said() -> None:
    log = CallLog()
    log.take(caption("was that", final=False), own_id=None, now_ms=0)
    log.take(caption(""), own_id=None, now_ms=1)
    assert log.said("agent") == []


@pytest.mark.parametrize(
    "message",
    [None, 7, "x", [], {}, {"type": 3}, {"type": "agent.new"}, {"type": "agent.latency", "total_ms": "soon"}],
)
def test_odd_messages_are_ignored(message: Any) -> None:
    log = CallLog()
    assert log.take(message, own_id="me", now_ms=0) is None
    assert (log.lines, log.latencies, log.problems) == ({}, [], [])


def test_latencies_and_problems_are_kept_and_bounded() -> None:
    log = CallLog()
    latency = {"type": "agent.latency", "turn": 1, "total_ms": 640, "steps_ms": {"stt_ms": 9, "x": "y"}}
    assert log.take(latency, own_id="me", now_ms=0) == TurnLatency(1, 640.0, {"stt_ms": 9.0})
    for i in range(MAX_KEPT + 10):
        log.take({"type": "agent.error", "message": "no"}, own_id="me", now_ms=0)
        log.take(caption("x", id=f"r{i}"), own_id="me", now_ms=0)
    assert (len(log.problems), len(log.lines)) == (MAX_KEPT, MAX_KEPT)


# ---- calls


@asynccontextmanager
async def service(engines: Engines) -> AsyncIterator[ServiceClient]:
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1"]).settings
    async with running_service(settings, engines=engines) as running, ServiceClient(running.url) as client:
        yield client


@asynccontextmanager
async def stand_in(client: ServiceClient, room: str) -> AsyncIterator[AudioSource]:
    """Somebody whose voice is taken for an agent's."""
    access = await client.access(room, "stand-in")

    async def token() -> str:
        return str(access.token)

    async with AudioSource() as source, Peer(access.url, token_provider=token) as peer:
        peer.add_track(source, stream_id=VOICE_STREAM_ID)
        await peer.join(room)
        yield source


@pytest.mark.alone
@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_heard_and_said_is_on_one_clock(engines: Engines) -> None:
    now_s = asyncio.get_running_loop().time
    async with (
        service(engines) as client,
        stand_in(client, "clock") as voice,
        Caller(client, "clock") as caller,
    ):
        await caller.ready()
        spoken = await caller.say("a.wav", np.concatenate((silence(200), tone(400), silence(200))))
        assert spoken.start_ms is not None
        assert spoken.end_ms is not None
        assert spoken.end_ms - spoken.start_ms == 400
        pushed_ms = now_s() * 1000
        await voice.push(Pcm(tone(600), RATE_HZ))
        assert await caller.wait_for_sound(300)
        assert await caller.wait_for_quiet(600)
        sounds = caller.heard()
        assert len(sounds) == 1
        assert spoken.end_ms < pushed_ms < sounds[0].start_ms
        # Its length is counted in samples: no busy machine makes it longer.
        assert abs(sounds[0].end_ms - sounds[0].start_ms - 600) <= 2 * FRAME_MS


@pytest.mark.asyncio(loop_scope="session")
async def test_silence_is_played_as_silence(engines: Engines) -> None:
    async with service(engines) as client, stand_in(client, "quiet"), Caller(client, "quiet") as caller:
        await caller.ready()
        spoken = await caller.say("a.wav", silence(200))
        assert (spoken.start_ms, spoken.end_ms) == (None, None)
        assert spoken.said_by_ms == spoken.over_ms
        assert not await caller.wait_for_sound(10, timeout_s=0.3)
        assert not await caller.wait_for_reply(timeout_s=0.1)


@pytest.mark.asyncio(loop_scope="session")
async def test_without_an_agent_a_call_fails_in_words(engines: Engines) -> None:
    async with service(engines) as client, Caller(client, "empty") as caller:
        with pytest.raises(CallFailedError, match="there is no agent in the room"):
            await caller.ready(timeout_s=0.3)


@pytest.mark.asyncio(loop_scope="session")
async def test_an_agent_that_leaves_ends_the_call(engines: Engines) -> None:
    async with service(engines) as client:
        agent, is_new = await client.dispatch("leaving", greeting="")
        assert is_new
        async with Caller(client, "leaving", agent_peer_id=agent.peer_id) as caller:
            await caller.ready()
            await client.remove(agent.id)
            with pytest.raises(CallFailedError, match="the agent left"):
                await caller.wait_for_reply()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_mistake_inside_a_call_is_seen_as_it_was_raised(engines: Engines) -> None:
    async with service(engines) as client:
        with pytest.raises(ZeroDivisionError):
            async with Caller(client, "mistake"):
                _ = 1 / 0


async def test_a_service_that_is_not_there_is_said_so(unused_tcp_port: int) -> None:
    async with ServiceClient(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(ServiceError, match=r"no service answers at .* start one"):
            await client.about()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_refusal_is_passed_on_in_the_services_words(engines: Engines) -> None:
    async with service(engines) as client:
        with pytest.raises(ServiceError, match="no persona"):
            await client.dispatch("lobby", persona="nobody")
