"""Files and streams as tracks, heard by another peer; and frames read one by one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import wave
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc import AudioStreamTrack

from agent.realtime import MediaError, TrackAdded, TrackEnded, from_file, from_rtsp, iter_frames, iter_speech
from agent.realtime.receiving.receive import DROPPED_FRAMES
from pipelines.audio import level_dbfs
from tests.agent.realtime.peer_parts import participant, tone
from tests.agent.realtime.rtsp_camera import rtsp_camera
from tests.conftest import RunningHub

AUDIO = Path(os.environ.get("VOICE_AGENT_TEST_AUDIO", Path(__file__).parents[4] / "../shared/audio"))


def write_wav(path: Path, hz: float, seconds: float = 1.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(tone(hz, int(seconds * 1000)).samples.tobytes())
    return path


def write_film(path: Path, hz: float) -> Path:
    """A second of picture and sound."""
    with av.open(str(path), "w") as film:
        picture, sound = film.add_stream("mpeg4", rate=10), film.add_stream("aac", rate=48_000)
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
        for number in range(10):
            image = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 25 * number, np.uint8), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, 10)
            film.mux(picture.encode(image))
        samples = np.sin(2 * np.pi * hz * np.arange(48_000) / 48_000).astype(np.float32)
        for start in range(0, 48_000, 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            film.mux(sound.encode(frame))
        film.mux(picture.encode(None))
        film.mux(sound.encode(None))
    return path


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "media-reader"]


def recordings() -> list[Path]:
    return sorted(AUDIO.glob("speech/**/*.wav"))


async def test_a_recording_is_heard(hub: RunningHub):
    if not recordings():
        pytest.skip("there are no recordings here")
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob") as bob,
        from_file(recordings()[0]) as media,
    ):
        assert media.video is None
        alice.peer.add_track(media.audio, stream_id="recording")
        added = await bob.event(TrackAdded, stream_id="recording")
        async for block in iter_speech(added.track):
            if level_dbfs(block) > -40:
                break
    assert not reader_threads()


async def test_a_file_plays_at_its_pace_and_ends(hub: RunningHub, tmp_path: Path):
    async with participant(hub, "alice", sends=False) as alice, participant(hub, "bob") as bob:
        async with from_file(write_wav(tmp_path / "a.wav", 440)) as media:
            alice.peer.add_track(media.audio, stream_id="file")
            loop = asyncio.get_running_loop()
            await bob.hears("alice", 440, stream_id="file")
            began_s = loop.time()
            await media.ended()
            assert loop.time() - began_s > 0.3
        # What has ended is silence; the track is there until it is removed.
        assert not [event for event in bob.seen if isinstance(event, TrackEnded)]
        alice.peer.remove_track(media.audio)
        await bob.event(TrackEnded, remote="alice")


async def test_a_file_may_play_again_and_again(hub: RunningHub, tmp_path: Path):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob") as bob,
        from_file(write_wav(tmp_path / "a.wav", 440, seconds=0.2), loop=True) as media,
    ):
        alice.peer.add_track(media.audio, stream_id="file")
        for _ in range(3):
            await bob.hears("alice", 440, stream_id="file")


def is_picture(event: object) -> bool:
    return isinstance(event, TrackAdded) and event.track.kind == "video"


async def test_a_film_has_sound_and_picture(hub: RunningHub, tmp_path: Path):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob", receive_video=True) as bob,
        from_file(write_film(tmp_path / "a.mp4", 440), loop=True) as media,
    ):
        alice.peer.add_track(media.audio, stream_id="film")
        alice.peer.add_track(media.video, stream_id="film")
        await bob.hears("alice", 440, stream_id="film")
        # The picture may need a description of its own, and come after the first sound.
        await bob.until(lambda: any(map(is_picture, bob.seen)))
        added = next(filter(is_picture, bob.seen))
        async with aclosing(iter_frames(added.track, max_queued=1)) as frames:
            picture = await anext(frames)
            assert (picture.width, picture.height) == (160, 120)


async def test_a_camera_is_heard_until_it_breaks_off(hub: RunningHub):
    async with (
        rtsp_camera(tone(440)) as camera,
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob") as bob,
        from_rtsp(camera.url.replace("//", "//user:hunter2@")) as media,
    ):
        assert media.video is None
        alice.peer.add_track(media.audio, stream_id="camera")
        await bob.hears("alice", 440, stream_id="camera")
        camera.pulled.set()
        await media.ended()
        alice.peer.remove_track(media.audio)
        await bob.event(TrackEnded, remote="alice")
    assert camera.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert not reader_threads()


async def test_what_cannot_be_read_is_said_without_its_password(tmp_path: Path, caplog):
    caplog.set_level(logging.DEBUG)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"user:hunter2@127.0.0.1:{taken.getsockname()[1]}/cam?key=hunter2"
        (tmp_path / "text.wav").write_text("this is no sound")
        for opened, says in (
            (from_file(tmp_path / "missing.wav"), "missing.wav: No such file"),
            (from_file(tmp_path / "text.wav"), "text.wav: Invalid data"),
            (from_file(tmp_path), "cannot read"),
            (from_file(f"http://{dead}"), "http://127.0.0.1: Connection refused"),
            (from_rtsp(f"rtsp://{dead}"), "rtsp://127.0.0.1: Connection refused"),
        ):
            with pytest.raises(MediaError) as raised:
                await opened.__aenter__()
            assert says in str(raised.value)
            assert "hunter2" not in repr(raised.value)
    with pytest.raises(ValueError, match="begins with rtsp"):
        await from_rtsp(f"http://{dead}").__aenter__()
    assert "hunter2" not in caplog.text


async def test_frames_of_a_slow_reader_are_bounded():
    before = DROPPED_FRAMES.labels("audio")._value.get()
    async with aclosing(iter_frames(AudioStreamTrack(), max_queued=2)) as frames:
        first = await anext(frames)
        while DROPPED_FRAMES.labels("audio")._value.get() < before + 3:
            await asyncio.sleep(0.02)
        later = [await anext(frames) for _ in range(2)]
        assert first.pts + 3 * first.samples < later[0].pts < later[1].pts
    with pytest.raises(ValueError, match="at least 1"):
        await anext(iter_frames(AudioStreamTrack(), max_queued=0))


async def test_reading_frames_ends_with_the_track(hub: RunningHub):
    async with participant(hub, "bob") as bob, participant(hub, "alice", says_hz=440) as alice:
        await bob.hears("alice", 440)
        added = await bob.event(TrackAdded)
        alice.peer.remove_track(alice.source)
        frames = [frame async for frame in iter_frames(added.track)]
        assert len(frames) <= 51
