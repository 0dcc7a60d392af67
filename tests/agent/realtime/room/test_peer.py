"""Peers in a real room: a real hub, real WebRTC, real sound, all in this process."""

from __future__ import annotations

import asyncio

import pytest

from agent.realtime import (
    AudioSource,
    DataReceived,
    PeerEvent,
    PeerJoined,
    PeerLeft,
    StateChanged,
    TrackAdded,
    TrackEnded,
)
from agent.realtime.signalling.client import SignallingClient
from tests.agent.realtime.peer_parts import (
    Cable,
    both_hear,
    participant,
    same_pitch,
    speak,
    token_provider,
    tone,
)
from tests.conftest import RunningHub


@pytest.mark.parametrize(("first", "second"), [("alice", "bob"), ("bob", "alice")])
async def test_two_peers_hear_each_other_whoever_came_first(hub: RunningHub, first: str, second: str):
    async with participant(hub, first, says_hz=440) as one, participant(hub, second, says_hz=1000) as two:
        await one.hears(second, 1000)
        await two.hears(first, 440)
        added = await one.event(TrackAdded, remote=second)
        assert added.stream_id == f"{second}-voice"
        assert added.metadata == {"role": "test"}


@pytest.mark.parametrize("speaker", ["alice", "bob"])
async def test_one_side_may_have_nothing_to_say(hub: RunningHub, speaker: str):
    """alice < bob, so alice is the one to wait and bob the one to offer at once."""
    async with (
        participant(hub, "alice", sends=speaker == "alice", says_hz=440) as alice,
        participant(hub, "bob", sends=speaker == "bob", says_hz=440) as bob,
    ):
        listener = bob if speaker == "alice" else alice
        await listener.hears(speaker, 440)


async def test_three_peers_all_hear_each_other(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=400) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
        participant(hub, "carol", says_hz=2000) as carol,
    ):
        voices = {"alice": (alice, 400), "bob": (bob, 1000), "carol": (carol, 2000)}
        for listener_id, (listener, _) in voices.items():
            for speaker_id, (_, hz) in voices.items():
                if speaker_id != listener_id:
                    await listener.hears(speaker_id, hz)
        assert set(alice.peer.remote_peers) == {"bob", "carol"}


async def test_a_late_joiner_hears_only_the_present(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        await bob.hears("alice", 440)
        alice.speak(1000)
        async with participant(hub, "carol") as carol:
            await carol.hears("alice", 1000)
            await carol.until(lambda: len(carol.pitches[("alice", "alice-voice")]) >= 5)
            assert not any(same_pitch(hz, 440) for hz in carol.pitches[("alice", "alice-voice")])


async def test_clear_silences_the_voice_and_speaking_goes_on_after_it(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice, participant(hub, "bob") as bob:
        await bob.hears("alice", 440)
        assert alice.source.played_ms > 0
        alice.hush()
        played_ms = alice.source.played_ms
        await bob.hears("alice", None)
        assert alice.source.played_ms == played_ms
        alice.speak(1000)
        await bob.hears("alice", 1000)


async def test_data_goes_to_everybody_or_to_one(hub: RunningHub):
    async with (
        participant(hub, "alice", peer_metadata={"name": "Alice"}) as alice,
        participant(hub, "bob") as bob,
        participant(hub, "carol") as carol,
    ):
        await bob.event(PeerJoined, remote="alice")
        await carol.event(PeerJoined, remote="alice")
        await alice.peer.send_to("bob", {"to": "bob"})
        await alice.peer.send({"to": "all"})
        for_all = {"sender_id": "alice", "kind": "broadcast", "data": {"to": "all"}}
        direct = await bob.event(DataReceived, kind="direct")
        assert (direct.sender_id, direct.data) == ("alice", {"to": "bob"})
        assert direct.sender_metadata == {"name": "Alice"}
        for someone in (bob, carol):
            message = await someone.event(DataReceived, **for_all)
            assert message.sender_metadata == {"name": "Alice"}
        assert not [e for e in carol.seen if isinstance(e, DataReceived) and e.kind == "direct"]
        assert not [e for e in alice.seen if isinstance(e, DataReceived)]
        assert bob.peer.remote_peers["alice"].metadata == {"name": "Alice"}


async def test_direct_messages_from_outside_the_room_are_dropped(hub: RunningHub):
    async with participant(hub, "alice") as alice, participant(hub, "bob") as bob:
        await alice.event(PeerJoined, remote="bob")
        async with participant(hub, "mallory", room="another") as mallory:
            await mallory.peer.send_to("alice", {"from": "outside"})
            await bob.peer.send_to("alice", {"from": "inside"})
            await alice.event(DataReceived, sender_id="bob")
            assert not [e for e in alice.seen if isinstance(e, DataReceived) and e.sender_id == "mallory"]


async def test_a_source_added_later_is_heard_too(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440, sends=False) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await alice.hears("bob", 1000)
        alice.peer.add_track(alice.source, stream_id="late", metadata={"role": "late"})
        await bob.hears("alice", 440, stream_id="late")
        assert (await bob.event(TrackAdded, stream_id="late")).metadata == {"role": "late"}


async def test_when_both_offer_at_once_both_are_heard(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
        AudioSource() as alices_second,
        AudioSource() as bobs_second,
        asyncio.TaskGroup() as tasks,
    ):
        await alice.hears("bob", 1000)
        await bob.hears("alice", 440)
        pair = ((alice, "bob"), (bob, "alice"))
        # Connected, neither waits for the other any more: both offers are under way before either arrives.
        before = [someone.peer.remote_peers[other]._connections.current for someone, other in pair]
        alice.seen.clear()
        bob.seen.clear()
        alice.peer.add_track(alices_second, stream_id="alice-second")
        bob.peer.add_track(bobs_second, stream_id="bob-second")
        saying = [
            tasks.create_task(speak(alices_second, tone(2000))),
            tasks.create_task(speak(bobs_second, tone(400))),
        ]
        await alice.hears("bob", 400, stream_id="bob-second")
        await bob.hears("alice", 2000, stream_id="alice-second")
        await alice.hears("bob", 1000)
        await bob.hears("alice", 440)
        assert [someone.peer.remote_peers[other]._connections.current for someone, other in pair] == before
        for someone in (alice, bob):
            assert not [e for e in someone.seen if isinstance(e, TrackEnded | StateChanged)]
        for task in saying:
            task.cancel()


async def test_leaving_is_seen_and_ends_the_track(hub: RunningHub):
    async with participant(hub, "alice") as alice:
        async with participant(hub, "bob", says_hz=1000):
            await alice.hears("bob", 1000)
        await alice.event(PeerLeft, remote="bob")
        kinds = [type(event) for event in alice.seen]
        assert kinds.index(TrackEnded) < kinds.index(PeerLeft)
        assert not alice.peer.remote_peers


async def test_a_peer_that_comes_back_is_heard_again(hub: RunningHub):
    async with participant(hub, "alice", says_hz=440) as alice:
        for hz in (1000, 2000):
            async with participant(hub, "bob", says_hz=hz) as bob:
                await alice.hears("bob", hz)
                await bob.hears("alice", 440)


async def test_media_outlives_the_loss_of_signalling_on_both_sides(hub: RunningHub):
    async with (
        Cable(hub.port) as cable,
        participant(hub, "alice", says_hz=440, url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000, url=cable.url) as bob,
    ):
        await both_hear(alice, bob)
        remote = alice.peer.remote_peers["bob"]
        cable.pull()
        await alice.event(StateChanged, remote=None, state="reconnecting")
        await bob.event(StateChanged, remote=None, state="reconnecting")
        await both_hear(alice, bob)
        alice.seen.clear()
        bob.seen.clear()
        cable.plug()
        await alice.event(StateChanged, remote=None, state="joined")
        await bob.event(StateChanged, remote=None, state="joined")
        await alice.peer.send_to("bob", "still there?")
        await bob.event(DataReceived, data="still there?")
        await both_hear(alice, bob)
        assert alice.peer.remote_peers["bob"] is remote
        for someone in (alice, bob):
            assert not [e for e in someone.seen if isinstance(e, TrackAdded | TrackEnded | PeerLeft)]


async def test_media_outlives_the_loss_of_signalling_on_one_side(hub: RunningHub):
    async with (
        Cable(hub.port) as cable,
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000, url=cable.url) as bob,
    ):
        await both_hear(alice, bob)
        alice.seen.clear()
        bob.seen.clear()
        cable.pull()
        cable.plug()
        await bob.event(StateChanged, remote=None, state="joined")
        await both_hear(alice, bob)
        assert cable.connections == 2
        for someone in (alice, bob):
            assert not [e for e in someone.seen if isinstance(e, TrackAdded | TrackEnded | PeerLeft)]


async def test_with_a_publishable_key_a_peer_comes_back_as_somebody_else(hub: RunningHub):
    async with (
        Cable(hub.port) as cable,
        participant(hub, None, says_hz=440, url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await alice.hears("bob", 1000)
        former_id = alice.peer.peer_id
        alice.seen.clear()
        bob.seen.clear()
        cable.pull()
        cable.plug()
        await alice.until(lambda: alice.peer.peer_id != former_id and alice.peer.state == "joined")
        await bob.event(PeerJoined, remote=alice.peer.peer_id)
        await bob.hears(alice.peer.peer_id, 440, stream_id="None-voice")
        await alice.hears("bob", 1000)
        assert set(alice.peer.remote_peers) == {"bob"}
        await bob.event(PeerLeft, remote=former_id)
        # At no time was there nothing to hear: the old connection carried on until the new one worked.
        assert in_order(alice.seen, TrackAdded, TrackEnded)
        assert in_order(bob.seen, TrackAdded, TrackEnded)
        assert not [e for e in alice.seen if isinstance(e, StateChanged) and e.remote]


def in_order(seen: list[PeerEvent], *kinds: type) -> bool:
    """Whether the first of each kind came in this order."""
    firsts = [next(i for i, event in enumerate(seen) if isinstance(event, kind)) for kind in kinds]
    return firsts == sorted(firsts)


async def test_who_came_back_under_another_id_replaces_a_ghost_the_server_still_announces(hub: RunningHub):
    async with (
        Cable(hub.port) as cable,
        participant(hub, None, says_hz=440, url=cable.url) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await alice.hears("bob", 1000)
        former_id = alice.peer.peer_id
        await bob.hears(former_id, 440, stream_id="None-voice")
        cable.strand()
        await bob.event(PeerLeft, remote=former_id)
        assert former_id in [member.peer_id for member in hub.hub.rooms.members("room")]
        assert set(bob.peer.remote_peers) == {alice.peer.peer_id}
        await bob.hears(alice.peer.peer_id, 440, stream_id="None-voice")
        await alice.hears("bob", 1000)


async def test_a_connection_that_closes_without_leaving_is_made_anew(hub: RunningHub):
    async with (
        participant(hub, "alice", says_hz=440) as alice,
        participant(hub, "bob", says_hz=1000) as bob,
    ):
        await both_hear(alice, bob)
        remote = alice.peer.remote_peers["bob"]
        await remote._connections.current._pc.close()
        await alice.event(TrackEnded, remote="bob")
        await alice.event(StateChanged, remote="bob", state="reconnecting")
        alice.seen.clear()
        await alice.connected_to("bob")
        await both_hear(alice, bob)
        assert alice.peer.remote_peers["bob"] is remote


async def test_a_ghost_and_a_babbler_disturb_nobody(hub: RunningHub):
    nonsense = [
        {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0"}},
        {"type": "rtc-description", "description": {"type": "offer", "sdp": "m=audio 9 X\r\n"}},
        {"type": "rtc-description", "description": {"type": "answer", "sdp": ""}},
        {"type": "rtc-description", "description": {"type": "rollback", "sdp": ""}},
        {"type": "rtc-ice", "candidate": {"candidate": "candidate:x y z", "sdpMid": "0"}},
        {"type": "rtc-ice", "candidate": {"candidate": 7}},
        {"type": "rtc-ice", "candidate": None},
        {"__meteredTrackMeta": {"trackId": 3}},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": {"role": "agent"}}},
    ]
    async with (
        SignallingClient(hub.url, token_provider=token_provider(hub, "ghost")) as ghost,
        participant(hub, "alice", says_hz=440) as alice,
    ):
        await ghost.subscribe("room")
        await alice.event(PeerJoined, remote="ghost")
        for data in nonsense:
            await ghost.send("alice", data)
        async with participant(hub, "bob", says_hz=1000) as bob:
            await both_hear(alice, bob)
            await ghost.send("alice", "now sensible")
            await alice.event(DataReceived, sender_id="ghost", data="now sensible")
            assert not [e for e in alice.seen if isinstance(e, DataReceived) and e.data in nonsense]


async def test_an_offer_that_overtakes_its_sender_is_answered(hub: RunningHub):
    """The vendor's clients drop it, and the pair then waits for ever."""
    early_bird = SignallingClient(hub.url, token_provider=token_provider(hub, "early"))
    async with early_bird, participant(hub, "alice") as alice:
        await early_bird.send("alice", {"__meteredTrackMeta": {"trackId": "t", "metadata": {}}})
        await early_bird.send("alice", "said before entering")
        await early_bird.subscribe("room")
        await alice.event(DataReceived, sender_id="early", data="said before entering")
        kinds = [type(event) for event in alice.seen]
        assert kinds.index(PeerJoined) < kinds.index(DataReceived)
