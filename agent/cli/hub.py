"""``voice-agent hub``: a signalling server of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
import uvicorn
from rich.markup import escape

from agent.cli.app import ConfigOption, SetOption, app, err, fail, settings_from
from agent.hub import UVICORN_OPTIONS, ClusterError, Faults, Hub, parse_faults
from agent.hub.standalone import hub_options, standalone_app
from agent.serving import GracefulServer, listen, reachable
from agent.settings import (
    DEVELOPMENT_KEY,
    DEVELOPMENT_SECRET,
    DEVELOPMENT_SECRET_ID,
    HubSettings,
    SettingsError,
)

HostOption = Annotated[str | None, typer.Option(help="Where to listen; beyond this machine, give keys.")]
PortOption = Annotated[int | None, typer.Option(help="0: any free port.")]
KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="A publishable key that may do everything; narrower ones: section hub."),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret-key", metavar="ID:SECRET", help="A pair that signs tokens and opens REST."),
]
IceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server", metavar="URL[,USERNAME,CREDENTIAL]", help="Told to every client, e.g. stun:host:3478."
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="Share rooms with other hubs, e.g. redis://localhost; with a password, see docs/hub-cluster.md.",
    ),
]
FaultOption = Annotated[
    list[str] | None,
    typer.Option("--fault", help="Misbehave on purpose, e.g. drop=0.05; see docs/hub.md. This machine only."),
]


@app.command()
def hub(
    *,
    host: HostOption = None,
    port: PortOption = None,
    key: KeyOption = None,
    secret_key: SecretOption = None,
    ice_server: IceOption = None,
    redis: RedisOption = None,
    fault: FaultOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Start a hub: rooms for agents, pages and programs that speak the Metered Realtime protocol.

    Without keys it accepts well-known ones, on this machine alone. Ctrl-C tells clients to come back later;
    a second one ends at once.
    """
    given = {
        "host": host,
        "port": port,
        "keys": [{"key": one} for one in key] if key else None,
        "secret_keys": [_pair(text) for text in secret_key] if secret_key else None,
        "ice_servers": [_ice_server(text) for text in ice_server] if ice_server else None,
    }
    overrides = [f"hub.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    if redis is not None:
        # A secret is taken as it is written.
        overrides.append(f"hub.redis_url={redis}")
    settings = settings_from(config, [*(set_ or ()), *overrides]).settings.hub
    try:
        faults = parse_faults(fault) if fault else None
    except ValueError as error:
        raise fail(str(error), code=2) from None
    if faults is not None and not settings.is_local:
        raise fail("--fault is for tests on this machine, and this hub can be reached by others", code=2)
    try:
        asyncio.run(serve_hub(settings, faults))
    except SettingsError as error:
        raise fail(str(error)) from None


async def serve_hub(settings: HubSettings, faults: Faults | None = None) -> None:
    """Serve until asked to stop; then say so to every client before the sockets go.

    Raises `SettingsError` when the address or Redis cannot be had.
    """
    with listen(settings.host, settings.port, advice="choose another with --port") as listener:
        try:
            hub = Hub(hub_options(settings, faults))
            await hub.start()
        except ClusterError as error:
            raise SettingsError(f"hub.redis_url: {error}") from None
        web = standalone_app(hub, settings)
        # The access log would hold tokens: they are part of the signalling address.
        server = GracefulServer(
            uvicorn.Config(web, log_config=None, access_log=False, lifespan="off", **UVICORN_OPTIONS)
        )
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]))
            _greet(settings, listener.getsockname()[1], faults)
            await server.asked_to_stop.wait()
            err.print("Stopping: clients are told to come back …")
            closing = tasks.create_task(hub.close())
            hurry = tasks.create_task(server.asked_again.wait())
            await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
            server.force_exit = hurry.done()
            server.should_exit = True
            closing.cancel()
            hurry.cancel()
            await asyncio.wait({serving})


def _greet(settings: HubSettings, port: int, faults: Faults | None) -> None:
    url = f"ws://{reachable(settings.host)}:{port}"
    key, pair = "pk_…", "sk_id_…:sk_secret_…"
    if not settings.has_keys:
        key, pair = DEVELOPMENT_KEY, f"{DEVELOPMENT_SECRET_ID}:{DEVELOPMENT_SECRET}"
    lines = [f"The hub is at [bold]{url}[/]  (Ctrl-C stops.)", ""]
    if not settings.has_keys:
        lines += [
            "It accepts the development keys, which everybody knows, from this machine:",
            f"  publishable   [bold]{key}[/]",
            f"  secret pair   [bold]{pair}[/]",
            "",
        ]
    lines += [
        "Connect with",
        escape(f'  JavaScript    new MeteredPeer({{ url: "{url}", apiKey: "{key}" }})'),
        escape(f'  Python        MeteredPeer(url="{url}", api_key="{key}")'),
        f"  voice-agent   VOICE_AGENT__ROOMS__URL={url} VOICE_AGENT__ROOMS__API_KEY={key} voice-agent serve",
        f'  REST          curl -H "Authorization: Bearer {pair}" {url.replace("ws", "http", 1)}/v1/usage',
    ]
    if not settings.is_local:
        lines += ["", "The clients take ws:// on this machine only: put TLS in front and give them wss://."]
    if settings.redis_url is not None:
        lines += ["", "Rooms are shared with every other hub of the same Redis."]
    if faults is not None:
        lines += ["", "[bold yellow]It makes faults on purpose.[/]"]
    err.print("\n".join(lines), "", soft_wrap=True, highlight=False)


def _pair(text: str) -> dict[str, str]:
    key_id, colon, secret = text.partition(":")
    if not colon:
        raise fail("--secret-key: expected ID:SECRET, e.g. sk_id_mine:sk_secret_…", code=2)
    return {"id": key_id, "secret": secret}


def _ice_server(text: str) -> dict[str, Any]:
    match text.split(","):
        case [url]:
            return {"urls": [url]}
        case [url, username, credential]:
            return {"urls": [url], "username": username, "credential": credential}
    raise fail("--ice-server: expected URL or URL,USERNAME,CREDENTIAL", code=2)
