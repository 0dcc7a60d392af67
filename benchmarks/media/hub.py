"""A hub as a process of its own, for calls of ours and of the vendor's client.

    python -m benchmarks.media.hub ACCESS

ACCESS is `Access` as JSON; says where it is (`benchmarks.common.setup.announce`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI

from agent.hub import UVICORN_OPTIONS, Hub, HubOptions, SecretKey
from agent.realtime import mint_token
from benchmarks.common.setup import announce

#: Without any servers the vendor's client asks a public one; aiortc has no use for this one and asks nobody.
NO_SERVER = {"iceServers": [{"urls": "stuns:localhost"}]}
#: Answers with the processor time of the hub so far, in seconds.
SPENT_PATH = "/spent"


@dataclass(frozen=True, slots=True)
class Access:
    """The hub's only pair of keys."""

    key_id: str = field(default_factory=lambda: "sk_id_" + secrets.token_hex(4))
    secret: str = field(default_factory=lambda: "sk_secret_" + secrets.token_urlsafe(32), repr=False)

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    def token(self, peer_id: str, room: str, **claims: Any) -> str:
        return mint_token(self.key_id, self.secret, peer_id=peer_id, channels=[room], **claims)[0]


async def main() -> None:
    access = Access(**json.loads(sys.argv[1]))
    keys = (SecretKey(access.key_id, access.secret),)
    hub = Hub(HubOptions(secret_keys=keys, connects_per_minute=None, connections_per_address=None))
    app = FastAPI()
    app.include_router(hub.router)

    @app.get(SPENT_PATH)
    async def spent() -> float:
        return time.process_time()

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        announce(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", **UVICORN_OPTIONS))
        await hub.start()
        await server.serve(sockets=[listener])
        await hub.close()


if __name__ == "__main__":
    asyncio.run(main())
