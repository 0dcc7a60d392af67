"""The service's API as a program calls it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from agent.controller.parts import Role
from agent.controller.schemas import AboutOut, AgentOut, TokenOut
from agent.settings import Settings

#: Asked to come back later, a client does so this often, and never waits longer than this.
MAX_RETRIES = 5
MAX_PORT = 65_535
MAX_RETRY_AFTER_S = 30.0

_Answer = TypeVar("_Answer", bound=BaseModel)


class ServiceError(Exception):
    """The service cannot be reached or refused; the message says why, for whoever started the command."""


class ServiceAddressError(ServiceError):
    """What was given as the service's address is none."""


def service_url(settings: Settings) -> str:
    """Where the service of these settings is found."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.host, settings.server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


class ServiceClient:
    """`async with ServiceClient("http://127.0.0.1:8000") as service`. Every method raises `ServiceError`."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float = 60.0) -> None:
        """Raises `ServiceAddressError`."""
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        if not _is_address(self.url):
            raise ServiceAddressError(f"{url} is not an address; expected one like http://127.0.0.1:8000")
        # A service on this machine is not reached through a proxy for the rest of the world.
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def about(self) -> AboutOut:
        """What runs there."""
        return await self._ask("GET", "/about", AboutOut)

    async def dispatch(self, room: str, **fields: Any) -> tuple[AgentOut, bool]:
        """Bring an agent into `room`; `fields` as ``POST /agents`` takes them, None left out.

        False: the same persona was there before.
        """
        body = {"room": room} | {name: value for name, value in fields.items() if value is not None}
        response = await self._send("POST", "/agents", body)
        return self._read(response, AgentOut), response.status_code == httpx.codes.CREATED

    async def remove(self, agent_id: str) -> AgentOut:
        """Ask an agent to leave."""
        return await self._ask("DELETE", f"/agents/{agent_id}", AgentOut)

    async def access(self, room: str, name: str | None = None, *, role: Role = "caller") -> TokenOut:
        """Access to `room` for a caller, or for an agent of another process."""
        return await self._ask("POST", "/tokens", TokenOut, {"room": room, "name": name, "role": role})

    async def _ask(self, method: str, path: str, kind: type[_Answer], body: Any = None) -> _Answer:
        return self._read(await self._send(method, path, body), kind)

    def _read(self, response: httpx.Response, kind: type[_Answer]) -> _Answer:
        if response.is_error:
            raise ServiceError(_refusal(response))
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise ServiceError(f"what answers at {self.url} is not this service") from None

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            for _ in range(MAX_RETRIES):
                response = await self._http.request(method, path, json=body)
                if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    break
                await asyncio.sleep(_retry_after_s(response))
        except httpx.ConnectError:
            raise ServiceError(
                f"no service answers at {self.url}; start one with 'voice-agent serve'"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ServiceError(f"the service at {self.url} cannot be reached: {reason}") from None
        return response


def _is_address(url: str) -> bool:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.host) and 0 <= (parts.port or 0) <= MAX_PORT


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return min(MAX_RETRY_AFTER_S, max(0.1, float(response.headers.get("retry-after", "1"))))
    except ValueError:
        return 1.0


def _refusal(response: httpx.Response) -> str:
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = (
            f"{response.request.method} {response.request.url.path} was answered with {response.status_code}"
        )
    return f"the service refused: {message[:500]}"
