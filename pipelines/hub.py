"""The model hub, through `huggingface_hub`: what a repository holds, and its files, checked.

Blocking; called from threads. Errors of the library become `HubError`, whose text a person can act on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from tqdm.auto import tqdm  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


class HubError(Exception):
    """The hub failed or sent something wrong."""


class NotOnHubError(HubError):
    """There is no such repository or file."""


@dataclass(frozen=True, slots=True)
class HubFile:
    size: int
    #: ``sha256`` for large files, git's ``sha1`` of the blob for small ones.
    algorithm: str
    digest: str


def cached(repo: str, needed: tuple[str, ...]) -> Path | None:
    """The folder of the standard Hugging Face cache that holds all files `needed` of `repo`; None without."""
    roots: set[Path] = set()
    for path in needed:
        found = try_to_load_from_cache(repo, path)
        if not isinstance(found, str) or not Path(found).is_file():
            return None
        roots.add(Path(found).parents[len(Path(path).parts) - 1])
    return roots.pop() if len(roots) == 1 else None


def describe(hub_url: str, repo: str, paths: tuple[str, ...]) -> dict[str, HubFile]:
    """Size and checksum of those of `paths` that are in `repo`."""
    with _readable_errors():
        entries = HfApi(endpoint=hub_url, token=False).get_paths_info(repo, list(paths))
    files: dict[str, HubFile] = {}
    for entry in entries:
        if isinstance(entry, RepoFile) and entry.path in paths:
            if entry.lfs is not None:
                files[entry.path] = HubFile(entry.size, "sha256", entry.lfs.sha256)
            else:
                files[entry.path] = HubFile(entry.size, "sha1", entry.blob_id)
    return files


def list_files(hub_url: str, repo: str) -> list[str]:
    """Every path in `repo`; empty when the hub does not say."""
    try:
        with _readable_errors():
            return HfApi(endpoint=hub_url, token=False).list_repo_files(repo)
    except HubError:
        return []


def download(
    hub_url: str, repo: str, files: dict[str, HubFile], folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Fetch `files` into `folder`, resuming what broke off, and check them; corrupt ones are deleted.

    `progress` gets bytes done and bytes in all.
    """
    total = sum(file.size for file in files.values())
    before = 0
    for path, file in files.items():
        start = before

        def advance(done: int, start: int = start) -> None:
            progress(min(total, start + done), total)

        with _readable_errors():
            hf_hub_download(
                repo,
                path,
                local_dir=folder,
                endpoint=hub_url,
                token=False,
                tqdm_class=_reporting_bar(advance),
            )
        if not _intact(folder / path, file):
            (folder / path).unlink(missing_ok=True)
            raise HubError(f"the checksum of {path} is wrong; the file was deleted")
        before += file.size
        progress(before, total)


def _reporting_bar(advance: Callable[[int], None]) -> type[Any]:
    class Bar(tqdm):  # type: ignore[misc]
        """The library reports through a tqdm class; this one draws nothing and passes the count on."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # The library names its bars; tqdm itself does not take that argument.
            kwargs.pop("name", None)
            kwargs["disable"] = True
            self._done = int(kwargs.get("initial") or 0)
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            advance(self._done)

    return Bar


def _intact(path: Path, file: HubFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    digest = hashlib.new(file.algorithm, usedforsecurity=False)
    if file.algorithm == "sha1":
        digest.update(f"blob {file.size}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == file.digest


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        raise HubError("the hub wants an account for this model") from error
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise HubError("the connection to the hub was lost") from error
        raise NotOnHubError("there is no such model on the hub") from error
    except HfHubHTTPError as error:
        raise HubError(f"the hub answered {error.response.status_code}") from error
    except Exception as error:
        # The boundary to the library's transport, which is another one in each of its major versions.
        log.warning("the model hub failed: %s: %s", type(error).__name__, error)
        raise HubError(f"the connection to the hub failed ({type(error).__name__})") from error
