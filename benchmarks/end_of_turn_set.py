"""The labelled set of `end_of_turn.py`: turns with pauses inside, of which it is known where they end.

- people: recordings with the pauses people made, and the same with a pause put in after a word of it;
- callers: recordings of a synthetic voice that neither split of the generated turns has;
- generated turns: hesitations, dictated numbers, lists, second thoughts, and turns said in one go. Every `|`
  is a pause. The pieces are spoken with the comma's intonation before a pause and their own mark at the end.

Half of the sentences, spoken by half of the voices, are for fitting; the other sentences, in the other
voices, and everything recorded, are held out.

Pauses put in are log-normal, as those of people are (Campione & Véronis 2002): each caller has a median of
350, 500 or 750 ms, and sigma is 0.6. After a hesitation aloud ("um") they are half as long again.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from piper import PiperVoice
from pocketsphinx import Config, Decoder

from pipelines.audio import SPEECH_RATE_HZ, Samples, to_float, to_int16

#: Room noise under everything, and how long a turn is followed after its end.
NOISE_DBFS = -62.0
TAIL_MS = 2400
MEDIAN_PAUSES_MS = (350.0, 500.0, 750.0)
PAUSE_SIGMA = 0.6
PAUSE_LIMITS_MS = (150.0, 2200.0)

SENTENCES = {
    "hesitation": (
        "I would like to, um,|book a table.",
        "can you tell me|what the weather is like tomorrow?",
        "I am calling about|the bill I got last week.",
        "so, uh,|my internet is not working.",
        "I wanted to ask if|you are open on Sunday.",
        "please send it to|my office in London.",
        "I think I need a|bigger car for the weekend.",
        "we are looking for a hotel with|a swimming pool.",
        "could you change my flight to|the third of May?",
        "the thing is that|I have lost my key.",
        "I would like to speak to, um,|the manager please.",
        "my name is|Peter Brown.",
        "do you have any|vegetarian dishes?",
        "I need to cancel the|appointment for Friday.",
        "is there a train that|goes to Oxford tonight?",
        "well I was wondering whether|you could help me.",
        "turn on the light in the|kitchen.",
        "I have a question about|my contract.",
        "remind me to|water the plants, uh,|in the morning.",
        "we will arrive at|about seven, and|we have two dogs.",
    ),
    "second thought": (
        "I want to order a pizza|with mushrooms.",
        "I will take the red one|no wait the blue one.",
        "book a room for tonight|and for tomorrow.",
        "I lost my card yesterday|when I was at the station.",
        "the printer is broken|it says there is no paper.",
        "call my sister|and tell her that I am late.",
        "I would like a coffee|because I am tired.",
        "play some music|but not too loud.",
        "we are four people|and a baby.",
        "it started on Monday|after the storm.",
        "send the report to Anna|and a copy to me.",
        "my flight is at nine|so I need a taxi at six.",
    ),
    "number": (
        "my order number is|four seven|two nine.",
        "my phone number is|zero one five|two three eight|four four one.",
        "the code is|nine eight|seven six.",
        "you can reach me at|five five five|one two|three four.",
        "my account number is|eight one one|three seven|two zero five.",
        "it is|one nine|eight four.",
        "my pin is|three three|six one.",
        "the card number is|four one two two|eight nine six five|zero zero three one.",
        "my customer number is|six two|five five|one.",
        "the zip code is|nine four|one one zero.",
    ),
    "list": (
        "I need milk,|eggs,|bread|and butter.",
        "we visited Paris,|London|and Rome.",
        "two beers,|one water|and a small salad.",
        "on Monday,|on Tuesday|and on Friday.",
        "I speak English,|German|and a little French.",
        "a hammer,|some nails|and a long rope please.",
        "Tom,|Mary,|David|and I.",
        "red,|green,|yellow|and blue.",
        "soup,|fish|and ice cream for my wife.",
        "one for my mother,|one for my father|and two for us.",
    ),
    "in one go": (
        "what time is it?",
        "yes.",
        "no.",
        "yes please.",
        "no thank you.",
        "four.",
        "hello.",
        "good morning.",
        "thank you very much.",
        "stop.",
        "where is the station?",
        "how much does it cost?",
        "book a table for two people tomorrow.",
        "turn off the radio in the bedroom.",
        "I would like to change my password.",
        "tell me a story about a dragon.",
        "can I pay by card?",
        "the battery is empty again.",
        "we are very happy with the room.",
        "who wrote this book?",
        "at half past eight.",
        "a double room with breakfast.",
        "I don't know.",
        "that is all.",
        "my train leaves in ten minutes.",
        "is the museum open today?",
        "please cancel my order.",
        "next Wednesday.",
        "I am not sure about that.",
        "the blue one.",
    ),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `audio` (16 kHz, then `TAIL_MS` of the room) and the words said up to each put-in pause."""

    category: str
    #: Who speaks: turns of one caller come one after the other, with the same habit of pausing.
    caller: str
    is_held_out: bool
    audio: Samples
    #: Where the speech really ends, ms.
    end_ms: float
    #: The words from the beginning up to each point in time, ms: what a perfect recogniser would write.
    said: tuple[tuple[float, str], ...]
    language: str = "en"
    recogniser: str = "pocketsphinx"


@dataclass(slots=True)
class _Tape:
    """Pieces of speech and silences, one after the other."""

    random: np.random.Generator
    parts: list[Samples] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)

    @property
    def now_ms(self) -> float:
        return 1000.0 * sum(map(len, self.parts)) / SPEECH_RATE_HZ

    def say(self, speech: Samples, words: str) -> None:
        self.parts.append(speech)
        before = self.said[-1][1] + " " if self.said else ""
        self.said.append((self.now_ms, before + words))

    def pause(self, ms: float) -> None:
        self.parts.append(np.zeros(int(ms * SPEECH_RATE_HZ / 1000), np.float32))

    def turn(self, category: str, caller: str, is_held_out: bool, **more: str) -> Turn:
        end_ms = self.now_ms
        self.pause(TAIL_MS)
        audio = np.concatenate(self.parts)
        noise = self.random.normal(0, 10 ** (NOISE_DBFS / 20), len(audio)).astype(np.float32)
        return Turn(category, caller, is_held_out, audio + noise, end_ms, tuple(self.said), **more)


def labelled_set(audio: Path, models: Path, every: int) -> list[Turn]:
    """All turns; with `every` > 1, that fraction of the generated ones and of the recordings."""
    turns: list[Turn] = []
    if (audio / "manifest.json").is_file():
        turns += list(people(audio))[::every]
        turns += list(callers(audio))[::every]
    return turns + list(generated(models, every))


def _pause_ms(random: np.random.Generator, habit: int, hesitates: bool) -> float:
    median = MEDIAN_PAUSES_MS[habit % len(MEDIAN_PAUSES_MS)] * (1.5 if hesitates else 1.0)
    return float(np.clip(random.lognormal(np.log(median), PAUSE_SIGMA), *PAUSE_LIMITS_MS))


# ---- recordings


def people(folder: Path) -> Iterator[Turn]:
    """Each person's recording as it is, and English ones once more with a pause after one of the words."""
    random = np.random.default_rng(11)
    align = Aligner()
    for number, clip in enumerate(json.loads((folder / "manifest.json").read_text())["speech"]):
        speech = trimmed(read_wav(folder / clip["file"]))
        language, voice = clip["language"], Path(clip["file"]).stem
        tape = _Tape(random)
        boundaries = align.words(speech, clip["text"]) if language == "en" and clip["text"] else []
        tape.parts.append(speech)
        tape.said += [(end_ms, said) for end_ms, said in boundaries] or [(tape.now_ms, clip["text"] or "")]
        yield tape.turn("people", voice, True, language=language)
        for cut in _cuts(random, len(boundaries)):
            yield _cut(speech, boundaries, cut, _pause_ms(random, number, False), random).turn(
                "people, paused", voice, True
            )


def callers(folder: Path) -> Iterator[Turn]:
    """The synthetic callers: as they are, and with a pause after one of the words."""
    random = np.random.default_rng(12)
    align = Aligner()
    for number, caller in enumerate(json.loads((folder / "callers.json").read_text())["callers"]):
        speech = trimmed(read_wav(folder / caller["file"]))
        for recogniser in ("pocketsphinx", "whisper-mini"):
            category = "callers" if recogniser == "pocketsphinx" else "callers, whisper-mini"
            tape = _Tape(random)
            tape.say(speech, caller["text"])
            yield tape.turn(category, f"alan {number}", True, recogniser=recogniser)
        boundaries = align.words(speech, caller["text"].strip(".?").lower())
        for cut in _cuts(random, len(boundaries))[:1]:
            tape = _cut(speech, boundaries, cut, _pause_ms(random, number, False), random)
            yield tape.turn("callers, paused", f"alan {number}", True)


def _cuts(random: np.random.Generator, words: int) -> list[int]:
    """After which words to pause: two of a long sentence, one of a short one."""
    if words < 3:
        return []
    return sorted(random.choice(np.arange(1, words - 1), min(2, words - 2), replace=False).tolist())


def _cut(
    speech: Samples,
    boundaries: list[tuple[float, str]],
    cut: int,
    pause_ms: float,
    random: np.random.Generator,
) -> _Tape:
    at_ms, said = boundaries[cut]
    at = quietest(speech, int(at_ms * SPEECH_RATE_HZ / 1000))
    before, after = faded(speech[:at]), faded(speech[at:][::-1])[::-1]
    tape = _Tape(random)
    tape.say(before, said)
    tape.pause(pause_ms)
    tape.say(after, boundaries[-1][1][len(said) :].strip())
    return tape


class Aligner:
    """Finds the words of a known text in a recording."""

    def __init__(self) -> None:
        self._decoder = Decoder(Config(loglevel="FATAL"))

    def words(self, speech: Samples, text: str) -> list[tuple[float, str]]:
        """When each word ends, ms, and the text up to it; empty where it does not fit."""
        known = text.replace(",", " ").split()
        if not all(self._decoder.lookup_word(word) for word in known):
            return []
        self._decoder.set_align_text(" ".join(known))
        self._decoder.start_utt()
        self._decoder.process_raw(to_int16(speech).tobytes(), full_utt=True)
        self._decoder.end_utt()
        ends = [s.end_frame * 10.0 for s in self._decoder.seg() or () if s.word[0] not in "<[("]
        if len(ends) != len(known):
            return []
        return [(end, " ".join(known[: i + 1])) for i, end in enumerate(ends)]


# ---- generated turns


def generated(models: Path, every: int) -> Iterator[Turn]:
    random = np.random.default_rng(13)
    fit, held_out = voices(models)
    for category, sentences in SENTENCES.items():
        for number, sentence in enumerate(sentences):
            is_held_out = number % 2 == 1
            if number // 2 % every:
                continue
            for voice, speak in (held_out if is_held_out else fit).items():
                caller = f"{voice}, {category}"
                tape = _spoken(speak, sentence, zlib.crc32(caller.encode()), random)
                yield tape.turn(category, caller, is_held_out)


def _spoken(speak: Callable[[str], Samples], sentence: str, habit: int, random: np.random.Generator) -> _Tape:
    tape = _Tape(random)
    pieces = sentence.split("|")
    for i, piece in enumerate(pieces):
        is_last = i == len(pieces) - 1
        text = piece if is_last else piece.rstrip(",") + ","
        tape.say(trimmed(speak(text)), piece)
        if not is_last:
            tape.pause(_pause_ms(random, habit, piece.rstrip(",").endswith(("um", "uh"))))
    return tape


def voices(models: Path) -> tuple[dict[str, Callable[[str], Samples]], dict[str, Callable[[str], Samples]]]:
    """The voices for fitting and the held-out ones, as far as they are installed here."""
    fit: dict[str, Callable[[str], Samples]] = {}
    held_out: dict[str, Callable[[str], Samples]] = {}
    for name, into in (("piper-slt-9mb", fit), ("piper-rms-30mb", held_out)):
        if (models / f"{name}.onnx").is_file():
            into[name] = _piper(models / f"{name}.onnx")
    if shutil.which("espeak-ng"):
        fit["espeak-ng en-us+f3"] = _command("espeak-ng", "-v", "en-us+f3", "-s", "150", "--stdout")
        held_out["espeak-ng en-gb+m3"] = _command("espeak-ng", "-v", "en-gb+m3", "-s", "165", "--stdout")
    if shutil.which("flite"):
        fit["flite kal16"] = _command("flite", "-voice", "kal16", "-o", "/dev/stdout", "-t")
        held_out["flite awb"] = _command("flite", "-voice", "awb", "-o", "/dev/stdout", "-t")
    return fit, held_out


def _piper(path: Path) -> Callable[[str], Samples]:
    voice = PiperVoice.load(path)

    def speak(text: str) -> Samples:
        speech = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text)])
        return resampled(speech.astype(np.float32), voice.config.sample_rate)

    return speak


def _command(*command: str) -> Callable[[str], Samples]:
    def speak(text: str) -> Samples:
        out = subprocess.run([*command, text], capture_output=True, check=True, timeout=20).stdout
        # A WAV written to a pipe does not know its length.
        with wave.open(io.BytesIO(out)) as file:
            rate_hz = file.getframerate()
        start = out.index(b"data") + 8
        pcm = np.frombuffer(out[start : start + (len(out) - start) // 2 * 2], np.int16)
        return resampled(to_float(pcm), rate_hz)

    return speak


# ---- audio


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return to_float(np.frombuffer(file.readframes(file.getnframes()), np.int16))


def resampled(speech: Samples, rate_hz: int) -> Samples:
    if rate_hz == SPEECH_RATE_HZ:
        return speech
    length = int(len(speech) * SPEECH_RATE_HZ / rate_hz)
    at = np.arange(length) * rate_hz / SPEECH_RATE_HZ
    return np.interp(at, np.arange(len(speech)), speech).astype(np.float32)


def trimmed(speech: Samples) -> Samples:
    """Without the silence around it: 40 dB under its loudest 10 ms is silence. At -26 dBFS."""
    frames = speech[: len(speech) // 160 * 160].reshape(-1, 160)
    level = np.sqrt(np.mean(frames**2, axis=1))
    loud = np.flatnonzero(level > level.max() / 100)
    cut = speech[loud[0] * 160 : (loud[-1] + 1) * 160]
    return faded(cut * np.float32(0.05 / np.sqrt(np.mean(cut**2))))


def faded(speech: Samples) -> Samples:
    """With 10 ms of fading at the end: what is cut in two must not click."""
    out = speech.copy()
    out[-160:] *= np.linspace(1, 0, min(160, len(out)), dtype=np.float32)
    return out


def quietest(speech: Samples, near: int) -> int:
    """The quietest place within 40 ms of `near`."""
    places = range(max(160, near - 640), min(len(speech) - 160, near + 640), 80)
    return min(places, key=lambda at: float(np.sum(speech[at - 80 : at + 80] ** 2)), default=near)
