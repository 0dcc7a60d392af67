"""The doctor's checks of the network: UDP, ICE candidates, STUN and TURN servers, the signalling server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import aioice
from aioice import stun, turn
from aiortc.rtcicetransport import parse_stun_turn_uri

from agent.access import Access
from agent.realtime import IceServer, SignallingConnectError, SignallingError
from agent.realtime.signalling import SignallingClient
from agent.settings import Settings

Finding: TypeAlias = tuple[Literal["ok", "warn", "fail"], str, str]
_Probe: TypeAlias = Callable[[], Awaitable[Finding]]

ANSWER_TIMEOUT_S = 4.0


def network_checks(settings: Settings) -> list[tuple[str, _Probe]]:
    """Each check's name and the check: (status, what was found, fix)."""
    access = Access(settings.rooms, local=settings.server.is_loopback)
    checks: list[tuple[str, _Probe]] = [
        ("UDP", _loopback),
        ("ICE", _candidates),
        ("signalling", lambda: _signalling(access)),
    ]
    for server in access.ice_servers:
        for url in server.urls:
            checks.append((url, lambda u=url, s=server: _ice_server(u, s)))  # type: ignore[misc]
    return checks


class _Mailbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 (the interface)
        if not self.first.done():
            self.first.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.first.done():
            self.first.set_exception(exc)


async def _loopback() -> Finding:
    loop = asyncio.get_running_loop()
    receiver, mailbox = await loop.create_datagram_endpoint(_Mailbox, local_addr=("127.0.0.1", 0))
    try:
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=receiver.get_extra_info("sockname")
        )
        try:
            sender.sendto(b"ping")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await mailbox.first
        except (TimeoutError, OSError):
            return (
                "fail",
                "a datagram to this machine did not arrive",
                "Allow UDP in this machine's firewall.",
            )
        finally:
            sender.close()
    finally:
        receiver.close()
    return "ok", "works on this machine", ""


async def _candidates() -> Finding:
    connection = aioice.Connection(ice_controlling=True)
    try:
        await connection.gather_candidates()
        hosts = [c.host for c in connection.local_candidates if c.type == "host"]
    finally:
        await connection.close()
    if not hosts:
        fix = "Give this machine or container a network interface besides loopback."
        return "fail", "this machine has no address that callers could send to", fix
    return "ok", f"callers can send to {', '.join(hosts[:4])}", ""


async def _signalling(access: Access) -> Finding:
    if access.hub is not None:
        return "ok", "embedded: starts with the service", ""
    entry = access.for_agent("doctor", "doctor", "doctor")
    fix = "Correct rooms.url and the keys, or unset them to use the embedded server."
    try:
        client = SignallingClient(
            entry.url, key=entry.key, token_provider=entry.token_provider, reconnect=None
        )
    except ValueError as error:
        return "fail", str(error), fix
    try:
        await client.connect()
    except SignallingConnectError as error:
        return "fail", f"{entry.url} refused or cannot be reached: {error.reason} ({error.code})", fix
    except SignallingError as error:
        return "fail", f"{entry.url}: {error}", fix
    finally:
        await client.close()
    return "ok", f"{entry.url} lets us in", ""


async def _ice_server(url: str, server: IceServer) -> Finding:
    try:
        parsed = parse_stun_turn_uri(url)
    except ValueError as error:
        return "fail", str(error), "Write it like stun:host:3478 or turn:host:3478?transport=udp."
    fix = f"Check the address, the firewall and the credentials of {url} in rooms.ice_servers."
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            if parsed["scheme"] in ("turn", "turns"):
                if server.username is None or server.credential is None:
                    return "fail", "no username and credential are set", fix
                return "ok", await _allocate(parsed, server.username, server.credential), ""
            return "ok", await _bind(parsed), ""
    except TimeoutError:
        return "fail", "it does not answer", fix
    except stun.TransactionFailed as error:
        code = error.response.attributes.get("ERROR-CODE", (0, "no reason given"))
        return "fail", f"it refuses: {code[1]} ({code[0]})", fix
    except (OSError, stun.TransactionError) as error:
        return "fail", f"it cannot be reached ({type(error).__name__})", fix


async def _bind(parsed: dict[str, Any]) -> str:
    """A STUN binding request: which address the world sees us under."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    loop = asyncio.get_running_loop()
    transport, mailbox = await loop.create_datagram_endpoint(
        _Mailbox, remote_addr=(parsed["host"], parsed["port"])
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


async def _allocate(parsed: dict[str, Any], username: str, credential: str) -> str:
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=(parsed["host"], parsed["port"]),
        username=username,
        password=credential,
        ssl=ssl.create_default_context() if parsed["scheme"] == "turns" else None,
        transport=parsed["transport"],
    )
    relayed = transport.get_extra_info("sockname")
    transport.close()
    return f"relays from {relayed[0]}"
