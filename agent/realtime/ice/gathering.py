"""Our own addresses as STUN and TURN servers see them, found while the description is already on its way.

aioice asks one server of each kind and holds the description back until they have answered, or for 5 s. Here
the description leaves with the addresses of this machine; all servers are asked behind it, and what they say
follows as single candidates.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from agent.realtime.ice.choice import Choice, StunServer, TurnServer
from agent.realtime.ice.ice_seam import LocalIce, Relay
from agent.realtime.ice.race import race

logger = logging.getLogger(__name__)

SERVER_FAILURES = Counter(
    "voice_agent_ice_server_failures_total",
    "STUN and TURN servers that gave no address, or (timeout) times that one was waited for to the end",
    ["kind"],
)

#: When the next server is asked although the one before may still answer: two round trips to the far side
#: of the world, which is what an allocation over UDP takes.
STAGGER_S = 0.5
#: When it is no longer waited for an answer.
GATHER_S = 10.0

#: A resolver that hangs must not take the threads that encode sound.
_resolver = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ice-resolver")


class Gathering:
    """Asks the servers of `choice` on behalf of one connection until all is known or `stop`.

    `on_candidate` gets each candidate as it goes into a description, and None after the last one.
    """

    def __init__(self, ice: LocalIce, choice: Choice, on_candidate: Callable[[str | None], None]) -> None:
        self._ice = ice
        self._choice = choice
        self._on_candidate = on_candidate
        self._relays: list[Relay] = []
        ice.expect_more()
        self._task = asyncio.create_task(self._run(), name="ice-gathering")

    @property
    def is_done(self) -> bool:
        return self._task.done()

    def serves(self, ice: LocalIce) -> bool:
        """Whether it is this one's candidates that are gathered."""
        return self._ice == ice

    async def stop(self) -> None:
        """Ask no more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._relays = self._ice.detach_relays()

    async def release(self) -> None:
        """After `stop`, when nothing is sent any more: give back what was allocated."""
        await asyncio.gather(*(relay.release() for relay in self._relays))

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(GATHER_S), asyncio.TaskGroup() as tasks:
                for host in self._ice.hosts():
                    tasks.create_task(self._find_reflexive(host))
                tasks.create_task(self._find_relay())
        except TimeoutError:
            SERVER_FAILURES.labels("timeout").inc()
            logger.warning("STUN or TURN servers did not answer within %g s", GATHER_S)
        self._ice.expect_no_more()
        self._on_candidate(None)

    async def _find_reflexive(self, host: object) -> None:
        ways = [functools.partial(self._ask_stun, host, server) for server in self._choice.stun]
        for candidate in (await race(ways, stagger_s=STAGGER_S, failed=_count("stun")))[:1]:
            if candidate is not None:
                self._on_candidate(candidate)

    async def _ask_stun(self, host: object, server: StunServer) -> str | None:
        return await self._ice.reflexive(host, (await _resolve(server.host, socket.AF_INET), server.port))

    async def _find_relay(self) -> None:
        ways = [functools.partial(self._allocate, server) for server in self._choice.turn]
        relays = await race(ways, stagger_s=STAGGER_S, failed=_count("turn"))
        if relays:
            self._on_candidate(self._ice.add_relay(relays[0]))
        await asyncio.gather(*(relay.release() for relay in relays[1:]))

    async def _allocate(self, server: TurnServer) -> Relay:
        address = await _resolve(server.host)
        # The name is what a certificate is checked against.
        host = server.host if server.way == "tls" else address
        return await self._ice.allocate(
            (host, server.port), server.username, server.credential, server.way != "udp", server.way == "tls"
        )


async def _resolve(host: str, family: int = socket.AF_UNSPEC) -> str:
    """An address of `host`. Raises `OSError`."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        look_up = functools.partial(socket.getaddrinfo, host, None, family, socket.SOCK_DGRAM)
        found = await asyncio.get_running_loop().run_in_executor(_resolver, look_up)
        return str(found[0][4][0])
    return host


def _count(kind: str) -> Callable[[BaseException], None]:
    def failed(error: BaseException) -> None:
        # Whatever a server, or aioice on reading it, makes of the request: another one is asked.
        SERVER_FAILURES.labels(kind).inc()
        logger.warning("a %s server gave no address: %s", kind, type(error).__name__)

    return failed
