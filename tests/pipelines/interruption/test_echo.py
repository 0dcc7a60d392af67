"""A microphone that hears the reply: our own voice is not speech, and who speaks over it is heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from pipelines.audio import SPEECH_RATE_HZ, Samples
from pipelines.events import Murmur, Offset, Onset
from pipelines.interruption import ECHO, EchoGate, PlayedLevels
from pipelines.listener import Listener, SpeechEvent
from pipelines.options import VadOptions
from pipelines.vad import WINDOW_MS, WINDOW_SAMPLES

BLOCK = 320
LEAD_MS = 500.0


@dataclass(frozen=True)
class Room:
    delay_ms: float = 180.0
    gain: float = 0.3
    reverberation_s: float = 0.3

    def echo(self, played: Samples) -> Samples:
        """What a loudspeaker and this room make of it, at the microphone."""
        random = np.random.default_rng(4)
        at_s = np.arange(int(0.3 * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
        response = random.standard_normal(len(at_s)) * 10 ** (-3 * at_s / self.reverberation_s)
        response *= 0.7 / np.sqrt(np.sum(response**2))
        response[0] = 1.0
        size = 2 ** int(np.ceil(np.log2(len(played) + len(response))))
        spectrum = np.fft.rfft(played, size) * np.fft.rfft(response, size)
        hz = np.fft.rfftfreq(size, 1 / SPEECH_RATE_HZ)
        # A small loudspeaker: nothing low, nothing high.
        spectrum *= (hz / 250) ** 2 / (1 + (hz / 250) ** 2) / np.sqrt(1 + (hz / 6000) ** 8)
        delay = int(self.delay_ms * SPEECH_RATE_HZ / 1000)
        heard = np.concatenate([np.zeros(delay), np.fft.irfft(spectrum)])[: len(played)]
        return (self.gain * heard).astype(np.float32)


def listen(played: Samples, microphone: Samples, *, gate: bool = True) -> list[SpeechEvent]:
    """What a listener finds in `microphone` while `played` is; both begin at 0 ms."""
    levels, events = PlayedLevels(), list[SpeechEvent]()
    now_ms = 0.0
    listener = Listener(
        "ann",
        VadOptions(),
        played=levels,
        now_ms=lambda: now_ms,
        on_event=events.append,
        on_heard=lambda: None,
    )
    for start in range(0, len(microphone) - BLOCK, BLOCK):
        if gate:
            levels.feed(played[start : start + BLOCK], now_ms)
        now_ms += 1000 * BLOCK / SPEECH_RATE_HZ
        listener.feed(microphone[start : start + BLOCK])
    return events


def onsets_ms(events: list[SpeechEvent]) -> list[float]:
    return [event.at_ms for event in events if isinstance(event, Onset)]


def lead(samples: Samples) -> Samples:
    return np.concatenate([np.zeros(int(LEAD_MS * SPEECH_RATE_HZ / 1000), np.float32), samples])


def room_noise(count: int) -> Samples:
    return np.random.default_rng(5).normal(0, 0.0005, count).astype(np.float32)


def say_over(microphone: Samples, said: Samples, at_ms: float, gain: float) -> Samples:
    start = int(at_ms * SPEECH_RATE_HZ / 1000)
    mixed = microphone.copy()
    mixed[start : start + len(said)] += gain * said[: len(mixed) - start]
    return mixed


@pytest.fixture
def reply(recording: Callable[[str], Samples]) -> Samples:
    return lead(recording("speech/austen-0920.wav"))


@pytest.mark.parametrize(
    "room", [Room(), Room(20, 0.7, 0.2), Room(600, 0.2, 0.4), Room(300, 0.07, 0.25)], ids=str
)
def test_our_own_voice_is_not_speech(reply: Samples, room: Room) -> None:
    microphone = room.echo(reply) + room_noise(len(reply))
    assert onsets_ms(listen(reply, microphone, gate=False)), "without the gate it would be"
    events = listen(reply, microphone)
    assert not onsets_ms(events)
    # In seven seconds: each ducks the reply for a moment.
    assert sum(isinstance(event, Murmur) for event in events) <= 3


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_a_person_over_the_echo_is_heard(
    reply: Samples, recording: Callable[[str], Samples], gain: float
) -> None:
    said = recording("callers/wait-a-moment.wav")
    microphone = say_over(Room().echo(reply) + room_noise(len(reply)), said, 3000, gain)
    (first, *_) = onsets_ms(listen(reply, microphone))
    assert 2900 < first < 3000 + 1000 * len(said) / SPEECH_RATE_HZ


def test_a_person_over_the_echo_is_not_cut_to_pieces(
    reply: Samples, recording: Callable[[str], Samples]
) -> None:
    said = recording("callers/remind-me-to-call-sarah-on-monday.wav")
    microphone = say_over(Room(gain=0.6).echo(reply) + room_noise(len(reply)), said, 3000, 0.3)
    edges = [event for event in listen(reply, microphone) if isinstance(event, Onset | Offset)]
    heard_ms = sum(
        off.at_ms - on.at_ms for on, off in pairwise(edges) if isinstance(on, Onset) and on.at_ms > 2900
    )
    assert heard_ms > 0.6 * 1000 * len(said) / SPEECH_RATE_HZ


def test_a_person_with_headphones_is_heard_as_soon_as_without_a_gate(
    reply: Samples, recording: Callable[[str], Samples]
) -> None:
    microphone = say_over(room_noise(len(reply)), recording("callers/what-time-is-it.wav"), 3000, 0.5)
    assert onsets_ms(listen(reply, microphone))[:1] == onsets_ms(listen(reply, microphone, gate=False))[:1]


def test_a_person_who_speaks_into_the_first_words_is_heard(
    reply: Samples, recording: Callable[[str], Samples]
) -> None:
    said = recording("callers/where-is-the-train-station.wav")
    microphone = say_over(room_noise(len(reply)), said, LEAD_MS + 200, 0.5)
    assert onsets_ms(listen(reply, microphone))[0] < LEAD_MS + 200 + 1000 * len(said) / SPEECH_RATE_HZ


class Gate:
    """The gate alone, window by window."""

    def __init__(self) -> None:
        self.played = PlayedLevels()
        self.gate = EchoGate(self.played)
        self.now_ms = 0.0

    def run(self, played: Samples, microphone: Samples) -> list[float]:
        echoes = []
        for start in range(0, len(microphone) - WINDOW_SAMPLES, WINDOW_SAMPLES):
            window = slice(start, start + WINDOW_SAMPLES)
            self.played.feed(played[window], self.now_ms)
            self.now_ms += WINDOW_MS
            echoes.append(self.gate.is_echo(microphone[window], self.now_ms))
        return echoes


@pytest.mark.parametrize("delay_ms", [40.0, 250.0, 590.0])
def test_the_delay_is_found(reply: Samples, delay_ms: float) -> None:
    one = Gate()
    one.run(reply, Room(delay_ms).echo(reply) + room_noise(len(reply)))
    assert one.gate.delay_ms == pytest.approx(delay_ms, abs=16)


def test_a_delay_that_changes_is_followed(reply: Samples) -> None:
    one = Gate()
    one.run(reply, Room(100).echo(reply) + room_noise(len(reply)))
    one.run(reply, Room(160).echo(reply) + room_noise(len(reply)))
    assert one.gate.delay_ms == pytest.approx(160, abs=16)


def test_headphones_put_on_end_the_echo(reply: Samples) -> None:
    one = Gate()
    one.run(reply, Room().echo(reply) + room_noise(len(reply)))
    assert one.gate.delay_ms is not None
    one.run(reply, room_noise(len(reply)))
    assert one.gate.delay_ms is None


def test_headphones_taken_off_are_noticed(reply: Samples) -> None:
    played = np.concatenate([reply] * 3)
    off_ms = 3000.0
    echo = Room().echo(played)
    echo[: int(off_ms * SPEECH_RATE_HZ / 1000)] = 0
    microphone = echo + room_noise(len(played))
    assert max(onsets_ms(listen(played, microphone, gate=False))) > off_ms + 10_000
    found_ms = onsets_ms(listen(played, microphone))
    assert found_ms, "what is not known to be an echo is speech"
    assert max(found_ms) < off_ms + 3000


def test_an_echo_is_noticed_piece_by_piece_of_a_reply_that_pauses_for_it(reply: Samples) -> None:
    one = Gate()
    one.run(reply, room_noise(len(reply)))
    # A quarter of a second at a time, as it is when every onset silences the reply.
    parts = np.array_split(reply[int(LEAD_MS * SPEECH_RATE_HZ / 1000) :], 28)[:12]
    played = np.concatenate([np.concatenate([part, np.zeros(SPEECH_RATE_HZ, np.float32)]) for part in parts])
    one.run(played, Room().echo(played) + room_noise(len(played)))
    assert one.gate.delay_ms is not None


@pytest.mark.parametrize("name", ["speech/jfk", "speech/lj-0004", "callers/what-time-is-it"])
def test_who_has_headphones_is_no_echo_however_often_they_speak(
    reply: Samples, recording: Callable[[str], Samples], name: str
) -> None:
    said = recording(f"{name}.wav")
    one = Gate()
    one.run(reply, room_noise(len(reply)))
    for at_ms in range(0, 4000, 500):
        echoes = one.run(reply, say_over(room_noise(len(reply)), said, LEAD_MS + at_ms, 0.5))
        assert one.gate.delay_ms is None
        assert max(echoes[int((LEAD_MS + at_ms) / WINDOW_MS) + 8 :][:20]) < ECHO


def test_an_echo_that_gave_way_to_speech_is_not_believed_for_long(
    reply: Samples, recording: Callable[[str], Samples]
) -> None:
    one = Gate()
    one.run(reply, Room().echo(reply) + room_noise(len(reply)))
    assert one.gate.delay_ms is not None
    said = np.resize(recording("speech/jfk.wav"), len(reply))
    one.run(reply, 0.3 * said)
    assert one.gate.delay_ms is None


def test_nothing_is_an_echo_while_nothing_is_played(reply: Samples) -> None:
    one = Gate()
    assert max(one.run(np.zeros_like(reply), reply)) < ECHO


def test_digital_silence_is_no_trouble() -> None:
    one = Gate()
    silence = np.zeros(SPEECH_RATE_HZ, np.float32)
    assert np.isfinite(one.run(silence, silence)).all()
    loud = np.full(SPEECH_RATE_HZ, 0.5, np.float32)
    assert np.isfinite(one.run(loud, silence)).all()
    assert np.isfinite(one.run(loud, loud)).all()
