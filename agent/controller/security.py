"""What stands between a stranger and the controller, as two thin ASGI layers."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Iterable

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.controller.errors import ApiError
from agent.ratelimit import RateLimiter, client_key

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
#: The room protocol lives here and checks its own credentials.
SIGNALLING_PATH = "/v1"
PAGE_PATHS = ("/", "/favicon.ico")
PAGE_PREFIX = "/web/"

CRASH = ApiError(500, "internal_error", "Something broke here; the service's log says what.")
REQUESTS = Counter("voice_agent_http_requests_total", "Answers given.", ["method", "route", "status"])
REFUSED = Counter("voice_agent_http_refused_total", "Requests turned away before any work.", ["reason"])

#: Scripts and styles only from files of our own; sockets anywhere, because the room service may be
#: another host than the one that serves the page.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' ws: wss:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}


#: RFC 7239: the address, with its port if there is one, may be quoted.
_FORWARDED_FOR = re.compile(r'for="?(\[[^\]]*\]|[^;,":\s]*)', re.IGNORECASE)
_PORT = re.compile(r":\d*$")


class KnownHost:
    """Answers only to its own names: a foreign name that points at this machine reaches nothing, so that a
    foreign page cannot use a caller's browser to get in (DNS rebinding). ``*`` allows any name.

    A service for this machine alone takes everybody for a friend. A proxy on this machine brings strangers,
    and many proxies call the service by its local name while they do: whoever says so is turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str],
        local: bool = False,
        setting: str = "server.allowed_hosts",
    ) -> None:
        """`local`: for this machine alone; `setting`: where to name more."""
        self.app = app
        self._local = local
        self._setting = setting
        self._allowed = frozenset(host.lower().strip("[]") for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and "*" not in self._allowed:
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if self._local and _is_brought(headers):
                message = f"A proxy brings others here: {self._setting} has to name what it answers to."
                await ApiError(400, "unexpected_proxy", message).response()(scope, receive, send)
                return
            if _PORT.sub("", host).lower().strip("[]") not in self._allowed:
                message = f'This service does not answer to "{host[:100]}"; {self._setting} names more.'
                await ApiError(400, "unknown_host", message).response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_brought(headers: Headers) -> bool:
    """Whether a proxy says that the client is on another machine."""
    clients = [*headers.getlist("x-real-ip"), *",".join(headers.getlist("x-forwarded-for")).split(",")]
    clients += _FORWARDED_FOR.findall(",".join(headers.getlist("forwarded")))
    return not all(map(_is_this_machine, filter(None, map(str.strip, clients))))


def _is_this_machine(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


class Edge:
    """The outermost layer: counts, adds `HEADERS`, and turns a crash into an answer of the usual shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                is_page = path in PAGE_PATHS or path.startswith(PAGE_PREFIX)
                headers.setdefault("cache-control", "no-cache" if is_page else "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            # The boundary: whatever broke, the client gets an answer and the log gets the place.
            logger.exception("a request to %s broke", _route(scope))
            if status:
                raise
            await CRASH.response()(scope, receive, send_with_headers)
        finally:
            REQUESTS.labels(scope["method"], _route(scope), str(status)).inc()


def _route(scope: Scope) -> str:
    """The route's template, never the path itself: strangers must not make up label values."""
    return getattr(scope.get("route"), "path", "none")


class Guard:
    """Key, rate, content type and size, checked before anything is parsed.

    Everything needs the key (if there is one) except the page, `/healthz` and the room protocol. POST
    must be ``application/json``: a foreign page cannot send that without a preflight, and none is granted.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, limiter: RateLimiter) -> None:
        self.app = app
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path == SIGNALLING_PATH or path.startswith(f"{SIGNALLING_PATH}/"):
            await self.app(scope, receive, send)
            return
        try:
            self._check_key(scope)
            if scope["method"] in {"POST", "PUT", "PATCH"}:
                self._check_rate(_client(scope))
                _check_content_type(scope)
                receive = await _bounded(scope, receive)
        except ApiError as refusal:
            REFUSED.labels(refusal.body.code).inc()
            await refusal.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_key(self, scope: Scope) -> None:
        path = scope["path"]
        if self._expected is None or path in (*PAGE_PATHS, "/healthz") or path.startswith(PAGE_PREFIX):
            return
        given = Headers(scope=scope).get("authorization", "").encode("utf-8", "replace")
        guesser = f"key {_client(scope)}"
        # Asked before looking: whoever guesses must not learn from a refusal that did not come.
        self._check_rate(guesser, take=False)
        if not hmac.compare_digest(given, self._expected):
            if given:
                self._check_rate(guesser)
            raise ApiError(
                401,
                "unauthorized",
                "This service needs its API key: send it as 'Authorization: Bearer <key>'.",
                headers={"www-authenticate": "Bearer"},
            )

    def _check_rate(self, bucket: str, *, take: bool = True) -> None:
        wait_s = self._limiter.wait_s(bucket, take=take)
        if wait_s > 0:
            seconds = max(1, round(wait_s + 0.5))
            raise ApiError(
                429,
                "too_many_requests",
                f"Too many requests from this address; try again in {seconds} s.",
                headers={"retry-after": str(seconds)},
            )


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client_key(client[0]) if client else "unknown"


def _check_content_type(scope: Scope) -> None:
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415, "unsupported_media_type", "Send JSON with the header 'Content-Type: application/json'."
        )


async def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Reads the body, at most `MAX_BODY_BYTES`, and returns a `receive` that plays it back."""
    too_large = ApiError(413, "body_too_large", f"The body may have at most {MAX_BODY_BYTES} bytes.")
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isdecimal() and int(announced[:12]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large
        more = message.get("more_body", False)
    replay: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def playback() -> Message:
        return replay.pop() if replay else await receive()

    return playback
