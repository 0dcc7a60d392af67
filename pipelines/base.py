"""What all engines have in common: how they are described and how they fail."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

EngineKind = Literal["stt", "llm", "tts"]
#: Codes that are written differently for what engines take for the same.
_SAME = {"fil": "tl", "nb": "no"}


def primary_language(tag: str | None) -> str | None:
    """The language of a tag without its region or script: ``de`` for ``de-AT`` and ``de_AT``."""
    if not tag:
        return None
    code = re.split("[-_]", tag, maxsplit=1)[0].lower()
    return _SAME.get(code, code)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which engine runs and why; shown at start, on the page and in the API."""

    kind: EngineKind
    #: The name it is registered under, e.g. ``faster-whisper``.
    engine: str
    #: The model, voice or endpoint in use, e.g. ``base.en int8 on cpu``. Never contains a secret.
    model: str
    #: One sentence for the person who starts the service: why this engine and not another.
    reason: str
    #: Codes (`primary_language`) it handles; empty means any.
    languages: tuple[str, ...] = ()

    def supports(self, language: str | None) -> bool:
        """Whether `language` (``de`` or ``de-AT``; None means unspecified) is handled."""
        return not self.languages or language is None or primary_language(language) in self.languages

    @property
    def only_language(self) -> str | None:
        """The language it handles, if there is no other."""
        return self.languages[0] if len(self.languages) == 1 else None


class EngineError(Exception):
    """An engine failed. The message is for the operator; it never carries words people said or secrets."""


class EngineUnavailableError(EngineError):
    """An engine cannot be used here: weights missing, package missing, endpoint not set.

    `fix` says in one sentence what the operator can do about it.
    """

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class EngineBusyError(EngineError):
    """The engine's queue is full; the job was not accepted."""


@contextmanager
def guarded(engine: str) -> Iterator[None]:
    """The boundary to an engine, which may be anybody's code: whatever it raises becomes an `EngineError`.

    `engine` names it in the log, which gets the type and the place alone: the words of an exception may be
    those of people. Whoever catches the `EngineError` counts it.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        _log.error("%s failed: %s at %s:%s", engine, kind, place.filename, place.lineno)
        raise EngineError(f"{engine} failed ({kind})") from None


async def guarded_stream(
    engine: str, stream: Callable[[], AsyncGenerator[_T, None]]
) -> AsyncGenerator[_T, None]:
    """What the stream that `stream` opens yields, with `guarded` around it; closing this closes it."""
    with guarded(engine):
        async with aclosing(stream()) as items:
            async for item in items:
                yield item
