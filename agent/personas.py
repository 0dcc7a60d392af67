"""The personas that can be dispatched: the built-in ones and those of a folder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from agent.dispatch.base import AgentRequest, UnknownPersonaError
from agent.settings import SettingsError
from pipelines.persona import Persona
from pipelines.tools import ToolBox, UnknownToolError


class Personas:
    """Loaded and checked once, at start: a broken file is found before anybody calls."""

    def __init__(self, personas_dir: Path | None = None) -> None:
        """Raises `SettingsError` for a file that is not a persona; one of `personas_dir` replaces a built-in
        of the same name."""
        self._personas: dict[str, Persona] = {}
        built_in = files("config").joinpath("personas")
        texts = {f"config/personas/{f.name}": f.read_text("utf-8") for f in built_in.iterdir()}
        if personas_dir is not None:
            if not personas_dir.is_dir():
                raise SettingsError(f"agents.personas_dir: {personas_dir} is not a folder")
            texts |= {str(path): path.read_text("utf-8") for path in sorted(personas_dir.glob("*.yaml"))}
        for source, text in texts.items():
            if source.endswith(".yaml"):
                persona = _parse(source, text)
                self._personas[persona.name] = persona

    def all(self) -> tuple[Persona, ...]:
        return tuple(self._personas.values())

    def for_request(self, request: AgentRequest) -> Persona:
        """The persona asked for, with what the request says otherwise. Raises `UnknownPersonaError`."""
        if request.persona not in self._personas:
            raise UnknownPersonaError(request.persona, tuple(sorted(self._personas)))
        persona = self._personas[request.persona]
        changes = {
            field: value
            for field in ("instructions", "greeting", "voice", "language")
            if (value := getattr(request, field)) is not None
        }
        return Persona.model_validate({**persona.model_dump(), **changes})


def _parse(source: str, text: str) -> Persona:
    try:
        persona = Persona.model_validate(yaml.safe_load(text))
        ToolBox(persona.tools)
    except (yaml.YAMLError, UnknownToolError) as error:
        raise SettingsError(f"{source}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{source}: {where}: {first['msg']}") from None
    return persona
