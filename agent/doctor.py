"""Whether everything a call needs is here and works: one check a line, each with the fix when it is red.

Every check does the real thing on a small scale, within a deadline, and beside all others.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import httpx

from agent.doctor_network import network_checks
from agent.settings import Settings
from pipelines.base import EngineError, EngineKind
from pipelines.engines import AUTO, BUILTIN_VOICE, engine_class, engine_names
from pipelines.models import ModelKind, ModelStore

_log = logging.getLogger(__name__)

Status = Literal["ok", "warn", "fail"]

CHECK_TIMEOUT_S = 6.0
#: Loading weights takes longer than asking a server.
ENGINE_TIMEOUT_S = 25.0
PACKAGES = (
    "aiortc", "aioice", "av", "websockets", "numpy", "onnxruntime", "faster-whisper", "ctranslate2",
    "pocketsphinx", "piper-tts", "openai", "fastapi", "uvicorn", "pydantic",
)  # fmt: skip
#: A Whisper model and a voice or two; less free space than the second number stops any download.
ROOMY_BYTES, CRAMPED_BYTES = 2_000_000_000, 100_000_000
OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    status: Status
    #: What was found. Never contains a secret.
    detail: str
    #: One sentence: what to do about it; empty when all is well.
    fix: str = ""


_Probe: TypeAlias = Callable[[], Awaitable[Check]]


async def examine(settings: Settings, *, only: str | None = None) -> list[Check]:
    """Run every check, or the one that is called `only`; never raises."""
    probes: list[tuple[str, float, _Probe]] = [
        ("Python", CHECK_TIMEOUT_S, _python),
        ("packages", CHECK_TIMEOUT_S, _packages),
        ("Opus", CHECK_TIMEOUT_S, _opus),
        ("disk space", CHECK_TIMEOUT_S, lambda: _disk(settings)),
        ("service port", CHECK_TIMEOUT_S, lambda: _port(settings)),
    ]
    kinds: tuple[EngineKind, ...] = ("stt", "tts", "llm")
    for kind in kinds:
        for name in engine_names(kind):
            engine = f"{kind} {name}"
            probes.append((engine, ENGINE_TIMEOUT_S, lambda k=kind, n=name: _engine(settings, k, n)))  # type: ignore[misc]
    probes.append(("weights: hearing", CHECK_TIMEOUT_S, lambda: _weights(settings, "whisper")))
    probes.append(("weights: voice", CHECK_TIMEOUT_S, lambda: _weights(settings, "piper")))
    probes.append(("LLM endpoint", CHECK_TIMEOUT_S, lambda: _endpoint(settings)))
    probes += [(name, CHECK_TIMEOUT_S, _as_check(name, probe)) for name, probe in network_checks(settings)]
    wanted = (probe for probe in probes if only in (None, probe[0]))
    return list(await asyncio.gather(*(_bounded(*probe) for probe in wanted)))


def _as_check(name: str, probe: Callable[[], Awaitable[tuple[Status, str, str]]]) -> _Probe:
    async def run() -> Check:
        return Check(name, *await probe())

    return run


async def _bounded(name: str, timeout_s: float, probe: _Probe) -> Check:
    try:
        async with asyncio.timeout(timeout_s):
            return await probe()
    except TimeoutError:
        return Check(
            name, "fail", f"no result within {timeout_s:g} s", "Look for what holds it up and try again."
        )
    except Exception as error:  # whatever breaks is a finding, and the other checks go on
        _log.debug("the check %s broke", name, exc_info=True)
        fix = "Run again with --set log.level=debug for the details."
        return Check(name, "fail", f"the check itself broke ({type(error).__name__})", fix)


async def _python() -> Check:
    # An older one could not have come this far: the syntax needs 3.11.
    return Check("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


async def _packages() -> Check:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = "Install the project again: pip install -e . (or make run)."
        return Check("packages", "fail", f"missing: {', '.join(missing)}", fix)
    return Check("packages", "ok", ", ".join(found))


async def _opus() -> Check:
    missing = []
    modes: tuple[tuple[Literal["r", "w"], str], ...] = (("r", "decoder"), ("w", "encoder"))
    for mode, word in modes:
        try:
            av.codec.Codec("libopus", mode)
        except av.codec.codec.UnknownCodecError:
            missing.append(word)
    libraries = av.library_versions
    found = "FFmpeg's libavcodec " + ".".join(map(str, libraries.get("libavcodec", ())))
    if missing:
        fix = (
            "Install PyAV from its wheel, which has Opus: pip install --force-reinstall --only-binary av av."
        )
        return Check("Opus", "fail", f"{found} has no Opus {' and no '.join(missing)}", fix)
    return Check("Opus", "ok", found)


async def _disk(settings: Settings) -> Check:
    folder = ModelStore(settings.models).dir
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    free_bytes = (await asyncio.to_thread(shutil.disk_usage, there)).free
    found = f"{free_bytes / 1e9:.1f} GB free for {folder}"
    fix = "Make room there, or set models.dir to another folder."
    if free_bytes < CRAMPED_BYTES:
        return Check("disk space", "fail", found, fix)
    if free_bytes < ROOMY_BYTES:
        return Check("disk space", "warn", found, fix)
    return Check("disk space", "ok", found)


async def _port(settings: Settings) -> Check:
    options = settings.server
    where = f"{options.host} port {options.port}"
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except OSError as error:
            if await _service_answers(options.port):
                return Check("service port", "ok", f"{where}: the service is running there already")
            fix = "Stop what uses it, or choose another with --set server.port=…"
            return Check("service port", "fail", f"{where} cannot be had: {error.strerror}", fix)
    return Check("service port", "ok", f"{where} is free")


async def _service_answers(port: int) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            response = await http.get(f"http://127.0.0.1:{port}/healthz")
            return bool(response.json()["status"] == "ok")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


async def _engine(settings: Settings, kind: EngineKind, name: str) -> Check:
    """Load it for real, with what is on this machine: a check downloads nothing."""
    options: Any = getattr(settings, kind)
    models = ModelStore(settings.models.model_copy(update={"fetch": False}))
    title = f"{kind} {name}"
    chosen = options.engine == name
    try:
        engine = await engine_class(kind, name).load(options, models=models, reason="checked")
    except EngineError as error:
        found, fix = str(error), getattr(error, "fix", "") or "See the service's log for what it says."
        if settings.models.fetch:
            # Off only for this check.
            found = found.removesuffix(" and models.fetch is off")
            fix = fix.removesuffix(", or set models.fetch to true")
        if kind == "tts" and options.engine == AUTO and options.voice != BUILTIN_VOICE:
            builtin = options.model_copy(update={"voice": BUILTIN_VOICE})
            spare = await engine_class(kind, name).load(builtin, models=models, reason="checked")
            await spare.close()
            return Check(title, "warn", f"{found}; the built-in voice works", _sentence(fix))
        return Check(title, "fail" if chosen else "warn", found, _sentence(fix))
    await engine.close()
    return Check(title, "ok", engine.info.model)


async def _weights(settings: Settings, kind: ModelKind) -> Check:
    is_whisper = kind == "whisper"
    title = "weights: hearing" if is_whisper else "weights: voice"
    name = settings.stt.model if is_whisper else settings.tts.voice
    engine = settings.stt.engine if is_whisper else settings.tts.engine
    if name == BUILTIN_VOICE or (is_whisper and engine == "pocketsphinx"):
        return Check(title, "ok", "those in the package are used")
    given = Path(name)
    try:
        if await asyncio.to_thread(given.exists):
            return Check(title, "ok", f"{name} is on disk")
        path = await asyncio.to_thread(ModelStore(settings.models).find, kind, name)
    except EngineError as error:
        return Check(title, "fail", str(error), _sentence(getattr(error, "fix", "") or "Name another."))
    if path is not None:
        return Check(title, "ok", f"{name} is on disk")
    fix = f"Run 'voice-agent models fetch {name}' where the network allows it."
    return Check(title, "warn" if engine == AUTO else "fail", f"{name} is not on disk", fix)


async def _endpoint(settings: Settings) -> Check:
    options, title = settings.llm, "LLM endpoint"
    if options.engine not in (AUTO, "openai"):
        return Check(title, "ok", f"not used: the brain is {options.engine}")
    if options.base_url is None and options.api_key is None:
        fix = "Set llm.base_url, or llm.api_key for OpenAI's own."
        status: Status = "warn" if options.engine == AUTO else "fail"
        return Check(title, status, "none is set; the built-in demo brain answers", fix)
    base_url = (options.base_url or OPENAI_URL).rstrip("/")
    headers = {"authorization": f"Bearer {options.api_key.get_secret_value()}"} if options.api_key else {}
    try:
        async with httpx.AsyncClient(timeout=CHECK_TIMEOUT_S - 1) as http:
            response = await http.get(f"{base_url}/models", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        fix = "Start the server, or correct llm.base_url."
        return Check(title, "fail", f"{base_url} cannot be reached ({type(error).__name__})", fix)
    if response.status_code in (401, 403):
        return Check(title, "fail", f"{base_url} refuses the key", "Set llm.api_key to one it accepts.")
    if response.is_error:
        fix = "Correct llm.base_url; it usually ends in /v1."
        return Check(title, "fail", f"{base_url}/models answers {response.status_code}", fix)
    names = _model_names(response)
    if names and options.model not in names:
        shown = ", ".join(sorted(names)[:5])
        fix = f"Set llm.model to one of its models, e.g. {shown}."
        return Check(title, "warn", f"{base_url} answers, but lists no model {options.model}", fix)
    return Check(title, "ok", f"{base_url} answers; model {options.model}")


def _model_names(response: httpx.Response) -> set[str]:
    try:
        return {str(entry["id"])[:100] for entry in response.json()["data"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
