"""A hub as a service of its own, rather than a part of another."""

from __future__ import annotations

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.controller.security import KnownHost
from agent.realtime.ice_servers import MAX_SERVERS, parse_ice_servers
from agent.settings import (
    DEVELOPMENT_KEY,
    DEVELOPMENT_SECRET,
    DEVELOPMENT_SECRET_ID,
    LOOPBACK_HOSTS,
    HubSettings,
    SettingsError,
)

from .faults import Faults
from .keys import ALL_ACTIONS, PublishableKey, SecretKey
from .rest import rest_router
from .server import Hub, HubOptions

#: Everybody knows the development keys, every page that a browser shows included. Only pages that come from
#: this machine may use them.
LOCAL_ORIGINS = frozenset(
    f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "[::1]")
)


def hub_options(settings: HubSettings, faults: Faults | None = None) -> HubOptions:
    """What `settings` say, with the development keys when they name none. Raises `SettingsError`."""
    publishable = tuple(
        PublishableKey(
            key.key.get_secret_value(), key.channels, frozenset(key.actions), _origins(key.origins)
        )
        for key in settings.keys
    )
    secret = tuple(
        SecretKey(
            key.id, key.secret.get_secret_value(), key.channels, frozenset(key.actions), _origins(key.origins)
        )
        for key in settings.secret_keys
    )
    if not settings.has_keys:
        publishable = (PublishableKey(DEVELOPMENT_KEY, actions=ALL_ACTIONS, allowed_origins=LOCAL_ORIGINS),)
        secret = (SecretKey(DEVELOPMENT_SECRET_ID, DEVELOPMENT_SECRET, allowed_origins=LOCAL_ORIGINS),)
    ice_servers = tuple(server.plain() for server in settings.ice_servers)
    if parse_ice_servers([server.to_json() for server in ice_servers]) is None:
        # Clients throw the whole list away when there is anything wrong with it.
        raise SettingsError(
            f"hub.ice_servers: at most {MAX_SERVERS} entries, "
            "whose urls begin with stun:, stuns:, turn: or turns:"
        )
    limits = HubOptions()
    return HubOptions(
        publishable_keys=publishable,
        secret_keys=secret,
        ice_servers=ice_servers,
        max_connections=settings.max_connections,
        max_messages=settings.max_messages,
        # On this machine every client has the same address: there is nobody to hold off.
        connects_per_minute=None if settings.is_local else limits.connects_per_minute,
        connections_per_address=None if settings.is_local else limits.connections_per_address,
        rest_rate=None if settings.is_local else limits.rest_rate,
        faults=faults,
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
    )


def standalone_app(hub: Hub, settings: HubSettings) -> FastAPI:
    """The hub with its control plane, ``/healthz`` and ``/metrics``.

    Where only this machine can reach it, it answers to this machine's names alone, so that a foreign name
    pointing here reaches nothing, and shows its metrics to everybody; otherwise metrics need a secret key, as
    the control plane does.
    """
    middleware = []
    if settings.is_local or settings.allowed_hosts:
        names = (*LOOPBACK_HOSTS, *settings.allowed_hosts)
        middleware = [
            Middleware(KnownHost, allowed_hosts=names, local=settings.is_local, setting="hub.allowed_hosts")
        ]
    app = FastAPI(title="Room hub", docs_url=None, redoc_url=None, openapi_url=None, middleware=middleware)

    async def healthz(_: Request) -> Response:
        return JSONResponse(
            {"status": "going away" if hub.is_closed else "ok"}, 503 if hub.is_closed else 200
        )

    async def metrics(request: Request) -> Response:
        authorization = request.headers.get("authorization", "").encode("latin-1")
        if not settings.is_local and hub.keys.bearer(authorization) is None:
            body = {"error": "unauthorized", "message": "metrics need a secret key"}
            return JSONResponse(body, 401, {"www-authenticate": "Bearer"})
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(hub.router)
    app.include_router(rest_router(hub))
    app.add_route("/healthz", healthz)
    app.add_route("/metrics", metrics)
    return app


def _origins(origins: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if origins is None else frozenset(origins)
