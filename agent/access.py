"""Who may enter which room: access for agents and for callers, with the least rights each needs."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.controller.parts import CallerAccess, Role
from agent.hub import Hub, HubOptions, SecretKey
from agent.realtime import IceServer, mint_token
from agent.room_options import RoomsOptions
from agent.turn import Relays, relays_of

#: Sorts above every other printable character: the agent is the impolite side of every negotiation, so its
#: offers are never thrown away and nobody waits for somebody else's.
AGENT_ID_PREFIX = "~agent-"
ROLE_AGENT: Role = "agent"
ROLE_CALLER: Role = "caller"


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """What a `Peer` connects with; exactly one of `key` and `token_provider` is set."""

    url: str
    key: str | None = None
    token_provider: Callable[[], Awaitable[str]] | None = None
    #: In place of what the signalling server sends; empty: use that.
    ice_servers: tuple[IceServer, ...] = ()


class Access:
    """Rooms of the embedded hub, or of the signalling server that the settings name.

    The embedded hub gets a secret pair of its own at every start, which never leaves this process.
    """

    def __init__(self, options: RoomsOptions, *, local: bool, relays: Relays | None = None) -> None:
        """`local`: only this machine can reach the service; `relays`: in place of those in the settings.

        `close` it in the end.
        """
        self._options = options
        self._relays = relays_of(options) if relays is None else relays
        #: Where agents of this process connect to; set by the service once its port is known.
        self.url = options.origin
        self.hub: Hub | None = None
        if options.embedded:
            pair = SecretKey(f"sk_id_{secrets.token_hex(8)}", f"sk_secret_{secrets.token_urlsafe(32)}")
            self._pair: tuple[str, str] | None = (pair.key_id, pair.secret)
            # On this machine every caller, agent and test has the same address: there is nobody to hold off.
            # Elsewhere agents of this process may share theirs with callers whom a proxy brings.
            hub_options = HubOptions(
                secret_keys=(pair,), ice_servers=self.ice_servers, trusted_prefix=AGENT_ID_PREFIX
            )
            if local:
                hub_options = replace(hub_options, connects_per_minute=None, connections_per_address=None)
            self.hub = Hub(hub_options)
        elif options.secret_key is not None and options.secret_key_id is not None:
            self._pair = (options.secret_key_id, options.secret_key.get_secret_value())
        else:
            self._pair = None

    @property
    def ice_servers(self) -> tuple[IceServer, ...]:
        return tuple(server.plain() for server in self._options.ice_servers)

    async def close(self) -> None:
        if self._relays is not None:
            await self._relays.close()

    def for_agent(self, agent_id: str, room: str, name: str) -> PeerAccess:
        """An agent's own access to its one room."""
        if self._pair is None:
            return PeerAccess(self.url, key=self._key, ice_servers=self.ice_servers)

        async def provide() -> str:
            token, _ = await self._mint(AGENT_ID_PREFIX + agent_id, room, {"role": ROLE_AGENT, "name": name})
            return token

        # With relays of its own, all its servers are in the token.
        given = self.ice_servers if self._relays is None else ()
        return PeerAccess(self.url, token_provider=provide, ice_servers=given)

    async def caller_access(self, room: str, name: str | None, role: Role = ROLE_CALLER) -> CallerAccess:
        """Access to one room, for the page, a program, or an agent that runs elsewhere."""
        url = None if self.hub else self.url
        if self._pair is None:
            return CallerAccess(url, key=self._key)
        metadata = {"role": role} | ({"name": name} if name else {})
        prefix = AGENT_ID_PREFIX if role == ROLE_AGENT else "caller-"
        token, expires_at = await self._mint(prefix + secrets.token_hex(6), room, metadata)
        return CallerAccess(url, token=token, expires_at=datetime.fromtimestamp(expires_at, UTC))

    async def _mint(self, peer_id: str, room: str, peer_metadata: dict[str, str]) -> tuple[str, int]:
        assert self._pair is not None
        key_id, secret = self._pair
        servers = (*self.ice_servers, *await self._relays.for_peer(peer_id)) if self._relays else ()
        # ROOM_PATTERN has no wildcards in it, so a room's name is also the pattern that matches it alone.
        return mint_token(
            key_id,
            secret,
            peer_id=peer_id,
            channels=[room],
            expires_in_s=self._options.token_ttl_s,
            peer_metadata=peer_metadata,
            # None at all: whatever the server has for everybody.
            ice_servers=servers or None,
        )

    @property
    def _key(self) -> str:
        assert self._options.api_key is not None
        return self._options.api_key.get_secret_value()
