from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import Settings, SettingsError, flatten, load_settings


def load(*overrides: str, config: Path | None = None, **environ: str):  # type: ignore[no-untyped-def]
    return load_settings(config, environ=environ, overrides=overrides)


def test_the_file_of_defaults_names_every_setting_with_the_default_of_the_code() -> None:
    loaded = load()
    assert loaded.settings == Settings()
    assert set(loaded.origin) == set(flatten(Settings().model_dump()))
    assert set(loaded.origin.values()) == {"config/default.yaml"}


def test_later_layers_win_and_their_origin_is_known(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("stt: {model: small, workers: 3}\nserver: {port: 1}\n")
    loaded = load(
        "server.port=3", config=config, VOICE_AGENT__SERVER__PORT="2", VOICE_AGENT__STT__WORKERS="4"
    )
    assert loaded.settings.server.port == 3
    assert loaded.settings.stt.workers == 4
    assert loaded.settings.stt.model == "small"
    assert loaded.origin["server.port"] == "--set server.port"
    assert loaded.origin["stt.workers"] == "environment VOICE_AGENT__STT__WORKERS"
    assert loaded.origin["stt.model"] == str(config)


def test_the_customary_names_of_the_environment() -> None:
    settings = load(OPENAI_API_KEY="k", METERED_API_KEY="pk_live_x").settings
    assert settings.llm.api_key is not None
    assert not settings.rooms.embedded
    assert settings.rooms.origin == "wss://rms.metered.ca"


def test_the_config_file_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("log: {level: debug}")
    assert load(VOICE_AGENT_CONFIG=str(tmp_path / "c.yaml")).settings.log.level == "debug"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stt.modle=x", "there is no setting 'stt.modle'; did you mean 'stt.model'?"),
        ("sst.model=x", "did you mean 'stt.model'?"),
        ("stt=x", "'stt' is a section"),
        ("stt.model", "expected SECTION.KEY=VALUE"),
        ("server.port=many", "--set server.port: server.port: .*integer.*'many'"),
        ("server.port=99999", "less than or equal to 65535"),
        ("stt.device=gpu", "'auto', 'cpu' or 'cuda'"),
        ("server.host=0.0.0.0", "server.api_key has to be set"),
        ("server.allowed_hosts=[agents.example]", "server.api_key has to be set"),
        ("rooms.secret_key=x", "go together"),
        ("rooms.url=wss://x", "needs api_key"),
        ("rooms.turn=x", "'rooms.turn' is a section"),
        ("rooms.turn.secrt=x", "did you mean 'rooms.turn.secret'?"),
        ("rooms.turn.secret=hush", "rooms.turn: urls and secret go together"),
        ("rooms.turn.app_name=hush", "app_name and secret_key go together"),
        ("rooms.turn.ttl_s=1", "--set rooms.turn.ttl_s: .*greater than or equal to 60"),
    ],
)
def test_a_mistake_is_explained(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(override)


def test_a_misspelt_variable_is_refused_too() -> None:
    with pytest.raises(SettingsError, match=r"VOICE_AGENT__STT__MODLE: .*did you mean 'stt.model'"):
        load(VOICE_AGENT__STT__MODLE="x")


@pytest.mark.parametrize(
    ("content", "message"), [("- a", "expected sections"), ("a: [", "not YAML"), ("a: 1", "no setting 'a'")]
)
def test_a_broken_file_is_explained(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(SettingsError, match=message):
        load(config=tmp_path / "c.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(config=tmp_path / "none.yaml")


def test_secrets_do_not_show() -> None:
    loaded = load("server.api_key=hush", OPENAI_API_KEY="hush")
    assert "hush" not in str(loaded.rows()) + repr(loaded)


@pytest.mark.parametrize("secret", ["123456", "yes", "null", "[hush]", "1e5", "a: b"])
def test_a_secret_is_taken_as_it_is_written(secret: str) -> None:
    loaded = load(f"server.api_key={secret}", VOICE_AGENT__LLM__API_KEY=secret).settings
    for key in (loaded.server.api_key, loaded.llm.api_key):
        assert key is not None
        assert key.get_secret_value() == secret


COTURN = ("rooms.turn.urls=[turn:a]", "rooms.turn.secret=424242")
METERED = ("rooms.turn.app_name=my-app", "rooms.turn.secret_key=424242")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("rooms.turn.urls=[stun:a]", COTURN[1]), "urls are like turn:turn.example.com"),
        (("rooms.turn.urls=['turn:u:424242@x']", COTURN[1]), "urls are like"),
        (("rooms.turn.urls=424242",), "valid tuple"),
        (("rooms.turn.urls=[turn:a]", "rooms.turn.secret="), "must not be empty"),
        ((*COTURN, *METERED), "not both"),
        (("rooms.turn.app_name=https://a.metered.live", METERED[1]), "the name alone"),
        ((*METERED, "rooms.turn.region=Mars!"), "region is a word like global, europe or us_east"),
        ((*COTURN, "rooms.turn.region=europe"), "for app_name only"),
        ((*COTURN, "rooms.turn.ttl_s=3661"), "turn.ttl_s must be at most .*3660"),
        ((*COTURN, "rooms.api_key=424242"), "turn needs tokens"),
        ((*COTURN, "rooms.ice_servers=[{urls: ['http://424242']}]"), "begin with stun:"),
        ((*COTURN, f"rooms.ice_servers=[{','.join(['{urls: [stun:a]}'] * 13)}]"), "at most 12"),
        (("rooms.turn.urls=[" + ",".join(["turn:" + "a" * 300] * 9) + "]", COTURN[1]), "2560 bytes"),
    ],
)
def test_a_mistake_in_the_turn_servers_is_explained_and_their_secret_not_shown(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(*overrides)
    assert "424242" not in str(caught.value)


def test_secrets_of_turn_servers_are_masked_and_taken_as_written() -> None:
    for overrides, name in ((COTURN, "secret"), (METERED, "secret_key")):
        loaded = load(*overrides)
        assert getattr(loaded.settings.rooms.turn, name).get_secret_value() == "424242"
        shown = {key: value for key, value, _ in loaded.rows()}
        assert shown[f"rooms.turn.{name}"] == "**********"
        assert loaded.origin[f"rooms.turn.{name}"] == f"--set rooms.turn.{name}"
    from_file = load(VOICE_AGENT__ROOMS__TURN__SECRET="1e5", VOICE_AGENT__ROOMS__TURN__URLS="['turn:a']")
    assert from_file.settings.rooms.turn.is_coturn


@pytest.mark.parametrize(
    "relays",
    [
        "[{urls: ['turn:x'], username: u, credential: 424242}]",
        "[{urls: ['turn:x'], username: u, password: '424242'}]",
        "{urls: ['turn:x'], username: u, credential: '424242'}",
        "turn:u:424242@x",
    ],
)
def test_a_mistake_in_the_relays_does_not_show_their_password(tmp_path: Path, relays: str) -> None:
    (tmp_path / "c.yaml").write_text(f"rooms:\n  ice_servers: {relays}\n")
    with pytest.raises(SettingsError, match=r"rooms\.ice_servers") as caught:
        load(config=tmp_path / "c.yaml")
    assert "424242" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load(f"rooms.ice_servers={relays}")
    assert "424242" not in str(caught.value)


def test_a_key_in_a_file_that_is_no_text_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("server: {api_key: [hush]}")
    with pytest.raises(SettingsError) as caught:
        load(config=tmp_path / "c.yaml")
    assert "hush" not in str(caught.value)
