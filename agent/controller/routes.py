"""The endpoints. Each asks one part of the service and words its answer for HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.controller.errors import ApiError, ErrorOut, FieldError, nearest
from agent.controller.parts import Parts
from agent.controller.schemas import (
    AboutOut,
    AgentBody,
    AgentList,
    AgentOut,
    EngineOut,
    HealthOut,
    PersonaOut,
    TokenBody,
    TokenOut,
)
from agent.dispatch.base import AgentState, CapacityError, DispatchError, UnknownPersonaError

CAPACITY_RETRY_S = 10
GONE = (AgentState.ENDED, AgentState.FAILED)


def _errors(**examples: tuple[int, str, str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI for refusals: code = (status, description, message)."""
    return {
        status: {
            "model": ErrorOut,
            "description": description,
            "content": {"application/json": {"example": {"error": {"code": code, "message": message}}}},
        }
        for code, (status, description, message) in examples.items()
    }


COMMON = _errors(
    unauthorized=(401, "The API key is missing or wrong", "This service needs its API key: send it as …"),
)
INVALID = _errors(
    invalid_request=(
        422,
        "Something in the request is not accepted; `fields` says what",
        '"room" is missing: give 1 to 128 letters, digits, …',
    ),
)
POSTED = INVALID | _errors(
    body_too_large=(413, "The body is too large", "The body may have at most 65536 bytes."),
    unsupported_media_type=(415, "Not JSON", "Send JSON with the header 'Content-Type: application/json'."),
    too_many_requests=(429, "Too many requests", "Too many requests from this address; try again in 3 s."),
    dispatch_failed=(502, "The room cannot be reached", "The signalling server does not answer."),
)
NO_AGENT = INVALID | _errors(not_found=(404, "It is not there", 'There is no agent "a1b2c3".'))
NO_CAPACITY = _errors(no_capacity=(503, "All agents are taken; see Retry-After", "All 20 agents are in use."))

api = APIRouter(responses=COMMON)


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Here = Annotated[Parts, Depends(_parts)]
AgentId = Annotated[str, Path(description="As `POST /agents` gave it.", examples=["a1b2c3"])]


@api.post(
    "/agents",
    tags=["agents"],
    status_code=201,
    summary="Bring an agent into a room",
    response_description="It has joined the room",
    responses={
        **POSTED,
        **NO_CAPACITY,
        200: {"model": AgentOut, "description": "The same persona was in this room already: this is it"},
    },
)
async def add_agent(body: AgentBody, here: Here, response: Response) -> AgentOut:
    try:
        status, created = await here.dispatcher.dispatch(body.request())
    except UnknownPersonaError as error:
        raise _unknown_persona(body.persona, error.known) from error
    except CapacityError as error:
        headers = {"retry-after": str(CAPACITY_RETRY_S)}
        raise ApiError(503, "no_capacity", str(error), headers=headers) from error
    except DispatchError as error:
        raise ApiError(502, "dispatch_failed", str(error)) from error
    answer = AgentOut.of(status)
    response.status_code = 201 if created else 200
    response.headers["location"] = answer.links.self
    return answer


@api.get(
    "/agents",
    tags=["agents"],
    summary="List the agents",
    responses=INVALID
    | _errors(not_found=(404, "No agent is in the room", 'There is no agent in a room "lobby".')),
)
async def list_agents(
    here: Here,
    room: Annotated[str | None, Query(description="Only those in this room.", examples=["lobby"])] = None,
) -> AgentList:
    found = [status for status in here.dispatcher.agents() if room in (None, status.request.room)]
    if room is not None and not found:
        raise ApiError(404, "not_found", f'There is no agent in a room "{room[:128]}".')
    return AgentList(agents=[AgentOut.of(status) for status in found])


@api.get("/agents/{agent_id}", tags=["agents"], summary="Look at an agent", responses=NO_AGENT)
async def get_agent(agent_id: AgentId, here: Here) -> AgentOut:
    status = here.dispatcher.agent(agent_id)
    if status is None:
        raise _no_agent(agent_id)
    return AgentOut.of(status)


@api.delete(
    "/agents/{agent_id}",
    tags=["agents"],
    summary="Ask an agent to leave",
    description="It finishes its sentence first. Asking twice does no harm.",
    status_code=202,
    response_description="It is leaving; `GET` tells when it has left",
    responses={**NO_AGENT, 200: {"model": AgentOut, "description": "It has left"}},
)
async def remove_agent(agent_id: AgentId, here: Here, response: Response) -> AgentOut:
    status = await here.dispatcher.remove(agent_id)
    if status is None:
        raise _no_agent(agent_id)
    response.status_code = 200 if status.state in GONE else 202
    return AgentOut.of(status)


@api.post(
    "/tokens",
    tags=["access"],
    status_code=201,
    summary="Let a caller, or an agent of another process, into a room",
    response_description="Short-lived access to this room and no other",
    responses=POSTED,
)
async def add_token(body: TokenBody, here: Here, request: Request) -> TokenOut:
    try:
        access = await here.rooms.caller_access(body.room, body.name, body.role)
    except DispatchError as error:
        raise ApiError(502, "dispatch_failed", str(error)) from error
    url = access.url
    if url is None:
        scheme = "wss" if request.url.scheme == "https" else "ws"
        url = f"{scheme}://{request.headers['host']}"
    return TokenOut(url=url, token=access.token, key=access.key, room=body.room, expires_at=access.expires_at)


@api.get("/about", tags=["service"], summary="What runs here, and why")
async def about(here: Here) -> AboutOut:
    personas = [
        PersonaOut(name=persona.name, description=persona.description, language=persona.language)
        for persona in here.personas()
    ]
    engines = [EngineOut.of(info) for info in here.engines()]
    return AboutOut(name="voice-agent", version=here.version, engines=engines, personas=personas)


@api.get("/healthz", tags=["service"], summary="Whether the service answers")
async def healthz(here: Here) -> HealthOut:
    present = [status for status in here.dispatcher.agents() if status.state not in GONE]
    return HealthOut(status="ok", agents=len(present))


@api.get(
    "/metrics",
    tags=["service"],
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "voice_agent_http_requests_total 1.0"}}}},
)
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _no_agent(agent_id: str) -> ApiError:
    return ApiError(404, "not_found", f'There is no agent "{agent_id[:64]}".')


def _unknown_persona(given: str, known: tuple[str, ...]) -> ApiError:
    near = nearest(given, known)
    hint = f', did you mean "{near}"?' if near else "."
    message = f'There is no persona "{given}"{hint} There are: {", ".join(known)}.'
    return ApiError(422, "unknown_persona", message, fields=[FieldError(field="persona", message=message)])
