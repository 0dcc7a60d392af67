"""Tracks that come, go and are replaced, between peers of ours."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack

from agent.realtime import AudioSource, PeerJoined, TrackAdded, TrackEnded
from agent.realtime.sending.tracks import MAX_METADATA_BYTES, MAX_TRACKS
from tests.agent.realtime.peer_parts import Participant, participant, speak, tone
from tests.conftest import RunningHub


class ToneTrack(MediaStreamTrack):
    """A track of the application's own kind: 8 kHz stereo, 10 ms at a time."""

    kind = "audio"

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._hz = hz
        self._blocks = 0
        self._start_s: float | None = None

    async def recv(self) -> av.AudioFrame:
        now_s = asyncio.get_running_loop().time()
        self._start_s = self._start_s or now_s
        await asyncio.sleep(max(0.0, self._start_s + self._blocks * 0.01 - now_s))
        times_s = (np.arange(80) + 80 * self._blocks) / 8000
        mono = (8000 * np.sin(2 * np.pi * self._hz * times_s)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 80 * self._blocks, Fraction(1, 8000)
        self._blocks += 1
        return frame


async def test_a_track_that_is_removed_ends_and_comes_back_as_another(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await bob.hears("alice", 440)
        for _ in range(3):
            bob.seen.clear()
            alice.peer.remove_track(alice.source)
            ended = await bob.event(TrackEnded, remote="alice")
            assert ended.track not in [known.track for known in ended.remote.tracks]
            await alice.hears("bob", 1000)
            alice.peer.add_track(alice.source, stream_id="again", metadata={"role": "again"})
            added = await bob.event(TrackAdded, remote="alice")
            assert (added.stream_id, added.metadata) == ("again", {"role": "again"})
            assert added.track is not ended.track
            await bob.hears("alice", 440, stream_id="again")
            await alice.hears("bob", 1000)


async def test_sections_are_used_again_when_there_are_many(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        await bob.hears("alice", 440)
        for _ in range(8):
            bob.seen.clear()
            alice.peer.remove_track(alice.source)
            await bob.event(TrackEnded, remote="alice")
            alice.peer.add_track(alice.source, stream_id="alice-voice")
            await bob.event(TrackAdded, remote="alice")
        await bob.hears("alice", 440)
        assert len(bob.peer.remote_peers["alice"]._connections.current.kinds) <= 8


async def test_a_track_replaced_many_times_is_still_heard(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob") as bob,
        AudioSource() as other,
        asyncio.TaskGroup() as tasks,
    ):
        await bob.hears("alice", 440)
        bob.seen.clear()
        saying = tasks.create_task(speak(other, tone(1000)))
        sent, waiting = alice.source, other
        for _ in range(21):
            alice.peer.replace_track(sent, waiting)
            sent, waiting = waiting, sent
        await bob.hears("alice", 1000)
        alice.peer.replace_track(other, ToneTrack(2000))
        await bob.hears("alice", 2000)
        async with participant(hub, "carol") as carol:
            await carol.hears("alice", 2000)
        assert not [
            event
            for event in bob.seen
            if isinstance(event, TrackAdded | TrackEnded) and event.remote.id == "alice"
        ]
        saying.cancel()


async def test_a_track_replaced_by_nothing_is_silent_until_there_is_another(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        await bob.hears("alice", 440)
        alice.peer.replace_track(alice.source, None)
        async with participant(hub, "carol") as carol:
            await carol.event(TrackAdded, remote="alice")
            alice.peer.replace_track(alice.source, ToneTrack(1000))
            await bob.hears("alice", 1000)
            await carol.hears("alice", 1000)


async def test_a_plain_track_reaches_everybody_and_survives_a_rebuild(hub: RunningHub):
    track = ToneTrack(1000)
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob") as bob,
        participant(hub, "carol") as carol,
    ):
        alice.peer.add_track(track, stream_id="tone")
        alice.peer.add_track(track, stream_id="tone")
        await bob.hears("alice", 1000, stream_id="tone")
        await carol.hears("alice", 1000, stream_id="tone")
        alice.peer.replace_track(track, ToneTrack(2000))
        bob.seen.clear()
        await alice.peer.remote_peers["bob"]._connections.current._pc.close()
        await bob.event(TrackAdded, stream_id="tone")
        await bob.hears("alice", 2000, stream_id="tone")
        await carol.hears("alice", 2000, stream_id="tone")
    assert track.readyState == "live"


async def test_a_track_may_be_for_some_only(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob") as bob,
        participant(hub, "carol") as carol,
    ):
        alice.peer.add_track(ToneTrack(1000), stream_id="whisper", metadata={"for": "bob"}, to=["bob"])
        alice.peer.add_track(ToneTrack(2000), stream_id="later", to=["dave"])
        await bob.hears("alice", 1000, stream_id="whisper")
        async with participant(hub, "dave") as dave:
            await dave.hears("alice", 2000, stream_id="later")
            await carol.hears("alice", 440)
            assert {stream for speaker, stream in carol.pitches if speaker == "alice"} == {"alice-voice"}
            assert {known.stream_id for known in dave.peer.remote_peers["alice"].tracks} == {
                "alice-voice",
                "later",
            }


async def test_video_is_received_only_by_those_who_want_it(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        alice.peer.add_track(VideoStreamTrack(), stream_id="camera", metadata={"role": "camera"})
        async with participant(hub, "carol", receive_video=True) as carol:
            added = await carol.event(TrackAdded, stream_id="camera")
            assert (added.track.kind, added.metadata) == ("video", {"role": "camera"})
            picture = await added.track.recv()
            assert (picture.width, picture.height) == (640, 480)
            later = await added.track.recv()
            assert later.pts > picture.pts
            await carol.hears("alice", 440)
            await bob.hears("alice", 440)
            assert not [e for e in bob.seen if isinstance(e, TrackAdded) and e.stream_id == "camera"]


async def test_a_track_removed_before_anybody_was_offered_it(hub: RunningHub):
    async with (
        participant(hub, "alice", sends=False) as alice,
        participant(hub, "bob", sends=False) as bob,
    ):
        await alice.event(PeerJoined, remote="bob")
        track = ToneTrack(1000)
        alice.peer.add_track(track, stream_id="short")
        alice.peer.remove_track(track)
        alice.peer.add_track(ToneTrack(2000), stream_id="long")
        await bob.hears("alice", 2000, stream_id="long")
        assert [e.stream_id for e in bob.seen if isinstance(e, TrackAdded)] == ["long"]


async def test_what_cannot_be_sent(hub: RunningHub):
    async with participant(hub, "alice") as alice:
        peer, track = alice.peer, AudioStreamTrack()
        peer.add_track(track, stream_id="one")
        with pytest.raises(ValueError, match="as the stream 'one'"):
            peer.add_track(track, stream_id="two")
        with pytest.raises(ValueError, match="remove it first"):
            peer.add_track(track, stream_id="one", to=["bob"])
        with pytest.raises(ValueError, match="source of audio or video"):
            peer.add_track("music.wav", stream_id="one")
        with pytest.raises(ValueError, match="list of peer ids"):
            peer.add_track(AudioStreamTrack(), stream_id="three", to="bob")
        with pytest.raises(ValueError, match=f"{MAX_METADATA_BYTES} bytes"):
            peer.add_track(AudioStreamTrack(), stream_id="three", metadata={"x": "y" * MAX_METADATA_BYTES})
        with pytest.raises(ValueError, match="not among those"):
            peer.remove_track(AudioStreamTrack())
        with pytest.raises(ValueError, match="not video"):
            peer.replace_track(track, VideoStreamTrack())
        with pytest.raises(ValueError, match="already"):
            peer.replace_track(track, alice.source)
        for number in range(MAX_TRACKS - 2):
            peer.add_track(AudioStreamTrack(), stream_id=str(number))
        with pytest.raises(ValueError, match=f"at most {MAX_TRACKS}"):
            peer.add_track(AudioStreamTrack(), stream_id="one-too-many")


async def test_a_track_that_fails_ends_alone(hub: RunningHub):
    class Broken(ToneTrack):
        async def recv(self) -> av.AudioFrame:
            if self._blocks > 20:
                raise KeyError("broken")
            return await super().recv()

    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        broken = Broken(1000)
        alice.peer.add_track(broken, stream_id="broken")
        await bob.event(TrackAdded, stream_id="broken")
        await bob.hears("alice", 440)
        alice.peer.replace_track(broken, ToneTrack(2000))
        await bob.hears("alice", 2000, stream_id="broken")


def roles(someone: Participant, of: str) -> dict[str | None, object]:
    return {track.stream_id: track.metadata for track in someone.peer.remote_peers[of].tracks}


async def test_what_is_said_of_a_track_is_forgotten_with_it(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        await bob.hears("alice", 440)
        assert roles(bob, "alice") == {"alice-voice": {"role": "test"}}
        alice.peer.remove_track(alice.source)
        await bob.event(TrackEnded)
        assert roles(bob, "alice") == {}
        assert not bob.peer.remote_peers["alice"]._tracks._metas._metas
