"""A hub as a process of its own, over TLS if it is given a certificate, with our page's modules beside it.

python -m tests.netlab.hub_process '{"host": …, "port": …, "key_id": …, "secret": …, …}'
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from agent.hub import UVICORN_OPTIONS, Hub, HubOptions, SecretKey
from tests.netlab.namespaces import ROOT
from tests.netlab.reports import Report, before_others, in_background, until_told_to_end


async def main(
    *,
    host: str,
    port: int,
    key_id: str,
    secret: str,
    certificate: str | None = None,
    private_key: str | None = None,
) -> None:
    hub = Hub(HubOptions(secret_keys=(SecretKey(key_id, secret),), connects_per_minute=None))
    app = FastAPI()
    app.include_router(hub.router)
    app.mount("/web", StaticFiles(directory=ROOT / "agent" / "controller" / "web"))
    app.mount("/", StaticFiles(directory=Path(__file__).parent / "page"))
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        log_config=None,
        lifespan="off",
        **UVICORN_OPTIONS,
    )
    server = uvicorn.Server(config)

    async def say_when_ready() -> None:
        while not server.started:
            await asyncio.sleep(0.02)
        Report().event("ready")

    async with in_background(say_when_ready()):
        serving = asyncio.create_task(server.serve())
        await until_told_to_end()
        await hub.close()
        server.should_exit = True
        await serving


if __name__ == "__main__":
    before_others()
    asyncio.run(main(**json.loads(sys.argv[1])))
