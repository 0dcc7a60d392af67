"""The doctor's checks of the network: UDP, ICE candidates, the signalling server, and relays."""

from __future__ import annotations

import asyncio

import aioice

from agent.access import Access
from agent.doctor_ice import ANSWER_TIMEOUT_S, Finding, Mailbox, Probe, ice_checks
from agent.realtime import SignallingConnectError, SignallingError
from agent.realtime.signalling.client import SignallingClient
from agent.room_options import TurnServers
from agent.settings import Settings


def network_checks(settings: Settings) -> list[tuple[str, Probe]]:
    """Each check's name and the check: (status, what was found, fix)."""
    # The visit to the signalling server needs no relay.
    rooms = settings.rooms.model_copy(update={"turn": TurnServers()})
    access = Access(rooms, local=settings.server.is_local)
    return [
        ("UDP", _loopback),
        ("ICE", _candidates),
        ("signalling", lambda: _signalling(access)),
        *ice_checks(settings.rooms),
    ]


async def _loopback() -> Finding:
    loop = asyncio.get_running_loop()
    receiver, mailbox = await loop.create_datagram_endpoint(Mailbox, local_addr=("127.0.0.1", 0))
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
