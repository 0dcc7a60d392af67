"""Every reach into the private parts of aioice and of aiortc's ICE transports; `aiortc_seam` has the others.

Checked with aiortc 1.16 and aioice 0.13; tests/agent/realtime/ice/test_ice_seam.py guards it. Each says
what it is needed for and what goes wrong without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aioice.ice
import aioice.stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCPeerConnection
from aiortc.rtcicetransport import candidate_from_aioice
from aiortc.sdp import candidate_to_sdp


class Arrivals:
    """Counts the datagrams that arrive for `pc`, and asks the other side to send one.

    To be made when `pc` is connected. aiortc says nothing of what arrives, and its own questions are 4-6 s
    apart.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        #: Datagrams of any kind: media, reports, handshakes, and the answers to `ask`.
        self.count = 0
        self._connections = ice_connections(pc)
        self._counted: list[Any] = []
        self._listen()

    def ask(self) -> None:
        """Send a question of RFC 7675; whatever comes back counts as arrived."""
        self._listen()
        for connection in self._connections:
            for pair in connection._nominated.values():
                request = connection.build_request(pair, nominate=False)
                request.add_message_integrity(connection.remote_password.encode())
                pair.protocol.send_stun(request, pair.remote_addr)

    def _listen(self) -> None:
        for connection in self._connections:
            for protocol in connection._protocols:
                if protocol not in self._counted:
                    self._counted.append(protocol)
                    protocol.datagram_received = self._counting(protocol.datagram_received)

    def _counting(self, received: Callable[[bytes, Any], None]) -> Callable[[bytes, Any], None]:
        def count(data: bytes, address: Any) -> None:
            self.count += 1
            received(data, address)

        return count


def ice_connections(pc: RTCPeerConnection) -> list[Any]:
    """The aioice connections under `pc`; one when all sections are bundled."""
    transports: Any = getattr(pc, "_RTCPeerConnection__iceTransports")  # noqa: B009 (mypy knows the class)
    return [transport._connection for transport in transports]


def has_remote_address(pc: RTCPeerConnection) -> bool:
    """Whether there is anything to try for `pc`."""
    return any(connection.remote_candidates for connection in ice_connections(pc))


#: Giving an allocation back takes a round trip; a relay that is dead keeps it until it expires.
RELEASE_S = 0.5


class Relay:
    """An allocation on a TURN server."""

    def __init__(self, candidate: aioice.Candidate, protocol: Any) -> None:
        self.candidate = candidate
        self.protocol = protocol

    async def release(self) -> None:
        """Give it back. aioice would wait a minute for a server that does not answer, socket open."""
        transport = self.protocol.transport
        transport.close()
        closing: asyncio.Task[None] = transport._TurnTransport__close_task
        await asyncio.wait([closing], timeout=RELEASE_S)
        # Cancelled, it closes the socket all the same.
        for task in (closing, *transport._TurnTransport__send_tasks):
            task.cancel()
        await asyncio.wait([closing])
        if not closing.cancelled():
            closing.exception()


class LocalIce:
    """The addresses of one ICE transport of `pc`: the first section's, which carries all of them.

    aioice gathers once, before anything else. Here candidates come later: they are added to its lists, and
    its loop of connectivity checks, which waits for remote ones in the same way, picks them up.
    """

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._pc: Any = pc
        self._transport: Any = _first_transport(pc)
        self._ice: Any = self._transport._connection
        self.relays: list[Relay] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalIce) and other._ice is self._ice

    __hash__ = None  # type: ignore[assignment]

    @property
    def mid(self) -> str:
        """The section its candidates belong to."""
        return str(_sections(self._pc)[0].mid)

    @property
    def ufrag(self) -> str:
        return str(self._ice.local_username)

    def expect_more(self) -> None:
        """Local candidates are still to come: the checks go on, and nothing has failed yet."""
        self._ice._remote_candidates_expected = lambda: True

    def expect_no_more(self) -> None:
        """All local candidates are there."""
        del self._ice._remote_candidates_expected
        if not self._ice._remote_candidates_expected() and not self._ice._closing:
            self._ice._end_remote_candidates()

    def hosts(self) -> list[Any]:
        """Sockets that a STUN server may see from elsewhere: those on IPv4."""
        return [p for p in self._ice._protocols if "." in p.local_candidate.host]

    async def reflexive(self, host: Any, server: tuple[str, int]) -> str | None:
        """The address of `host` as `server` sees it; None if it sees the same. Raises what aioice raises."""
        message = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
        response, _ = await host.request(message, server)
        base, seen = host.local_candidate, response.attributes["XOR-MAPPED-ADDRESS"]
        if seen == (base.host, base.port):
            return None
        candidate = aioice.Candidate(
            foundation=candidate_foundation("srflx", "udp", base.host),
            component=base.component,
            transport="udp",
            priority=candidate_priority(base.component, "srflx"),
            host=seen[0],
            port=seen[1],
            type="srflx",
            related_address=base.host,
            related_port=base.port,
        )
        return self._add(candidate)

    async def allocate(
        self, server: tuple[str, int], username: str, password: str, is_stream: bool, is_tls: bool
    ) -> Relay:
        """An address on a TURN server; its certificate is verified. Raises what aioice raises."""
        candidate, protocol = await aioice.ice.relayed_candidate(
            component=1,
            hide_related_address=self._is_relay_only,
            protocol_factory=lambda: aioice.ice.StunProtocol(self._ice),
            turn_server=server,
            turn_username=username,
            turn_password=password,
            turn_ssl=is_tls,
            turn_transport="tcp" if is_stream else "udp",
        )
        return Relay(candidate, protocol)

    def add_relay(self, relay: Relay) -> str:
        """Use `relay` for this connection; `release` gives it back."""
        self.relays.append(relay)
        text = self._add(relay.candidate)
        self._ice._protocols.append(relay.protocol)
        if self._ice._early_checks_done:
            for remote in self._ice._remote_candidates:
                self._ice._pair_remote_candidate(remote)
            self._ice.sort_check_list()
        elif self._is_relay_only:
            # aiortc does not begin to connect as long as there is no local candidate.
            self._connecting = asyncio.ensure_future(self._pc._RTCPeerConnection__connect())
        return text

    def detach_relays(self) -> list[Relay]:
        """Take the relays out of what aioice closes, which would wait for them one after the other."""
        relays, self.relays = self.relays, []
        for relay in relays:
            with suppress(ValueError):
                self._ice._protocols.remove(relay.protocol)
        return relays

    @property
    def _is_relay_only(self) -> bool:
        return self._ice._transport_policy is aioice.TransportPolicy.RELAY

    def _add(self, candidate: aioice.Candidate) -> str:
        self._ice._local_candidates.append(candidate)
        return "candidate:" + candidate_to_sdp(candidate_from_aioice(candidate))


def _sections(pc: Any) -> list[Any]:
    """Transceivers and the data transport, in the order of their sections."""
    found = [(t._get_mline_index(), t) for t in pc.getTransceivers()]
    if pc.sctp is not None:
        found.append((pc._RTCPeerConnection__sctp_mline_index, pc.sctp))
    return [section for index, section in sorted(found, key=lambda f: f[0]) if index is not None]


def _first_transport(pc: Any) -> Any:
    first = _sections(pc)[0]
    dtls = first.transport if first is pc.sctp else first.receiver.transport
    return dtls.transport
