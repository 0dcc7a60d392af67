"""The controller: agents, access and the page over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from agent.controller.errors import ApiError, invalid
from agent.controller.parts import Parts
from agent.controller.routes import api
from agent.controller.schemas import AgentBody, TokenBody
from agent.controller.security import Edge, Guard, KnownHost
from agent.ratelimit import RateLimit, RateLimiter

WEB_DIR = Path(__file__).parent / "web"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "[::1]")
TAGS = [
    {"name": "agents", "description": "Agents and the rooms they are in."},
    {"name": "access", "description": "Access to a room for a caller."},
    {"name": "service", "description": "What runs here, and how it is."},
]


def create_app(
    parts: Parts,
    *,
    api_key: str | None = None,
    allowed_hosts: Sequence[str] = LOCAL_HOSTS,
    local: bool = False,
    limiter: RateLimiter | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The controller as an application; a signalling server may be mounted into it at ``/v1``.

    `api_key` set: everything but the page, ``/healthz`` and the signalling needs it as a bearer token.
    `allowed_hosts`: names this service answers to (``*``: any), so that a foreign name pointing at this
    machine reaches nothing. `local`: it is for this machine alone, and nobody is to be brought by a proxy.
    """
    app = FastAPI(
        title="Voice agent",
        summary="Brings AI voice agents into rooms, and callers to them.",
        version=parts.version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=TAGS,
    )
    app.state.parts = parts
    described = [Depends(HTTPBearer(auto_error=False))] if api_key is not None else []
    app.include_router(api, dependencies=described)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/web", StaticFiles(directory=WEB_DIR), name="web")
    app.add_exception_handler(ApiError, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    # The last one added sees a request first.
    buckets = RateLimiter(RateLimit()) if limiter is None else limiter
    app.add_middleware(Guard, api_key=api_key, limiter=buckets)
    app.add_middleware(KnownHost, allowed_hosts=allowed_hosts, local=local)
    app.add_middleware(Edge)
    return app


async def _page() -> FileResponse:
    return FileResponse(WEB_DIR / "index.html")


def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    body = TokenBody if request.url.path == "/tokens" else AgentBody
    return invalid(error.errors(), body.ACCEPTED).response()


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = {
        400: ("invalid_request", "The body cannot be read as JSON."),
        404: ("not_found", "There is nothing at this address; GET /openapi.json lists what there is."),
        405: ("method_not_allowed", f"{request.method} is not possible at this address."),
    }.get(error.status_code, ("error", str(error.detail)))
    return ApiError(error.status_code, code, message, headers=error.headers).response()
