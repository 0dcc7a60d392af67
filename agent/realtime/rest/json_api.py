"""JSON over HTTPS with a secret in every request: what the vendor's REST services have in common.

Nothing here lets the secret out: not into a log, not into an exception, not into a `repr`.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Self, TypeVar
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import httpx

from agent.realtime.addresses import is_loopback

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_ATTEMPTS = 3
FIRST_RETRY_S = 0.25
#: A service that wants a longer pause than this gets it from whoever called us.
MAX_RETRY_WAIT_S = 5.0
MAX_CONNECTIONS = 8
_MAX_MESSAGE_CHARS = 200
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Words for statuses that come without one.
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    413: "invalid_request",
    429: "rate_limited",
}


class RestError(Exception):
    """A REST service refused, failed, or could not be reached.

    `status` is the HTTP status, None when there was no answer. `code` is the service's word for why, or one
    of ours: ``unreachable`` and ``timeout`` (it may or may not have been carried out), ``bad_answer``. The
    message never carries the credential.
    """

    def __init__(
        self, status: int | None, code: str, message: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{message} ({code})" if status is None else f"{message} ({code}, HTTP {status})")
        self.status = status
        self.code = code
        self.message = message
        #: How long the service asked us to stay away.
        self.retry_after_s = retry_after_s


class JsonApi:
    """One REST service; an async context manager, or call `close`.

    One deadline covers a call with all its attempts. A request is repeated where that cannot do a thing
    twice: when no connection was made, when it only reads, and when the service itself says to come back
    (429 or 503 with Retry-After).
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, secret: str, timeout_s: float
    ) -> None:
        """`secret` is cut out of whatever the service says. Raises `ValueError` for an unsafe address."""
        self._base = check_https(url)
        self._secrets = [secret]
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            headers={**(headers or {}), "accept": "application/json", "accept-encoding": "identity"},
            timeout=timeout_s,
            verify=_tls(),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            # The secret is for this machine, not for a proxy for the rest of the world.
            trust_env=not is_loopback(urlsplit(self._base).hostname or ""),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def call(
        self,
        parse: Callable[[Any], T],
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        secret_query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> T:
        """Send a request and return what `parse` makes of the JSON that came back.

        `path` is percent-encoded already; `body` is a JSON object or None; `secret_query` is put behind
        `query` where nobody logs it. `parse` may raise `ValueError`, `TypeError` or `KeyError` for an answer
        of another shape. Raises `RestError`.
        """
        address = path + (f"?{urlencode(query)}" if query else "")
        target = address
        if secret_query:
            target += ("&" if query else "?") + urlencode(secret_query)
        # httpx logs the URL, and its exceptions hold it. The target is what really goes over the wire.
        request = self._http.build_request(
            method, self._base + address, json=body, extensions={"target": target.encode()}
        )
        secrets = [*self._secrets, *(secret_query or {}).values()]
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._attempts(request, secrets)
        except TimeoutError:
            raise RestError(
                None, "timeout", f"{self._base} gave no answer in {self._timeout_s:g} s"
            ) from None
        try:
            return parse(answer)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise RestError(None, "bad_answer", f"{self._base} answered with something else") from None

    async def _attempts(self, request: httpx.Request, secrets: list[str]) -> Any:
        is_reading = request.method == "GET"
        for attempt in range(1, MAX_ATTEMPTS + 1):
            pause_s: float | None = FIRST_RETRY_S * 2 ** (attempt - 1)
            try:
                return await self._once(request, secrets)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = self._unreachable(error)
            except httpx.HTTPError as error:
                failure = self._unreachable(error)
                pause_s = pause_s if is_reading else None
            except RestError as error:
                failure = error
                pause_s = _pause_s(error, pause_s, is_reading)
            if pause_s is None or pause_s > MAX_RETRY_WAIT_S or attempt == MAX_ATTEMPTS:
                raise failure from None
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    async def _once(self, request: httpx.Request, secrets: list[str]) -> Any:
        response = await self._http.send(request, stream=True)
        try:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    message = f"{self._base} answered with over {MAX_ANSWER_BYTES} bytes"
                    raise RestError(response.status_code, "bad_answer", message)
        finally:
            await response.aclose()
        answer = _json(bytes(content))
        if response.is_success:
            return answer
        raise _refusal(response, answer, secrets)

    def _unreachable(self, error: httpx.HTTPError) -> RestError:
        return RestError(None, "unreachable", f"{self._base} cannot be reached: {type(error).__name__}")


@cache
def _tls() -> ssl.SSLContext:
    """Reading the authorities' certificates takes longer than a request; once is enough."""
    return httpx.create_ssl_context()


def check_https(url: str) -> str:
    """The origin of a REST service: ``https://host[:port]``, or ``http://`` on this machine itself.

    Raises `ValueError` for anything else: the secret travels in every request.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("the address of the REST service must look like https://host or https://host:port")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("the address of the REST service must be https://; http:// is for localhost only")
    if parts.path not in {"", "/"} or "?" in url or "#" in url or "@" in parts.netloc:
        raise ValueError("the address of the REST service must have no path, query, fragment or user name")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("the address of the REST service has an impossible port") from None
    return f"{parts.scheme}://{parts.netloc}"


def path_segment(text: str) -> str:
    """`text` percent-encoded as one piece of a path; a slash in it does not split it, dots do not climb."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def typed(body: Any, name: str, *kinds: type[Any]) -> Any:
    """``body[name]``, if it is one of `kinds`; raises `TypeError` or `KeyError`."""
    value = body[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(name)
    return value


def optional(body: Any, name: str, *kinds: type[Any]) -> Any:
    """As `typed`, None where there is none."""
    return None if body.get(name) is None else typed(body, name, *kinds)


def ignore(_: Any) -> None:
    """Parses an answer whose status says it all."""


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _pause_s(error: RestError, pause_s: float | None, is_reading: bool) -> float | None:
    if error.status not in {429, 503}:
        return None
    if error.retry_after_s is not None:
        return error.retry_after_s
    return pause_s if is_reading else None


def _refusal(response: httpx.Response, answer: Any, secrets: list[str]) -> RestError:
    """What a failed answer says; some services put the reason into `error`, others into `message`."""
    status = response.status_code
    body = answer if isinstance(answer, dict) else {}
    said = [text for text in (body.get("error"), body.get("message")) if isinstance(text, str) and text]
    code = _CODES.get(status, "internal_error" if status >= 500 else f"http_{status}")
    if said and _CODE.fullmatch(said[0]):
        code = said.pop(0)
    message = _clean(said[-1], secrets) if said else "the service refused"
    return RestError(status, code, message, retry_after_s=_retry_after_s(response.headers.get("retry-after")))


def _clean(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, "…")
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_MESSAGE_CHARS])


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
