"""Sound that is sent; fails when a new aiortc no longer has the private parts that are reached into."""

from __future__ import annotations

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, Never

import aiortc.rtcrtpsender
import aiortc.rtp
import numpy as np
import pytest
from aiortc import RTCRtpReceiver

from agent.realtime import AudioSource
from agent.realtime.connections import aiortc_seam, connection_media
from agent.realtime.opus import has_fec
from agent.realtime.receiving.decoding import AUDIO_SECONDS
from agent.realtime.receiving.received_audio import ReceivedAudio
from agent.realtime.sending import sending_seam
from agent.realtime.sending.encoding import (
    ENCODED,
    PAUSE,
    PAUSE_WITHOUT_BODY,
    SETTLING_FRAMES,
    SIGN_OF_LIFE_FRAMES,
    Wishes,
)
from agent.realtime.sending.sending_seam import FAILURES
from agent.realtime.sending.tracks import OutgoingTrack
from pipelines.audio import Pcm
from tests.agent.realtime.connections.test_aiortc_seam import Noise, audio_frame, negotiate, new_connection
from tests.agent.realtime.opus_parts import FRAME, voice
from tests.agent.realtime.sending_parts import Frames, Prepare, RealTime, Speaking, plain, speaking

SPEECH = Pcm(voice(0.4), 48_000)
SAID_FRAMES, SILENT_FRAMES = 20, 50
RECOVERED = AUDIO_SECONDS.labels("recovered")


async def test_sound_goes_out_as_the_receiver_wants_it():
    fmtp = "maxaveragebitrate=24000;useinbandfec=1"
    async with AudioSource() as source, speaking(source, fmtp=fmtp) as speaker:
        assert speaker.mouth.wishes == Wishes(24_000, fec=True)
        await source.push(SPEECH)
        await source.drained()
        packets = await speaker.sent(20)
        said = [packet.payload for packet in packets if packet.payload != PAUSE.payload]
        assert not any(payload[0] & 4 for payload in said), "one channel"
        assert sum(map(len, said)) * 8 / (0.02 * len(said)) < 28_000


async def test_numbers_times_and_the_mark_of_a_beginning_are_right():
    async with AudioSource() as source, speaking(source) as speaker:
        await speaker.sent(3)
        await source.push(SPEECH)
        await source.drained()
        packets = list(await speaker.sent(25))
        assert {packet.ssrc for packet in packets} == {speaker.pc.getSenders()[0]._ssrc}
        assert {packet.payload_type for packet in packets} == {96}
        assert (np.diff([packet.sequence_number for packet in packets]) == 1).all()
        steps = np.diff([packet.timestamp for packet in packets]) % (1 << 32)
        # A machine that is held up leaves something out.
        assert ((steps % FRAME == 0) & (steps > 0)).all()
        is_gap, begins = True, []
        for packet, step in zip(packets, [FRAME, *steps], strict=True):
            is_gap |= step != FRAME
            begins.append(is_gap and packet.payload != PAUSE.payload)
            is_gap &= not begins[-1]
        assert [bool(packet.marker) for packet in packets] == begins
        assert any(begins)


async def test_the_other_side_is_told_how_loud_it_is_and_which_section_it_belongs_to():
    async with AudioSource() as source, speaking(source) as speaker:
        told = extensions_at(speaker.other.getReceivers()[0])
        assert (await told.get()).audio_level == (False, 127)
        await source.push(Pcm(np.resize(np.array([3277, -3277], np.int16), 4800), 48_000))
        while (extensions := await told.get()).audio_level == (False, 127):
            pass
        assert extensions.audio_level == (False, 20)
        assert extensions.mid == "0"


def extensions_at(receiver: RTCRtpReceiver) -> asyncio.Queue[Any]:
    told: asyncio.Queue[Any] = asyncio.Queue()
    handle = receiver._handle_rtp_packet

    async def handle_packet(packet: Any, arrival_time_ms: int) -> None:
        told.put_nowait(packet.extensions)
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = handle_packet
    return told


async def test_reports_say_what_was_sent_and_losses_come_back():
    async with speaking(Frames(voice(1.0).reshape(-1, FRAME)), fmtp="useinbandfec=1") as speaker:
        speaker.is_lost = lambda number: number % 5 == 3
        while not any(has_fec(packet.payload) for packet in speaker.packets[-20:]):
            await speaker.sent(len(speaker.packets) + 10)
        assert speaker.mouth._loss.percent >= 5
        report = None
        while report is None:
            await speaker.sent(len(speaker.packets) + 10)
            stats = await speaker.other.getReceivers()[0].getStats()
            report = next((stats[name] for name in stats if name.startswith("remote-outbound-rtp")), None)
        assert 0 < report.packetsSent <= len(speaker.packets)
        assert 0 < report.bytesSent <= sum(len(packet.payload) for packet in speaker.packets)
        assert abs(report.remoteTimestamp - report.timestamp).total_seconds() < 5


async def test_a_receiver_of_ours_gets_back_what_was_lost():
    frames = voice(1.0).reshape(-1, FRAME)
    async with speaking(
        Frames(frames), fmtp="useinbandfec=1", prepare=aiortc_seam.prepare_received_track
    ) as speaker:
        assert isinstance(speaker.track, ReceivedAudio)
        for _ in range(5):
            speaker.mouth._loss.report(51)
        await speaker.track.read(16_000)
        speaker.is_lost = lambda number: number % 5 == 3
        before = RECOVERED._value.get()
        while RECOVERED._value.get() - before < 0.2:
            await speaker.track.read(16_000)


async def test_lasting_silence_takes_three_bytes_at_the_usual_pace_and_no_encoding():
    async with AudioSource() as source, speaking(source) as speaker:
        before = ENCODED._value.get()
        packets = await speaker.sent(20)
        assert {packet.payload for packet in packets} == {PAUSE.payload}
        assert ENCODED._value.get() == before


@pytest.mark.parametrize("prepare", [aiortc_seam.prepare_received_track, plain], ids=["ours", "aiortc"])
async def test_what_is_said_between_pauses_that_are_not_sent_is_heard_at_its_time(prepare: Prepare):
    said = voice(0.4).reshape(-1, FRAME)
    assert len(said) == SAID_FRAMES
    frames = np.concatenate([said, np.zeros((SILENT_FRAMES, FRAME), np.int16)])
    async with speaking(Frames(frames), fmtp="usedtx=1", prepare=prepare) as speaker:
        loud, quiet, place = set(), set(), 0
        while place < 2.2 * len(frames):
            frame = await speaker.track.recv()
            place = frame.pts // FRAME
            is_loud = np.abs(frame.to_ndarray()).max() > 300
            (loud if is_loud else quiet).add(place % len(frames))
        # In the codec it takes a frame and a half to die away.
        assert loud <= set(range(SAID_FRAMES + 2))
        assert quiet.isdisjoint(range(1, SAID_FRAMES - 1))


async def test_a_word_whose_first_packet_is_lost_is_heard_from_its_beginning():
    """With silence that is not sent before it, in which one sign of life is lost, too."""
    said = voice(0.4).reshape(-1, FRAME)
    frames = np.concatenate([said, np.zeros((SILENT_FRAMES, FRAME), np.int16)])
    fmtp = "usedtx=1;useinbandfec=1"
    async with speaking(Frames(frames), fmtp=fmtp, prepare=aiortc_seam.prepare_received_track) as speaker:

        def is_lost(number: int) -> bool:
            speaker.mouth._loss.report(51)
            packets = speaker.packets
            is_second_sign = PAUSE_WITHOUT_BODY == packets[number].payload == packets[number - 1].payload
            return number > 0 and (bool(packets[number].marker) or is_second_sign)

        speaker.is_lost = is_lost
        loud, place = set(), 0
        while place < 4 * len(frames):
            frame = await speaker.track.recv()
            place = frame.pts // FRAME
            if np.abs(frame.to_ndarray()).max() > 300:
                loud.add(place)
        for begins in range(len(frames), place - SAID_FRAMES, len(frames)):
            assert set(range(begins, begins + SAID_FRAMES - 1)) <= loud
        assert speaker.track.counts.skipped_ms == 0
        assert speaker.track.counts.lost_ms >= 3 * 20


async def test_a_receiver_that_wants_no_silence_gets_signs_of_life_and_the_beginnings_are_marked():
    frames = np.concatenate([voice(0.4).reshape(-1, FRAME), np.zeros((SILENT_FRAMES, FRAME), np.int16)])
    async with speaking(Frames(frames), fmtp="usedtx=1") as speaker:
        signs = -((SETTLING_FRAMES - SILENT_FRAMES) // SIGN_OF_LIFE_FRAMES)
        packets = await speaker.sent(2 * (SAID_FRAMES + SETTLING_FRAMES + signs) + 1)
    begins = [number for number, packet in enumerate(packets) if packet.marker]
    assert np.diff(begins).tolist()[:2] == [SAID_FRAMES + SETTLING_FRAMES + signs] * 2
    first, second = (packets[number].timestamp for number in begins[:2])
    assert (second - first) % (1 << 32) == len(frames) * FRAME
    assert sum(packet.payload == PAUSE_WITHOUT_BODY for packet in packets) == 2 * signs
    assert (np.diff([packet.sequence_number for packet in packets]) == 1).all()


async def test_who_gets_the_same_gets_it_encoded_once_and_one_that_fails_leaves_the_others_alone():
    async with AudioSource() as source, AsyncExitStack() as stack:
        speakers = [await stack.enter_async_context(speaking(source)) for _ in range(3)]
        await asyncio.gather(*(speaker.sent(1) for speaker in speakers))
        encoded, failures = ENCODED._value.get(), FAILURES._value.get()
        await source.push(SPEECH)
        await source.drained()
        assert ENCODED._value.get() - encoded <= 20 + 1
        assert source.played_ms == 400

        speakers[0].is_lost = broken
        await speakers[1].sent(len(speakers[1].packets) + 5)
        assert FAILURES._value.get() == failures + 1
        assert speakers[0].pc.getSenders()[0].track is None
        await speakers[2].other.close()
        await speakers[1].sent(len(speakers[1].packets) + 5)


async def test_a_track_of_somebody_else_that_fails_ends_and_the_connection_can_be_closed():
    track = RealTime(np.zeros((5, FRAME), np.int16))
    failures = FAILURES._value.get()
    async with speaking(Broken(track)) as speaker:
        while FAILURES._value.get() == failures:
            await asyncio.sleep(0.01)
        assert speaker.pc.getSenders()[0].track is None


async def test_a_section_whose_sender_failed_can_be_used_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection_media, "REUSE_FROM_SECTIONS", 1)
    async with (
        AudioSource() as one,
        AudioSource() as other,
        speaking(one, prepare=aiortc_seam.prepare_received_track) as speaker,
    ):
        await speaker.sent(5)
        speaker.is_lost = broken
        while speaker.pc.getSenders()[0].track is not None:
            await asyncio.sleep(0.01)
        speaker.is_lost = lambda _: False
        failed = len(speaker.packets)
        speaker.send_instead(other)
        assert len(speaker.pc.getTransceivers()) == 1
        await other.push(SPEECH)
        await speaker.sent(failed + 30)
        while not (await speaker.track.read(16_000)).any():
            pass
        # The receiver sees one stream of packets, of which one was not sent.
        steps = np.diff([packet.sequence_number for packet in speaker.packets])
        assert steps.tolist().count(0) == 1
        assert set(steps) == {0, 1}


async def test_a_section_of_another_codec_whose_sender_failed_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection_media, "REUSE_FROM_SECTIONS", 1)
    async with AudioSource() as source, AsyncExitStack() as stack:
        speaker = ByTelephone(source)
        stack.push_async_callback(speaker.close)
        await speaker.connect(None)
        assert (await speaker.sent(1))[0].payload_type == 0
        speaker.pc.getSenders()[0]._RTCRtpSender__rtp_task.cancel()
        while speaker.pc.getSenders()[0].track is not None:
            await asyncio.sleep(0.01)
        speaker.send_instead(source)
        assert len(speaker.pc.getTransceivers()) == 2


class ByTelephone(Speaking):
    async def offer(self) -> str:
        self._media.send([self._outgoing])
        self._media.place()
        (section,) = self.pc.getTransceivers()
        codecs = RTCRtpReceiver.getCapabilities("audio").codecs
        section.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/PCMU"])
        return await super().offer()


class LateInACall(Speaking):
    """As after 20 minutes."""

    async def offer(self) -> str:
        description = await super().offer()
        self.mouth._sequence, self.mouth._origin = 0xFFFF - 15, 0xFFFFFFFF - 30 * FRAME
        return description


async def test_numbers_and_times_overflow_unnoticed():
    async with AudioSource() as source, AsyncExitStack() as stack:
        speaker = LateInACall(source, aiortc_seam.prepare_received_track)
        stack.push_async_callback(speaker.close)
        await speaker.connect(None)
        packets = (await speaker.sent(50))[:50]
        for name, bits in (("sequence_number", 16), ("timestamp", 32)):
            numbers = [getattr(packet, name) for packet in packets]
            assert numbers[0] > numbers[-1]
            steps = np.diff(numbers) % (1 << bits)
            assert ((steps > 0) & (steps < 100 * FRAME)).all(), name
        assert isinstance(speaker.track, ReceivedAudio)
        counts = speaker.track.counts
        while counts.received < 49:
            await speaker.track.read(16_000)
        assert (counts.lost, counts.late, counts.duplicate, counts.refused) == (0, 0, 0, 0)


class Broken:
    """A source whose tracks raise what they please."""

    kind = "audio"

    def __init__(self, track: RealTime) -> None:
        self._track = track

    def new_track(self) -> RealTime:
        async def due() -> None:
            raise ZeroDivisionError

        self._track.due = due
        return self._track


def broken(_: int) -> bool:
    raise ValueError


async def test_what_is_sent_to_nobody_does_not_count_as_played():
    async with AudioSource() as source, speaking(source) as speaker:
        await speaker.sent(1)
        speaker.pc.getSenders()[0]._enabled = False
        sent = len(speaker.packets)
        await source.push(SPEECH)
        await source.drained()
        assert len(speaker.packets) == sent
        assert source.played_ms == 0


async def test_other_codecs_are_encoded_by_aiortc_but_without_a_thread():
    sender, receiver = new_connection(), new_connection()
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    receiver.on("track", lambda t: arrived.put_nowait(aiortc_seam.prepare_received_track(receiver, t)))
    asyncio.get_running_loop().set_default_executor(NoThreads())
    try:
        track = OutgoingTrack("audio")
        track.play(Noise())
        sending_seam.Mouth(sender.addTrack(track))
        codecs = RTCRtpReceiver.getCapabilities("audio").codecs
        (section,) = sender.getTransceivers()
        section.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/PCMU"])
        await negotiate(sender, receiver)
        assert (await (await arrived.get()).recv()).samples > 0
    finally:
        await asyncio.gather(sender.close(), receiver.close())


class NoThreads(ThreadPoolExecutor):
    def submit(self, *args: object, **kwargs: object) -> Never:
        raise AssertionError("something is done in a thread")


def test_the_fast_audio_level_is_the_one_used_and_the_same():
    spec = importlib.util.find_spec("aiortc.rtp")
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    sending_seam.use_fast_audio_level()
    assert aiortc.rtp.compute_audio_level_dbov is sending_seam.audio_level_dbov
    # The sender looks the function up in the module each time; imported by name, ours would not be used.
    assert aiortc.rtcrtpsender.rtp is aiortc.rtp
    assert not hasattr(aiortc.rtcrtpsender, "compute_audio_level_dbov")
    random = np.random.default_rng(1)
    for peak in (0, 1, 2, 50, 3000, 32_767):
        frame = audio_frame(random.integers(-peak, peak + 1, 960))
        assert sending_seam.audio_level_dbov(frame) == original.compute_audio_level_dbov(frame)
