"""Short-lived credentials for relays, one for every token that is given out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from prometheus_client import Counter

from agent.realtime import IceServer, RestError, TurnApi, parse_ice_servers, shared_secret_credential
from agent.realtime.json_text import json_bytes
from agent.realtime.rest.turn_rest import MAX_LABEL_CHARS
from agent.realtime.rest.turn_types import TurnCredential
from agent.room_options import MAX_TOKEN_SERVERS_BYTES, RoomsOptions, TurnServers

_log = logging.getLogger(__name__)
CREDENTIALS = Counter(
    "voice_agent_turn_credentials",
    "Relay credentials for tokens: made; or not to be had, so that the token went out without one",
    ["outcome"],
)

#: How long a caller may wait for a credential.
PATIENCE_S = 3.0
#: After a failure nobody else has to wait for the same.
PAUSE_S = 5.0
MAX_REQUESTS = 8
#: Which addresses the service has changes rarely; asking again now and then is enough.
ADDRESSES_LAST_S = 3600.0


class Relays(Protocol):
    """Where relays and credentials for them come from."""

    async def for_peer(self, peer_id: str) -> tuple[IceServer, ...]:
        """Servers with a credential that is `peer_id`'s alone; none when they cannot be had just now."""

    async def close(self) -> None: ...


def relays_of(options: RoomsOptions) -> Relays | None:
    """What the settings ask for."""
    if options.turn.is_coturn:
        return SharedSecretRelays(options.turn, options.turn_ttl_s)
    if options.turn.is_metered:
        return MeteredRelays(options.turn, options.turn_ttl_s)
    return None


class SharedSecretRelays:
    """A coturn that shares a secret with us: credentials are computed."""

    def __init__(self, options: TurnServers, ttl_s: int) -> None:
        assert options.secret is not None
        self._secret = options.secret.get_secret_value()
        self._urls = options.urls
        self._ttl_s = ttl_s

    async def for_peer(self, peer_id: str) -> tuple[IceServer, ...]:
        """See `Relays.for_peer`."""
        credential = shared_secret_credential(self._secret, self._urls, name=peer_id, ttl_s=self._ttl_s)
        CREDENTIALS.labels("made").inc()
        return (credential,)

    async def close(self) -> None:
        """Nothing is open."""


class MeteredRelays:
    """Metered's relays: credentials are asked for, labelled with the peer's id, and end by themselves.

    When the service fails or takes too long, there is none: callers get in without, a warning is logged, and
    for the next seconds nobody waits for it.
    """

    def __init__(
        self,
        options: TurnServers,
        ttl_s: int,
        *,
        url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url`: in place of the app's own address. `clock` tells seconds, for the pauses."""
        assert options.app_name is not None
        assert options.secret_key is not None
        key = options.secret_key.get_secret_value()
        self._api = TurnApi(options.app_name, secret_key=key, url=url, timeout_s=PATIENCE_S)
        self._region = options.region
        self._ttl_s = ttl_s
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        #: What the service listed besides the credential, and when; the relays' addresses are the same for
        #: every credential.
        self._listed: tuple[float, tuple[IceServer, ...], tuple[str, ...]] | None = None
        self._pause_until = 0.0

    async def for_peer(self, peer_id: str) -> tuple[IceServer, ...]:
        """See `Relays.for_peer`."""
        servers: tuple[IceServer, ...] = ()
        try:
            if not self._is_paused:
                async with asyncio.timeout(PATIENCE_S), self._slots:
                    # Those before us may have failed meanwhile.
                    if not self._is_paused:
                        _, servers = await self.make(peer_id, self._ttl_s)
        except (RestError, TimeoutError) as error:
            self._pause(str(error) or f"no answer in {PATIENCE_S:g} s")
        CREDENTIALS.labels("made" if servers else "failed").inc()
        return servers

    async def make(self, label: str, ttl_s: int) -> tuple[TurnCredential, tuple[IceServer, ...]]:
        """A credential and the servers it is for. Raises `RestError`."""
        credential = await self._api.credentials.create(expires_in_s=ttl_s, label=label[:MAX_LABEL_CHARS])
        others, urls = await self._addresses(credential)
        servers = (*others, IceServer(urls, credential.username, credential.password))
        entries = [server.to_json() for server in servers]
        if parse_ice_servers(entries) is None or json_bytes(entries) > MAX_TOKEN_SERVERS_BYTES:
            raise RestError(None, "bad_answer", "the TURN service's credentials do not fit into a token")
        return credential, servers

    async def discard(self, credential: TurnCredential) -> None:
        """End a credential before its time. Raises `RestError`."""
        await self._api.credentials.delete(credential.username)

    async def close(self) -> None:
        await self._api.close()

    @property
    def _is_paused(self) -> bool:
        return self._clock() < self._pause_until

    def _pause(self, why: str) -> None:
        # Of many that waited together, one says so.
        if not self._is_paused:
            _log.warning("no TURN credential to be had, so callers go without: %s", why)
        self._pause_until = self._clock() + PAUSE_S

    async def _addresses(self, credential: TurnCredential) -> tuple[tuple[IceServer, ...], tuple[str, ...]]:
        """The servers that need no credential, and the addresses of those that do."""
        if self._listed is None or self._clock() - self._listed[0] > ADDRESSES_LAST_S:
            servers = await self._api.credentials.ice_servers(credential.api_key or "-", region=self._region)
            others = tuple(server for server in servers if server.credential is None)
            urls = tuple(url for server in servers if server.credential is not None for url in server.urls)
            if not urls:
                raise RestError(None, "bad_answer", "the TURN service listed no relays")
            self._listed = (self._clock(), others, urls)
        return self._listed[1:]
