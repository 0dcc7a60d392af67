"""Whether what was observed is what a sample expects, and in words why not. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from agent.replay.runner import Observation
from agent.replay.sample import Expectation, Reply, Sample

_NUMBERS = {"0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six"} | {
    "7": "seven", "8": "eight", "9": "nine", "10": "ten", "11": "eleven", "12": "twelve",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line of the table."""

    sample: Sample
    observation: Observation
    #: What was expected in the end: the sample's own, or its `otherwise`.
    expectation: Expectation
    #: Each expectation that was not met, in words.
    failures: tuple[str, ...]
    #: Word error rate of what was heard; None when it is not judged.
    wer: float | None

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def first_sound_ms(self) -> float | None:
        """The longest wait for an answer."""
        return max((ms for ms in self.observation.first_sounds_ms() if ms is not None), default=None)


def judge(sample: Sample, observation: Observation, languages: tuple[str, ...] = ()) -> Verdict:
    """Compare. `languages`: what the recogniser in use understands; empty: any."""
    expected = sample.expectation(languages)
    if observation.failure is not None:
        return Verdict(sample, observation, expected, (observation.failure,), None)
    failures = [
        *_judge_heard(expected, observation),
        *_judge_answers(expected, observation),
        *_judge_sound(expected, observation),
        *(f"the agent reported: {problem}" for problem in observation.problems),
    ]
    heard = " ".join(observation.heard)
    rate = None if expected.heard is None else word_error_rate(expected.heard, heard)
    return Verdict(sample, observation, expected, tuple(failures), rate)


def words(text: str) -> list[str]:
    """Lower case, without punctuation, small numbers spelt out: what a comparison should look at."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in folded)
    return [_NUMBERS.get(word, word) for part in kept.split() if (word := part.strip("'"))]


def word_error_rate(reference: str, heard: str) -> float:
    """Words to insert, drop and replace, per word of `reference`; 1 for words where there should be none."""
    said, understood = words(reference), words(heard)
    if not said:
        return 1.0 if understood else 0.0
    return Levenshtein.distance(said, understood) / len(said)


def contains(text: str, wanted: str) -> bool:
    """Whether the words of `wanted` come one after the other in `text`."""
    return f" {' '.join(words(wanted))} " in f" {' '.join(words(text))} "


def _judge_heard(expected: Expectation, observation: Observation) -> list[str]:
    if expected.heard is None:
        return []
    heard = " ".join(observation.heard)
    rate = word_error_rate(expected.heard, heard)
    if expected.heard and not heard:
        return [f"nothing was understood of {_quoted(expected.heard)}"]
    if not expected.heard and heard:
        return [f"{_quoted(heard)} was understood where nothing was said"]
    if rate > expected.wer_max:
        return [
            f"{_quoted(heard)} was understood of {_quoted(expected.heard)}: "
            f"{rate:.0%} of the words are wrong, {expected.wer_max:.0%} are allowed"
        ]
    return []


def _judge_answers(expected: Expectation, observation: Observation) -> list[str]:
    answers = observation.answers
    if len(answers) != expected.turns:
        said = "; ".join(_quoted(answer.text) for answer in answers) or "nothing"
        return [f"{_count(expected.turns, 'answer')} expected, {len(answers)} came: {said}"]
    failures: list[str] = []
    for number, (reply, answer) in enumerate(zip(expected.reply, answers, strict=False), 1):
        which = f"answer {number}" if len(answers) > 1 else "the answer"
        failures += [f"{which}, {_quoted(answer.text)}, {why}" for why in _judge_answer(reply, answer.text)]
        if reply.interrupted != answer.interrupted:
            was = "was cut off" if answer.interrupted else "was not interrupted"
            failures.append(f"{which}, {_quoted(answer.text)}, {was}")
    return failures


def _judge_answer(reply: Reply, text: str) -> list[str]:
    if reply.contains and not any(contains(text, wanted) for wanted in reply.contains):
        wanted = " or ".join(map(_quoted, reply.contains))
        return [f"does not contain {wanted}"]
    return []


def _judge_sound(expected: Expectation, observation: Observation) -> list[str]:
    if expected.silent:
        heard_ms = sum(sound.end_ms - sound.start_ms for sound in observation.sounds)
        return [f"the agent had to be silent and sounded for {heard_ms:.0f} ms"] if heard_ms else []
    limits, failures = expected.limits, []
    first_ms = [ms for ms in observation.first_sounds_ms() if ms is not None]
    if not first_ms:
        failures.append("no sound of an answer arrived")
    elif max(first_ms) > limits.first_sound_ms_max:
        failures.append(
            f"the first sound of an answer took {max(first_ms):.0f} ms, "
            f"{limits.first_sound_ms_max} ms are allowed"
        )
    if limits.stop_ms_max is not None:
        failures += _judge_stop(limits.stop_ms_max, observation.stop_ms())
    return failures


def _judge_stop(limit_ms: int, stop_ms: float | None) -> list[str]:
    if stop_ms is None:
        return ["the caller did not speak over an answer, so nothing was interrupted"]
    if stop_ms > limit_ms:
        return [f"the agent spoke on for {stop_ms:.0f} ms when interrupted, {limit_ms} ms are allowed"]
    return []


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return f"“{shown if len(shown) <= 200 else shown[:199] + '…'}”"
