"""Typed options of the engine, section by section; `agent.settings` puts them into the whole.

Every default here equals the one in ``config/default.yaml``, which is where people read about them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelsOptions(Section):
    """Where weights live and whether they may be fetched."""

    #: None: the platform's cache folder (``$XDG_CACHE_HOME/voice-agent``).
    dir: Path | None = None
    #: Fetch weights that are missing. Off: use only what is on disk.
    fetch: bool = True
    #: How long to look for the model hub before deciding that it cannot be reached.
    probe_timeout_s: Annotated[float, Field(gt=0, le=30)] = 3.0
    #: The hub's address; anything that speaks its API, e.g. a mirror.
    hub_url: str = "https://huggingface.co"


class SttOptions(Section):
    #: ``auto``: faster-whisper where its weights are or can be had, else pocketsphinx.
    engine: str = "auto"
    #: A model name (``base.en``, ``small``, ``large-v3`` …) or a directory.
    model: str = "base.en"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: ``auto``: int8 on a CPU, float16 on a GPU.
    compute_type: str = "auto"
    #: Recognitions that run side by side.
    workers: Annotated[int, Field(ge=1, le=32)] = 2
    #: Jobs that may wait; one more is refused as busy.
    max_queue: Annotated[int, Field(ge=1, le=1000)] = 16
    beam_size: Annotated[int, Field(ge=1, le=10)] = 1


class TtsOptions(Section):
    #: ``auto``: Piper with `voice` where it is or can be had, else Piper with the built-in voice.
    engine: str = "auto"
    #: A Piper voice by name (``en_US-lessac-medium``), a path to an ``.onnx`` file, or ``builtin``.
    voice: str = "en_US-lessac-medium"
    workers: Annotated[int, Field(ge=1, le=32)] = 2
    max_queue: Annotated[int, Field(ge=1, le=1000)] = 64
    #: 1.0 is the voice's own pace; larger is slower.
    length_scale: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0


class LlmOptions(Section):
    #: ``auto``: the OpenAI-compatible endpoint when `base_url` or `api_key` is set, else the scripted brain.
    engine: str = "auto"
    #: None: OpenAI's own. Any compatible endpoint: vLLM, Ollama, llama.cpp server …
    base_url: str | None = None
    api_key: SecretStr | None = None
    model: str = "gpt-4o-mini"
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 400
    #: Time to the first token before the request counts as failed.
    first_token_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    #: Silence between two tokens before the request counts as failed.
    stall_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0


class VadOptions(Section):
    #: Speech probability that opens a segment …
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    #: … and the lower one under which a window counts as silence again.
    release_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.35
    #: Speech shorter than this is not an onset.
    onset_ms: Annotated[int, Field(ge=32, le=1000)] = 96
    #: Audio kept from before the onset, so that first consonants are not lost.
    preroll_ms: Annotated[int, Field(ge=0, le=2000)] = 320
    #: Sound below this level is never speech, whatever the model thinks of it.
    floor_dbfs: Annotated[float, Field(ge=-120, le=0)] = -55.0


class EndpointOptions(Section):
    #: The turn is never over before so much silence, however plainly it sounds over …
    end_of_turn_min_ms: Annotated[int, Field(ge=64, le=5000)] = 200
    #: … and always after so much, however plainly it does not.
    end_of_turn_max_ms: Annotated[int, Field(ge=200, le=10_000)] = 1800
    #: An ONNX model that judges by the sound whether a turn is over (see `pipelines.endpoint.model`).
    end_of_turn_model: Path | None = None


class InterruptionOptions(Section):
    """When speech over the reply interrupts it; the words decide as soon as there are some."""

    #: Speech over the reply that takes the floor although the recogniser has not answered yet.
    sustained_ms: Annotated[int, Field(ge=200, le=5000)] = 900


class TurnOptions(EndpointOptions, InterruptionOptions):
    #: Silence after which the segment so far is recognised and thought about on speculation. It is heard in
    #: packets of 20 ms, so what passes in fact is 10 ms more on average.
    pause_ms: Annotated[int, Field(ge=32, le=5000)] = 90
    #: Speculative answers that may be thrown away in a minute before thinking waits for the end of the turn.
    max_wasted_per_min: Annotated[int, Field(ge=0, le=600)] = 20
    #: How quiet the reply becomes while it is being decided whether the caller takes the floor …
    duck_db: Annotated[float, Field(ge=-60, le=0)] = -12.0
    #: … and the speech over it after which it is silent, until that is decided. Two windows: a third one
    #: would be 32 ms, and what pauses a reply for nothing (one synthetic cough in fifteen, people in the
    #: background, of short bangs none) passes three as it passes two, however high their probabilities.
    yield_ms: Annotated[int, Field(ge=32, le=5000)] = 64
    #: A segment is cut here, so that it fits a recogniser's window.
    max_segment_ms: Annotated[int, Field(ge=1000, le=30_000)] = 28_000
