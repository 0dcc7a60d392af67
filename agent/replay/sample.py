"""What a sample file says: what to play to the agent, and what is expected of it.

A sample is a YAML file; ``samples/README.md`` shows the whole format. Unknown keys are refused with the
nearest name there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from rapidfuzz import process

from pipelines.base import primary_language

MAX_SAMPLE_BYTES = 64 * 1024
DEFAULT_WER_MAX = 0.35
DEFAULT_FIRST_SOUND_MS_MAX = 10_000

Milliseconds = Annotated[int, Field(ge=0, le=120_000)]


class SampleError(ValueError):
    """A sample cannot be used; the message says which file, where in it, and what is accepted."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Part):
    """One thing the caller does. Exactly one key is given."""

    #: A sound file, relative to the sample.
    wav: str | None = None
    #: Say nothing for so long.
    pause_ms: Milliseconds | None = None
    #: Wait until the agent has answered and finished.
    wait_for_reply: bool | None = None
    #: Wait until so much of the answer has been heard, to interrupt it.
    after_reply_ms: Milliseconds | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1 or self.wait_for_reply is False:
            raise ValueError(f"a step has exactly one of {', '.join(type(self).model_fields)}")
        return self


class Reply(_Part):
    """What one answer has to be like."""

    #: At least one of these has to be among its words, whatever the case and the punctuation.
    contains: tuple[str, ...] = ()
    #: The agent must say nothing at all.
    silent: bool = False
    #: The caller cut it off; `contains` is then about the part that was heard.
    interrupted: bool = False

    @model_validator(mode="after")
    def _silence_has_no_words(self) -> Self:
        if self.silent and (self.contains or self.interrupted):
            raise ValueError("silent leaves nothing to contain or interrupt")
        return self


class Limits(_Part):
    #: From the caller's last sound to the agent's first, for every answer.
    first_sound_ms_max: Milliseconds = DEFAULT_FIRST_SOUND_MS_MAX
    #: From the caller's first sound over the answer to the agent's last.
    stop_ms_max: Milliseconds | None = None


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, dict) else value


class Expectation(_Part):
    #: What the caller says, all of it; None: not judged. Empty: nothing must be understood.
    heard: str | None = None
    #: Word errors allowed in it, as a share of its words.
    wer_max: Annotated[float, Field(ge=0, le=1)] = DEFAULT_WER_MAX
    #: One answer, or one for each turn.
    reply: Annotated[tuple[Reply, ...], BeforeValidator(_one_or_many), Field(min_length=1, max_length=50)] = (
        Reply(),
    )
    limits: Limits = Limits()

    @property
    def silent(self) -> bool:
        return self.reply[0].silent

    @property
    def turns(self) -> int:
        """How many answers there have to be."""
        return 0 if self.silent else len(self.reply)

    @model_validator(mode="after")
    def _silence_is_alone(self) -> Self:
        if any(reply.silent for reply in self.reply) and len(self.reply) > 1:
            raise ValueError("an agent that is silent gives no other reply")
        return self


class Requires(_Part):
    """What the engines in use have to be able to do."""

    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]


class Sample(Expectation):
    name: str
    folder: Path
    about: str = ""
    persona: str | None = None
    instructions: str | None = None
    #: What the agent says first. By default it waits to be spoken to.
    greeting: str = ""
    language: str | None = None
    play: Annotated[tuple[Step, ...], Field(min_length=1, max_length=100)]
    #: How long to listen on after the end, for what must not come.
    listen_ms: Milliseconds = 1500
    requires: Requires | None = None
    #: What is expected where `requires` is not met.
    otherwise: Expectation | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.requires is None) != (self.otherwise is None):
            raise ValueError("'requires' and 'otherwise' go together: say what happens when it is not met")
        if all(step.wav is None for step in self.play):
            raise ValueError("play: nothing is said in it; give at least one step with a wav")
        return self

    @property
    def wavs(self) -> list[Path]:
        return [self.folder / step.wav for step in self.play if step.wav is not None]

    def expectation(self, languages: Iterable[str]) -> Expectation:
        """What is expected where the recogniser understands `languages` (codes; none: any)."""
        understood = set(languages)
        if self.requires is None or self.otherwise is None or not understood:
            return self
        return self if primary_language(self.requires.language) in understood else self.otherwise


def find_samples(paths: Iterable[Path]) -> list[Path]:
    """The sample files among `paths` and in folders among them. Raises `SampleError` when there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
            if not inside:
                raise SampleError(f"{path}: there is no sample (*.yaml) in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise SampleError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def load_sample(path: Path) -> Sample:
    """Read and check a sample. Raises `SampleError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SAMPLE_BYTES + 1)
        if len(text) > MAX_SAMPLE_BYTES:
            raise SampleError(f"{path}: larger than {MAX_SAMPLE_BYTES} bytes, which no sample is")
        content = yaml.safe_load(text)
    except OSError as error:
        raise SampleError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SampleError(f"{path}: expected keys such as 'play' and 'heard'")
    for name in ("name", "folder"):
        if name in content:
            raise SampleError(f"{path}: there is no key '{name}': a sample is called by its file")
    # Without steps, the sound file of the same name is played.
    content.setdefault("play", [{"wav": f"{path.stem}.wav"}])
    try:
        sample = Sample.model_validate({**content, "name": path.stem, "folder": path.parent})
    except ValidationError as error:
        raise SampleError("\n".join(f"{path}: {_explain(dict(e))}" for e in error.errors())) from None
    for wav in sample.wavs:
        if not wav.is_file():
            raise SampleError(f"{path}: play: there is no sound file {wav}")
    return sample


def _explain(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        nearest = process.extractOne(name, _keys_at(error["loc"][:-1]))
        return f"there is no key '{where}'" + (f"; did you mean '{nearest[0]}'?" if nearest else "")
    message = re.sub(r"^Value error, ", "", error["msg"])
    return f"{where}: {message}" if where else message


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    parts: dict[Any, type[BaseModel]] = {
        "play": Step,
        "reply": Reply,
        "limits": Limits,
        "requires": Requires,
        "otherwise": Expectation,
    }
    kinds = [parts[part] for part in location if part in parts]
    model = kinds[-1] if kinds else Sample
    return [name for name in model.model_fields if name not in ("name", "folder")]
