"""Samples: read, judged, reported; a few of them really played to an agent."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from agent.caller import Spoken
from agent.client import ServiceClient
from agent.recording import Sound
from agent.replay import Observation, Sample, SampleError, find_samples, judge, load_sample, play_sample
from agent.replay.judge import contains, word_error_rate, words
from agent.replay.report import show, to_json, to_junit
from agent.replay.runner import Answer
from agent.service import running_service
from agent.settings import load_settings
from pipelines.engines import Engines

SAMPLES = Path(__file__).parents[2] / "samples"


# ---- reading


def sample_file(folder: Path, text: str, *, wav: bool = True) -> Path:
    if wav:
        (folder / "a.wav").write_bytes((SAMPLES / "what-time-is-it.wav").read_bytes())
    path = folder / "a.yaml"
    path.write_text(text, "utf-8")
    return path


def test_every_sample_of_the_repository_can_be_read() -> None:
    samples = [load_sample(path) for path in find_samples([SAMPLES])]
    assert {"question", "two-turns", "pause", "silence", "noise", "interruption", "german", "person"} <= {
        sample.name for sample in samples
    }


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    sample = load_sample(sample_file(tmp_path, "heard: What time is it?\n"))
    assert sample.wavs == [tmp_path / "a.wav"]
    assert (sample.turns, sample.silent, sample.greeting) == (1, False, "")


def test_a_reply_is_one_or_one_for_each_turn(tmp_path: Path) -> None:
    one = load_sample(sample_file(tmp_path, "reply: {contains: [time]}"))
    two = load_sample(sample_file(tmp_path, "reply: [{contains: [time]}, {contains: [date]}]"))
    none = load_sample(sample_file(tmp_path, "reply: {silent: true}"))
    assert [sample.turns for sample in (one, two, none)] == [1, 2, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("herd: What?", "there is no key 'herd'; did you mean 'heard'?"),
        ("limits: {first_sound_max: 3}", "'limits.first_sound_max'; did you mean 'first_sound_ms_max'?"),
        ("reply: {contain: [x]}", "'reply.0.contain'; did you mean 'contains'?"),
        ("play: [{wave: a.wav}]", "'play.0.wave'; did you mean 'wav'?"),
        ("name: x", "a sample is called by its file"),
        ("play: [{wav: a.wav, pause_ms: 3}]", "a step has exactly one of wav, pause_ms, wait_for_reply"),
        ("play: [{pause_ms: 3}]", "nothing is said in it"),
        ("play: []", "play"),
        ("play: [{wav: b.wav}]", "there is no sound file"),
        ("wer_max: 7", "less than or equal to 1"),
        ("reply: [{silent: true}, {}]", "gives no other reply"),
        ("reply: {silent: true, contains: [x]}", "silent leaves nothing to contain"),
        ("requires: {language: de}", "'requires' and 'otherwise' go together"),
        ("requires: {language: 17}", "requires.language"),
        ("- a list", "expected keys"),
        ("a: [", "not YAML"),
        ("x: " + "y" * 70_000, "larger than"),
    ],
)
def test_a_broken_sample_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = sample_file(tmp_path, text)
    with pytest.raises(SampleError) as refused:
        load_sample(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_samples_are_found_in_folders_and_by_name(tmp_path: Path) -> None:
    path = sample_file(tmp_path, "heard: x")
    assert find_samples([tmp_path, path]) == [path]
    with pytest.raises(SampleError, match="no such file"):
        find_samples([tmp_path / "b.yaml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SampleError, match="no sample"):
        find_samples([tmp_path / "empty"])


# ---- judging


def sample(**fields: Any) -> Sample:
    fields = {"heard": "What time is it?", "play": [{"wav": "a.wav"}], **fields}
    return Sample.model_validate({"name": "a", "folder": Path(), **fields})


def spoken(start_ms: float, end_ms: float) -> Spoken:
    return Spoken("a.wav", start_ms - 20, end_ms + 100, start_ms, end_ms)


#: Asked from 1.0 to 2.0 s, answered from 2.8 to 4.0 s.
GOOD = Observation(
    heard=["what time is it"],
    answers=[Answer("It is 7:03 a.m.", False)],
    spoken=[spoken(1000, 2000)],
    sounds=[Sound(2800, 4000)],
)
QUIET = Observation(spoken=[Spoken("a.wav", 1000, 3000, None, None)])


def test_what_is_as_expected_passes() -> None:
    verdict = judge(sample(reply={"contains": ["noon", "it is"]}), GOOD)
    assert verdict.passed, verdict.failures
    assert (verdict.wer, verdict.first_sound_ms) == (0.0, 800.0)
    assert judge(sample(heard="", reply={"silent": True}), QUIET).passed


@pytest.mark.parametrize(
    ("fields", "changes", "said"),
    [
        ({}, {"heard": []}, "nothing was understood of “What time is it?”"),
        ({}, {"heard": ["what", "lime is fit"]}, "50% of the words are wrong"),
        ({"heard": ""}, {}, "was understood where nothing was said"),
        ({"reply": {"contains": ["date"]}}, {}, "does not contain “date”"),
        ({"reply": {"contains": ["s a"]}}, {}, "does not contain"),
        ({"reply": {"interrupted": True}}, {}, "was not interrupted"),
        ({}, {"answers": [Answer("It", True)]}, "was cut off"),
        ({}, {"answers": []}, "1 answer expected, 0 came: nothing"),
        ({"reply": [{}, {}]}, {}, "2 answers expected, 1 came: “It is 7:03 a.m.”"),
        ({"heard": None, "reply": {"silent": True}}, {}, "0 answers expected"),
        ({"heard": None, "reply": {"silent": True}}, {"answers": []}, "sounded for 1200 ms"),
        ({}, {"sounds": []}, "no sound of an answer arrived"),
        ({"limits": {"first_sound_ms_max": 500}}, {}, "took 800 ms, 500 ms are allowed"),
        ({"limits": {"stop_ms_max": 500}}, {}, "nothing was interrupted"),
        ({}, {"problems": ["The voice is broken."]}, "the agent reported: The voice is broken."),
        ({}, {"failure": "the agent left"}, "the agent left"),
    ],
)
def test_each_expectation_can_fail(fields: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    verdict = judge(sample(**fields), replace(GOOD, **changes))
    assert not verdict.passed
    assert any(said in failure for failure in verdict.failures), verdict.failures


def test_an_interruption_is_measured_from_the_first_sound_over_the_answer() -> None:
    seen = replace(GOOD, spoken=[spoken(1000, 2000), spoken(3600, 4600)], sounds=[Sound(2800, 4000)])
    assert seen.stop_ms() == 400
    limits = {"stop_ms_max": 300}
    failures = judge(sample(limits=limits), seen).failures
    assert "the agent spoke on for 400 ms when interrupted, 300 ms are allowed" in failures


def test_the_wait_for_an_answer_ends_where_the_caller_goes_on() -> None:
    seen = replace(
        GOOD, spoken=[spoken(1000, 2000), spoken(5000, 6000)], sounds=[Sound(2800, 4000), Sound(9000, 9500)]
    )
    assert seen.first_sounds_ms() == [800, 3000]
    assert replace(seen, sounds=[Sound(9000, 9500)]).first_sounds_ms() == [None, 3000]
    # What began before the end of the question is not an answer to it.
    assert replace(seen, sounds=[Sound(1900, 2100)]).first_sounds_ms() == [None, None]


def test_a_sample_that_needs_a_language_expects_something_else_without_it() -> None:
    german = sample(
        heard="Guten Tag", requires={"language": "de"}, otherwise={"heard": "", "reply": {"silent": True}}
    )
    assert judge(german, QUIET, ("en",)).passed
    assert not judge(german, QUIET, ("de", "en")).passed
    assert not judge(german, QUIET, ()).passed


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("What time is it?", "what time is it", 0.0),
        ("Set a timer for five minutes.", "Set a timer for 5 minutes", 0.0),
        ("one two three four", "one too three", 0.5),
        ("", "", 0.0),
        ("", "boo", 1.0),
        ("boo", "", 1.0),
        ("Über Ärger", "über ärger", 0.0),
    ],
)
def test_word_errors_do_not_depend_on_spelling(said: str, heard: str, rate: float) -> None:
    assert word_error_rate(said, heard) == rate


def test_words_are_looked_for_whole() -> None:
    assert contains("It's with you, David!", "with you david")
    assert not contains("with", "it")
    assert words("“Don’t” — 'x'") == ["don't", "x"]


# ---- reporting


def test_reports_say_what_failed_and_survive_odd_characters() -> None:
    bad = judge(sample(about="A question."), replace(GOOD, heard=["\x00<what>"], failure=None))
    verdicts = [judge(sample(), GOOD), bad]
    suite = ElementTree.fromstring(to_junit(verdicts, 12.5))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert len(suite.findall("testcase")) == 2
    assert "words are wrong" in str(suite.findall("testcase/failure")[0].text)
    facts = json.loads(to_json(verdicts))
    assert facts["passed"] is False
    assert [one["passed"] for one in facts["samples"]] == [True, False]
    assert facts["samples"][0]["first_sound_ms"] == [800.0]
    page = io.StringIO()
    show(verdicts, Console(width=120, file=page))
    table = page.getvalue()
    assert all(part in table for part in ("FAILED", "A question.", "1 of 2 samples passed"))


# ---- playing


@pytest.mark.alone
@pytest.mark.asyncio(loop_scope="session")
async def test_samples_played_to_real_agents_pass(engines: Engines, tmp_path: Path) -> None:
    languages = engines.stt.info.languages
    samples = [load_sample(SAMPLES / f"{name}.yaml") for name in ("question", "silence", "interruption")]
    settings = load_settings(environ={}, overrides=["server.port=0", "agents.leave_timeout_s=1"]).settings
    async with running_service(settings, engines=engines) as service, ServiceClient(service.url) as client:
        seen = await asyncio.gather(
            *(
                play_sample(one, client, silent=one.expectation(languages).silent, out_dir=tmp_path)
                for one in samples
            )
        )
    verdicts = [judge(one, what, languages) for one, what in zip(samples, seen, strict=True)]
    assert [(v.sample.name, v.failures) for v in verdicts] == [(one.name, ()) for one in samples]
    for verdict in verdicts:
        with wave.open(str(verdict.observation.recording)) as file:
            assert file.getnframes() > file.getframerate()
