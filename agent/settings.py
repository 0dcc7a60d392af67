"""Every setting, typed, and where its value came from.

Later layers win, key by key: ``config/default.yaml``, a YAML file, the environment, ``--set``. An unknown or
ill-typed key is refused by every layer alike, with the nearest valid name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from rapidfuzz import process

from agent.realtime.codes import Action
from agent.room_options import IceServer, RoomsOptions
from pipelines.options import (
    LlmOptions,
    ModelsOptions,
    Section,
    SttOptions,
    TtsOptions,
    TurnOptions,
    VadOptions,
)

ENV_PREFIX = "VOICE_AGENT__"
CONFIG_ENV = "VOICE_AGENT_CONFIG"
#: Names that other software made customary, and the setting each of them means.
WELL_KNOWN_ENV = {
    "OPENAI_API_KEY": "llm.api_key",
    "OPENAI_BASE_URL": "llm.base_url",
    "METERED_API_KEY": "rooms.api_key",
    "METERED_SECRET_KEY_ID": "rooms.secret_key_id",
    "METERED_SECRET_KEY": "rooms.secret_key",
    "METERED_APP_NAME": "rooms.turn.app_name",
    "METERED_TURN_SECRET_KEY": "rooms.turn.secret_key",
    "HF_ENDPOINT": "models.hub_url",
}
#: What `voice-agent hub` accepts on this machine when nothing else is configured.
DEVELOPMENT_KEY = "pk_development"
DEVELOPMENT_SECRET_ID = "sk_id_development"
DEVELOPMENT_SECRET = "sk_secret_development_everybody_knows_this"
#: HMAC-SHA256 wants as many bytes as it gives (RFC 7518, 3.2).
MIN_SECRET_CHARS = 32
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class SettingsError(ValueError):
    """A setting is wrong: the message says which, where it came from, and what is accepted."""


class ServerOptions(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    #: Asked of whoever uses the API or the page; required when `host` is not this machine alone.
    api_key: SecretStr | None = None
    #: Names the service answers to, besides `host`: what browsers are told to call it.
    allowed_hosts: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is for this machine alone: it listens nowhere else, and no proxy brings others."""
        return self.host in LOOPBACK_HOSTS and not self.allowed_hosts

    @model_validator(mode="after")
    def _safe_beyond_loopback(self) -> ServerOptions:
        if not self.is_local and self.api_key is None:
            who = "a service with allowed_hosts" if self.host in LOOPBACK_HOSTS else f"host {self.host}"
            raise ValueError(f"{who} can be reached by others, so server.api_key has to be set as well")
        return self


def _origin(text: str) -> str:
    # Compared with what browsers send, which has no path and no capitals.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+", text):
        raise ValueError(
            "an origin is like https://example.com or http://localhost:*, with nothing behind it"
        )
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class HubKey(Section):
    #: A publishable key (``pk_…``): whoever shows it may come in.
    key: Annotated[SecretStr, Field(min_length=1)]
    #: Rooms it is good for: names, ``*`` for any run of characters without a slash, ``**`` for any.
    channels: tuple[str, ...] = ("**",)
    actions: tuple[Action, ...] = tuple(Action)
    #: Pages it may be used from, e.g. ``https://example.com`` or ``http://localhost:*``; null: any.
    origins: tuple[Origin, ...] | None = None


class HubSecretKey(Section):
    #: The public half (``sk_id_…``), which a token names.
    id: str
    #: The secret half (``sk_secret_…``), which signs tokens.
    secret: SecretStr
    channels: tuple[str, ...] = ("**",)
    actions: tuple[Action, ...] = tuple(Action)
    origins: tuple[Origin, ...] | None = None

    @model_validator(mode="after")
    def _well_formed(self) -> HubSecretKey:
        if not self.id or ":" in self.id:
            raise ValueError("the id of a secret key is one word without a colon")
        if len(self.secret.get_secret_value()) < MIN_SECRET_CHARS:
            raise ValueError(f"the secret of a secret key has at least {MIN_SECRET_CHARS} characters")
        return self


class HubSettings(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9292
    #: Names it answers to for others, whom a proxy on this machine brings.
    allowed_hosts: tuple[str, ...] = ()
    #: None of either kind: well-known ones, on this machine alone.
    keys: tuple[HubKey, ...] = ()
    secret_keys: tuple[HubSecretKey, ...] = ()
    #: What clients are told in their welcome unless their token names others.
    ice_servers: tuple[IceServer, ...] = ()
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    #: Publishes and sends in a calendar month; None is no limit.
    max_messages: Annotated[int, Field(ge=0)] | None = None
    #: Hub processes with the same Redis share their rooms; None: this process has its own.
    redis_url: SecretStr | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is for this machine alone."""
        return self.host in LOOPBACK_HOSTS and not self.allowed_hosts

    @property
    def has_keys(self) -> bool:
        return bool(self.keys or self.secret_keys)

    @model_validator(mode="after")
    def _safe_beyond_loopback(self) -> HubSettings:
        if self.is_local:
            return self
        who = "a hub with allowed_hosts" if self.host in LOOPBACK_HOSTS else f"host {self.host}"
        if not self.has_keys:
            raise ValueError(
                f"{who} can be reached by others, so the well-known development keys will not do: "
                "give keys of your own with --key or --secret-key, or in the section hub"
            )
        shown = {DEVELOPMENT_KEY, DEVELOPMENT_SECRET}
        given = {key.key.get_secret_value() for key in self.keys}
        given |= {key.secret.get_secret_value() for key in self.secret_keys}
        if shown & given:
            raise ValueError(
                f"{who} can be reached by others, and everybody knows the development keys: choose others"
            )
        return self


class AgentsOptions(Section):
    #: Agents that may be there at once.
    max_agents: Annotated[int, Field(ge=1, le=10_000)] = 20
    #: Callers an agent listens to in one room; more are not heard.
    max_callers: Annotated[int, Field(ge=1, le=256)] = 16
    #: How long joining a room may take.
    join_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    #: How long an agent that is asked to leave may finish its sentence.
    leave_timeout_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    #: A folder of personas besides the built-in ones.
    personas_dir: Path | None = None


class LogOptions(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    server: ServerOptions = ServerOptions()
    rooms: RoomsOptions = RoomsOptions()
    hub: HubSettings = HubSettings()
    agents: AgentsOptions = AgentsOptions()
    models: ModelsOptions = ModelsOptions()
    stt: SttOptions = SttOptions()
    llm: LlmOptions = LlmOptions()
    tts: TtsOptions = TtsOptions()
    vad: VadOptions = VadOptions()
    turns: TurnOptions = TurnOptions()
    log: LogOptions = LogOptions()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings and, for each dotted key, the layer that its value came from."""

    settings: Settings
    origin: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """(key, value, origin), secrets masked."""
        dumped = flatten(self.settings.model_dump(mode="json"))
        return [(key, str(value), self.origin.get(key, "built in")) for key, value in dumped.items()]


def load_settings(
    config: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
) -> Loaded:
    """Put the layers together. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    if config is None and environ.get(CONFIG_ENV):
        config = Path(environ[CONFIG_ENV])
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers = [_default_layer()]
    if config is not None:
        layers.append(_file_layer(config))
    layers.append(_env_layer(environ))
    layers.append(_override_layer(overrides))
    for layer in layers:
        for key, (value, source) in layer.items():
            _check_key(key, source)
            values[key] = value
            origin[key] = source
    try:
        return Loaded(Settings.model_validate(_nest(values)), origin)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(e, origin) for e in error.errors())) from None


_Layer = dict[str, tuple[Any, str]]


def _default_layer() -> _Layer:
    text = files("config").joinpath("default.yaml").read_text("utf-8")
    return {key: (value, "config/default.yaml") for key, value in flatten(yaml.safe_load(text)).items()}


def _file_layer(path: Path) -> _Layer:
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected sections like 'stt:' with keys under them")
    return {key: (value, str(path)) for key, value in flatten(content).items()}


def _env_layer(environ: Mapping[str, str]) -> _Layer:
    layer: _Layer = {
        key: (environ[name], f"environment {name}")
        for name, key in WELL_KNOWN_ENV.items()
        if environ.get(name)
    }
    for name, text in environ.items():
        if name.startswith(ENV_PREFIX):
            key = name[len(ENV_PREFIX) :].lower().replace("__", ".")
            layer[key] = (_value(key, text), f"environment {name}")
    return layer


def _override_layer(overrides: Iterable[str]) -> _Layer:
    layer: _Layer = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise SettingsError(f"--set {item}: expected SECTION.KEY=VALUE, e.g. --set stt.model=small")
        layer[key.strip()] = (_value(key.strip(), text), f"--set {key.strip()}")
    return layer


def _value(key: str, text: str) -> Any:
    if _is_secret(key):
        # A key may look like a number or like "yes", and must not be taken for one.
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _is_secret(key: str) -> bool:
    """Whether the setting is a `SecretStr`."""
    field = _fields().get(key)
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections to dotted keys; lists and empty sections are values."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


@cache
def _fields() -> dict[str, FieldInfo]:
    """Every setting by its dotted key; sections may hold sections."""

    def inside(section: type[BaseModel], prefix: str) -> dict[str, FieldInfo]:
        found: dict[str, FieldInfo] = {}
        for name, field in section.model_fields.items():
            if isinstance(field.default, Section):
                found |= inside(type(field.default), f"{prefix}{name}.")
            else:
                found[prefix + name] = field
        return found

    return inside(Settings, "")


def _check_key(key: str, source: str) -> None:
    known = _fields()
    if key in known:
        return
    if any(name.startswith(f"{key}.") for name in known):
        raise SettingsError(f"{source}: '{key}' is a section; expected keys under it, e.g. {key}.…")
    nearest = process.extractOne(key, known.keys())
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    raise SettingsError(f"{source}: there is no setting '{key}'{hint}")


def _explain(error: Any, origin: Mapping[str, str]) -> str:
    location = [str(part) for part in error["loc"]]
    keys = [".".join(location[:depth]) for depth in range(len(location), 0, -1)]
    source = next((origin[key] for key in keys if key in origin), "the settings together")
    hidden = error["type"] == "value_error" or _may_hold_a_secret(location)
    got = "" if hidden else f" (got {error['input']!r})"
    message = error["msg"].removeprefix("Value error, ")
    return f"{source}: {'.'.join(location) or 'settings'}: {message}{got}"


def _may_hold_a_secret(location: list[str]) -> bool:
    # A mistake in the list of relays shows the whole entry, its password included, under any name.
    if location[1:2] == ["ice_servers"] or location[:2] == ["rooms", "turn"]:
        return True
    return any(word in part for part in location for word in ("key", "credential", "password", "secret"))
