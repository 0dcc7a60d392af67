"""What the benchmarks measure is what was: against an answerer whose delay is known."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from agent.recording import RATE_HZ
from benchmarks.common.buzz import RATE_HZ as BUZZ_RATE_HZ
from benchmarks.common.buzz import buzz
from benchmarks.common.caller import Caller
from benchmarks.common.chat_server import tokens
from benchmarks.common.document import write_section
from benchmarks.common.ears import Ears
from benchmarks.common.figures import Spread, bar, finish
from benchmarks.common.mouth import Mouth
from benchmarks.common.peers.ours import FreeRecognition
from benchmarks.common.said import Note, Said
from benchmarks.common.setup import Setup
from benchmarks.common.signalling import OnMessage
from benchmarks.common.sound import FRAME_SAMPLES, Recording
from pipelines.audio import SPEECH_RATE_HZ

FRAME_S = FRAME_SAMPLES / RATE_HZ


class Answerer:
    """The other end of a call in this process, and the signalling to it: hums some time after each sound."""

    def __init__(self, delay_s: float) -> None:
        self.mouth, self.ears = Mouth(), Ears()
        #: What passed here between the end of each question and the beginning of the answer to it.
        self.took_s: list[float] = []
        self._delay_s = delay_s
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    async def connect(self, pc: RTCPeerConnection, on_message: OnMessage) -> None:
        sender = self._pc.addTrack(self.mouth)
        self._pc.on("track", self._on_track)
        await pc.setLocalDescription(await pc.createOffer())
        await self._pc.setRemoteDescription(RTCSessionDescription(pc.localDescription.sdp, "offer"))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        await pc.setRemoteDescription(RTCSessionDescription(self._pc.localDescription.sdp, "answer"))
        self.mouth.watch(sender)

    async def close(self) -> None:
        await self._pc.close()

    async def answer(self) -> None:
        """Wait for a sound and its end, and answer."""
        self.ears.forget()
        while self.ears.last_sound_s() is None or time.monotonic() < self.ears.last_sound_s() + self._delay_s:
            await self.ears.packet(FRAME_S)
        ended_s = self.ears.last_sound_s()
        frames = self.mouth.say(tone(0.3))
        self.took_s.append(await self.mouth.left_s(frames[0]) - ended_s)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.ears.listen_to(self._pc.getTransceivers()[0].receiver)


def tone(seconds: float) -> np.ndarray:
    return (8000 * np.sin(np.arange(int(seconds * RATE_HZ)) * 2 * np.pi * 440 / RATE_HZ)).astype(np.int16)


@pytest.mark.network
@pytest.mark.parametrize("delay_s", [0.2, 0.5])
async def test_a_known_delay_is_measured(delay_s: float) -> None:
    answerer = Answerer(delay_s)
    # Opus is 6.5 ms late: what ends in the middle of a packet ends in the same packet for who receives it.
    question = tone(0.4)[: -FRAME_SAMPLES // 2]
    recording = Recording("tone", "Hum.", question, 0, len(question))
    measured: list[float] = []
    async with Caller(answerer) as caller:
        for _ in range(4):
            caller.ears.forget()
            answering = asyncio.create_task(answerer.answer())
            began_s, ended_s = await caller.mouth.say_recording(recording)
            first_s = await caller.first_sound_s(began_s, 10)
            await answering
            assert first_s is not None
            measured.append(first_s - ended_s)
            await caller.quiet(0.2, 10)
    # Sound takes time both ways, more on a busy machine; the least of it is what the codec takes.
    least_s = min(m - took for m, took in zip(measured, answerer.took_s, strict=True))
    assert 0 < least_s < FRAME_S
    assert min(measured) > delay_s


def test_the_noted_sentence_is_known_no_sooner_than_said(tmp_path: Path) -> None:
    note = Note(tmp_path / "note.json")
    assert note.heard(10.0) == ""
    said = Said("My name is David.", 100.0, 102.0, "Hello.")
    note.write(said)
    assert note.read() == said
    heard = [said.heard(now_s, 10.0) for now_s in (99.0, 100.6, 101.0, 102.0, 105.0)]
    assert heard == ["", "My", "My name", "My name is David.", "My name is David."]
    # The second half of the audio holds the second half of the words.
    assert said.heard(102.0, 1.0) == "is David."


async def test_the_free_recogniser_knows_the_words_on_a_machine_that_is_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now_s, now_s=10.0)
    monkeypatch.setattr("benchmarks.common.peers.ours.time", clock)
    monkeypatch.setattr("benchmarks.common.said.time", clock)
    setup = Setup("", str(tmp_path / "note.json"))
    setup.note.write(Said("No.", 9.9, 10.1, "All right."))
    recognition = FreeRecognition(setup)
    recognition.feed(np.zeros(SPEECH_RATE_HZ // 5, np.float32))
    assert await recognition.partial() == "No."
    # The rest of what was said is waiting somewhere, and so is whoever asks.
    clock.now_s = 11.0
    assert await recognition.partial() == "No."
    later = FreeRecognition(setup)
    later.feed(np.zeros(SPEECH_RATE_HZ // 5, np.float32))
    assert await later.partial() == "", "all of it was said before"


def test_a_token_is_a_word_or_a_mark() -> None:
    text = "It's sunny in Berlin, about 20 degrees."
    assert "".join(tokens(text)) == text
    assert tokens("Sure, why?") == ["Sure", ",", " why", "?"]


def test_the_free_voice_sounds_at_once() -> None:
    samples = buzz("Hello there.")
    assert np.abs(samples[: BUZZ_RATE_HZ // 200]).max() > 1000
    assert not len(buzz("..."))


def test_figures() -> None:
    spread = Spread.of(range(1, 101))
    assert spread is not None
    assert (spread.count, spread.median, spread.p95, spread.worst) == (100, 50.5, 95, 100)
    assert Spread.of([]) is None
    assert bar("median", 0.4, "<=", 0.45) == "bar: median 0.4 <= 0.45 ok"
    assert bar("median", 0.5, "<=", 0.45) == "bar: median 0.5 <= 0.45 short"
    assert bar("median", None, "<", 30) == "bar: median - < 30 short"


def test_a_bar_that_is_missed_ends_the_program_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    met, missed = bar("median", 0.4, "<=", 0.45), bar("worst", 0.5, "<=", 0.45)
    finish([met])
    with pytest.raises(SystemExit) as ended:
        finish([missed, met])
    assert ended.value.code not in (0, None)
    assert capsys.readouterr().out.splitlines() == [met, missed, met]


def test_a_program_replaces_its_own_section_and_no_other(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    write_section("one", "## One\n\nold", document)
    write_section("two", "## Two", document)
    write_section("one", "## One\n\nnew \\1", document)
    text = document.read_text()
    assert "old" not in text
    assert text.index("new \\1") < text.index("## Two")
    assert text.startswith("# Benchmarks")
