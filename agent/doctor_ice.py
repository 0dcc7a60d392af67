"""The doctor's checks of STUN and TURN servers: each one that is configured is used for real."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from aioice import stun, turn
from aiortc.rtcicetransport import parse_stun_turn_uri

from agent.realtime import IceServer, RestError
from agent.room_options import RoomsOptions, TurnServers
from agent.turn import MeteredRelays, SharedSecretRelays

Finding: TypeAlias = tuple[Literal["ok", "warn", "fail"], str, str]
Probe: TypeAlias = Callable[[], Awaitable[Finding]]

ANSWER_TIMEOUT_S = 4.0
#: Besides it, the credential has to be fetched within the doctor's patience.
METERED_ANSWER_TIMEOUT_S = 2.0
#: What the doctor's own credentials are called, and how long they last.
LABEL, TTL_S = "doctor", 60
COTURN_REFUSAL = (
    "Make rooms.turn.secret what the server has as static-auth-secret (with use-auth-secret), and set both "
    "machines' clocks right."
)


def ice_checks(rooms: RoomsOptions) -> list[tuple[str, Probe]]:
    """One check for each address in the settings, and one for Metered's, which are not known before."""
    checks: list[tuple[str, Probe]] = []
    for server in rooms.ice_servers:
        plain = server.plain()
        for url in server.urls:
            checks.append((url, lambda u=url, s=plain: ice_server(u, s)))  # type: ignore[misc]
    if rooms.turn.is_coturn:
        for url in rooms.turn.urls:
            checks.append((url, lambda u=url: _coturn(u, rooms.turn)))  # type: ignore[misc]
    if rooms.turn.is_metered:
        checks.append(("Metered TURN", lambda: metered(rooms.turn)))
    return checks


async def _coturn(url: str, options: TurnServers) -> Finding:
    (server,) = await SharedSecretRelays(options, TTL_S).for_peer(LABEL)
    return await ice_server(url, server, where="rooms.turn.urls", refusal=COTURN_REFUSAL)


async def metered(options: TurnServers, *, url: str | None = None) -> Finding:
    """Get a credential, relay with it over every address that comes with it, and give it back.

    `url`: the service's address in place of the app's own.
    """
    relays = MeteredRelays(options, TTL_S, url=url)
    try:
        credential, servers = await relays.make(LABEL, TTL_S)
        urls = [(url, server) for server in servers if server.credential for url in server.urls]
        findings = await asyncio.gather(
            *(ice_server(url, server, timeout_s=METERED_ANSWER_TIMEOUT_S) for url, server in urls)
        )
        # It ends by itself in a minute.
        with suppress(RestError):
            await relays.discard(credential)
    except RestError as error:
        fix = "Check rooms.turn.app_name and rooms.turn.secret_key; Metered's dashboard shows both."
        return "fail", f"no credential: {error}", fix
    finally:
        await relays.close()
    names = [url for url, _ in urls]
    bad = [f"{url}: {said}" for url, (status, said, _) in zip(names, findings, strict=True) if status != "ok"]
    if not bad:
        return "ok", f"a credential relays over {', '.join(names)}", ""
    fix = "Allow these ports and protocols out of this network; callers use whichever of the addresses works."
    return ("fail" if len(bad) == len(urls) else "warn"), "; ".join(bad), fix


async def ice_server(
    url: str,
    server: IceServer,
    *,
    where: str = "rooms.ice_servers",
    refusal: str | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Finding:
    """Ask a STUN server for our address, or have a TURN server relay.

    `where` the address is set; `refusal`: what to do when the server does not accept the credential.
    """
    try:
        parsed = parse_stun_turn_uri(url)
    except ValueError as error:
        return "fail", str(error), "Write it like stun:host:3478 or turn:host:3478?transport=udp."
    is_turn = parsed["scheme"] in ("turn", "turns")
    protocol = "TLS" if parsed["scheme"] == "turns" else parsed.get("transport", "udp").upper()
    fix = (
        f"Check {url} in {where}, that the server runs, and that firewalls let {protocol} "
        f"to port {parsed['port']} through."
    )
    refusal = refusal or f"Correct the username and credential of {url} in {where}."
    try:
        async with asyncio.timeout(timeout_s):
            if not is_turn:
                return "ok", await _bind(parsed), ""
            if server.username is None or server.credential is None:
                return "fail", "no username and credential are set", refusal
            return "ok", f"{await _allocate(parsed, server.username, server.credential)} over {protocol}", ""
    except TimeoutError:
        return "fail", "it does not answer", fix
    except stun.TransactionFailed as error:
        code = error.response.attributes.get("ERROR-CODE", (0, "no reason given"))
        return "fail", f"it refuses: {code[1]} ({code[0]})", refusal
    except ssl.SSLCertVerificationError as error:
        fix = f"Give it a certificate for {parsed['host']} from an authority that browsers know."
        return "fail", f"its certificate is not accepted: {error.verify_message}", fix
    except (OSError, stun.TransactionError) as error:
        return "fail", f"it cannot be reached ({type(error).__name__})", fix


class Mailbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 (the interface)
        if not self.first.done():
            self.first.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.first.done():
            self.first.set_exception(exc)


async def _bind(parsed: dict[str, Any]) -> str:
    """A STUN binding request: which address the world sees us under."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    loop = asyncio.get_running_loop()
    transport, mailbox = await loop.create_datagram_endpoint(
        Mailbox, remote_addr=(parsed["host"], parsed["port"])
    )
    try:
        while not mailbox.first.done():
            # Datagrams get lost: ask again until the deadline.
            transport.sendto(bytes(request))
            await asyncio.wait([mailbox.first], timeout=0.5)
        try:
            answer = stun.parse_message(mailbox.first.result())
        except ValueError:
            raise ConnectionError("not a STUN server") from None
    finally:
        transport.close()
        if mailbox.first.done() and not mailbox.first.cancelled():
            mailbox.first.exception()
    if answer.transaction_id != request.transaction_id:
        raise ConnectionError("not an answer to what was asked")
    seen = answer.attributes.get("XOR-MAPPED-ADDRESS") or answer.attributes.get("MAPPED-ADDRESS")
    return f"answers; the world sees us as {seen[0]}" if seen else "answers"


class _Relayed(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the interface)
        self.ended.set()


async def _allocate(parsed: dict[str, Any], username: str, credential: str) -> str:
    transport, relayed = await turn.create_turn_endpoint(
        _Relayed,
        server_addr=(parsed["host"], parsed["port"]),
        username=username,
        password=credential,
        ssl=ssl.create_default_context() if parsed["scheme"] == "turns" else None,
        transport=parsed["transport"],
    )
    address = transport.get_extra_info("sockname")
    transport.close()
    # It has shown that it relays; a lost answer to the goodbye changes nothing.
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await relayed.ended.wait()
    return f"relays from {address[0]}"
