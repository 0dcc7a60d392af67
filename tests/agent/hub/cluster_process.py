"""A hub in a process of its own, which a test can kill. Prints its port when it is ready."""

from __future__ import annotations

import asyncio
import os
import socket

import uvicorn
from fastapi import FastAPI

from agent.hub import UVICORN_OPTIONS, Hub, HubOptions, SecretKey


async def main() -> None:
    options = HubOptions(
        secret_keys=(SecretKey(os.environ["HUB_KEY_ID"], os.environ["HUB_SECRET"]),),
        connects_per_minute=None,
        redis_url=os.environ["HUB_REDIS_URL"],
        redis_lease_s=float(os.environ["HUB_LEASE_S"]),
    )
    async with Hub(options) as hub:
        app = FastAPI()
        app.include_router(hub.router)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            print(listener.getsockname()[1], flush=True)
            await uvicorn.Server(uvicorn.Config(app, log_config=None, **UVICORN_OPTIONS)).serve([listener])


if __name__ == "__main__":
    asyncio.run(main())
