"""Weights: where they live, what there is, and how they get here.

Weights lie in one folder, ``<dir>/whisper/<name>/`` and ``<dir>/piper/<name>/``, each with a manifest
written only after every file's checksum was compared with the hub's. Weights that other programs left in the
standard Hugging Face cache are used where they lie. Whether there is a way to the hub is found out once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
from rapidfuzz import process

from pipelines import hub
from pipelines.base import EngineUnavailableError
from pipelines.options import ModelsOptions

log = logging.getLogger(__name__)

ModelKind = Literal["whisper", "piper"]
#: Called with the model's name, bytes done and bytes in all, from the thread that fetches.
Progress: TypeAlias = Callable[[str, int, int], None]

WHISPER_SIZES = (
    "tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium",
    "large-v1", "large-v2", "large-v3", "distil-small.en", "distil-medium.en",
    "distil-large-v2", "distil-large-v3",
)  # fmt: skip
#: Voices to show as examples; any voice of the collection can be named.
PIPER_EXAMPLES = (
    "en_US-lessac-medium", "en_US-amy-medium", "en_US-ryan-high", "en_GB-alan-medium", "en_GB-cori-high",
    "de_DE-thorsten-medium", "es_ES-davefx-medium", "fr_FR-siwis-medium", "it_IT-paola-medium",
    "nl_NL-mls-medium", "pl_PL-darkman-medium", "pt_BR-faber-medium",
)  # fmt: skip

_WHISPER_FILES = ("config.json", "model.bin", "tokenizer.json")
_WHISPER_EXTRAS = ("vocabulary.txt", "vocabulary.json", "preprocessor_config.json")
_PIPER_REPO = "rhasspy/piper-voices"
_PIPER_NAME = re.compile(
    r"(?P<family>[a-z]{2,3})_(?P<region>[A-Z]{2})-(?P<name>[a-z0-9_]+)-(?P<quality>x_low|low|medium|high)"
)
_MANIFEST = "manifest.json"


class UnknownModelError(EngineUnavailableError):
    """There is no model of that name: a mistake in the settings, nothing that waiting would mend."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One line of ``voice-agent models``."""

    kind: ModelKind
    name: str
    #: Where it lies; None: not on disk.
    path: Path | None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the hub keeps a model, and which files of it are needed or taken if there."""

    kind: ModelKind
    name: str
    repo: str
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()


def default_dir() -> Path:
    """``$XDG_CACHE_HOME/voice-agent``, else ``~/.cache/voice-agent``."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    return base / "voice-agent"


class ModelStore:
    """The weights of this machine and the way to more. Safe from any thread."""

    def __init__(self, options: ModelsOptions | None = None, *, progress: Progress | None = None) -> None:
        self._options = options or ModelsOptions()
        self._progress = progress

    @property
    def dir(self) -> Path:
        return self._options.dir or default_dir()

    def known(self) -> Iterator[KnownModel]:
        """Every model with a name worth showing: the Whisper sizes, example voices, and what is on disk."""
        here = {
            kind: sorted(p.parent.name for p in self.dir.glob(f"{kind}/*/{_MANIFEST}"))
            for kind in ("whisper", "piper")
        }
        for name in dict.fromkeys((*WHISPER_SIZES, *here["whisper"])):
            yield KnownModel("whisper", name, self.find("whisper", name))
        for name in dict.fromkeys((*PIPER_EXAMPLES, *here["piper"])):
            yield KnownModel("piper", name, self.find("piper", name))

    def find(self, kind: ModelKind, name: str) -> Path | None:
        """The model on disk: a folder for Whisper, the ``.onnx`` file for Piper; None when it is not here."""
        source = _source(kind, name)
        folder = self._folder(source)
        if _complete(folder):
            return _entry(source, folder)
        cached = hub.cached(source.repo, source.needed)
        return None if cached is None else _entry(source, cached)

    async def get(self, kind: ModelKind, name: str) -> Path:
        """The model from disk or, where settings and network allow, from the hub.

        Raises `EngineUnavailableError` that says which of these failed.
        """
        path = await asyncio.to_thread(self.find, kind, name)
        if path is not None:
            return path
        if not self._options.fetch:
            raise EngineUnavailableError(
                f"the {kind} model {name} is not on disk and models.fetch is off",
                fix=f"run 'voice-agent models fetch {name}', or set models.fetch to true",
            )
        return await asyncio.to_thread(self.fetch, kind, name)

    def fetch(self, kind: ModelKind, name: str, progress: Progress | None = None) -> Path:
        """Fetch a model, compare every checksum with the hub's, and return where it lies. Blocks.

        Raises `EngineUnavailableError`: the hub cannot be reached, has no such model, or sent corrupt bytes
        (which are deleted).
        """
        source = _source(kind, name)
        if not self.hub_reachable():
            raise EngineUnavailableError(
                f"the {kind} model {name} is not on disk "
                f"and the model hub at {self._options.hub_url} cannot be reached",
                fix="connect this machine to the network, set models.hub_url to a mirror, "
                "or copy the weights here; see 'voice-agent models'",
            )
        folder = self._folder(source)
        report = progress or self._progress or (lambda _name, _done, _total: None)
        try:
            files = hub.describe(self._options.hub_url, source.repo, (*source.needed, *source.optional))
            if missing := [path for path in source.needed if path not in files]:
                raise hub.NotOnHubError(missing[0])
            hub.download(
                self._options.hub_url,
                source.repo,
                files,
                folder,
                lambda done, total: report(name, done, total),
            )
        except hub.NotOnHubError:
            raise self._unknown(source) from None
        except hub.HubError as error:
            raise EngineUnavailableError(
                f"the {kind} model {name} could not be fetched: {error}",
                fix=f"try again with 'voice-agent models fetch {name}'; a fetch that broke off is resumed",
            ) from error
        manifest = {path: file.size for path, file in files.items()}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        log.info("fetched the %s model %s", kind, name)
        return _entry(source, folder)

    def hub_reachable(self) -> bool:
        """Whether the hub answers at all; asked once per process, within `probe_timeout_s`."""
        return _probe(self._options.hub_url, self._options.probe_timeout_s)

    def _folder(self, source: _Source) -> Path:
        return self.dir / source.kind / source.name

    def _unknown(self, source: _Source) -> UnknownModelError:
        if source.kind == "whisper":
            choices: list[str] = list(WHISPER_SIZES)
        else:
            paths = hub.list_files(self._options.hub_url, source.repo)
            choices = [Path(path).stem for path in paths if path.endswith(".onnx")] or list(PIPER_EXAMPLES)
        return _no_such_model(source.kind, source.name, choices)


_probed: dict[str, bool] = {}
_probing = threading.Lock()


def _probe(hub_url: str, timeout_s: float) -> bool:
    with _probing:
        if hub_url not in _probed:
            try:
                # Any answer will do: what is asked is whether there is a way to the hub.
                httpx.head(hub_url, timeout=timeout_s, follow_redirects=False)
                _probed[hub_url] = True
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                log.warning("the model hub at %s cannot be reached (%s)", hub_url, type(error).__name__)
                _probed[hub_url] = False
        return _probed[hub_url]


def _source(kind: ModelKind, name: str) -> _Source:
    if kind == "whisper":
        if name not in WHISPER_SIZES:
            raise _no_such_model(kind, name, list(WHISPER_SIZES))
        return _Source(kind, name, f"Systran/faster-{_repo_name(name)}", _WHISPER_FILES, _WHISPER_EXTRAS)
    match = _PIPER_NAME.fullmatch(name)
    if match is None:
        raise _no_such_model(kind, name, list(PIPER_EXAMPLES))
    folder = f"{match['family']}/{match['family']}_{match['region']}/{match['name']}/{match['quality']}"
    return _Source(kind, name, _PIPER_REPO, (f"{folder}/{name}.onnx", f"{folder}/{name}.onnx.json"))


def _repo_name(size: str) -> str:
    return f"distil-whisper-{size[7:]}" if size.startswith("distil-") else f"whisper-{size}"


def _no_such_model(kind: ModelKind, name: str, choices: list[str]) -> UnknownModelError:
    nearest = [match for match, _, _ in process.extract(name[:100], choices, limit=3)]
    return UnknownModelError(
        f"there is no {kind} model {name[:100]!r}; the nearest are {', '.join(nearest)}",
        fix="name one of them, or a path; see 'voice-agent models'",
    )


def _entry(source: _Source, folder: Path) -> Path:
    return folder if source.kind == "whisper" else folder / source.needed[0]


def _complete(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all((folder / path).stat().st_size == size for path, size in manifest.items())
    except (OSError, ValueError):
        return False
