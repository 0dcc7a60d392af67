"""A model hub on a real socket: the part of the Hugging Face API that fetching weights needs."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Holds `repos`: path to content. Paths in `corrupt` are served with a byte changed."""

    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        self.repos = repos
        self.corrupt: set[str] = set()
        #: Paths that are not sent before `release` is set; `asked` is set when one of them is wanted.
        self.held: set[str] = set()
        self.release, self.asked = threading.Event(), threading.Event()
        #: Files that were sent, one entry for each download.
        self.sent: list[str] = []
        self._app = FastAPI()
        self._app.api_route("/", methods=["GET", "HEAD"])(self._root)
        self._app.post("/api/models/{owner}/{name}/paths-info/{revision}")(self._paths_info)
        self._app.get("/api/models/{owner}/{name}/tree/{revision}")(self._tree)
        self._app.get("/api/models/{owner}/{name}")(self._info)
        self._app.get("/api/models/{owner}/{name}/revision/{revision}")(self._info)
        self._app.api_route("/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])(
            self._file
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(self._app, log_config=None, lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    async def _root(self) -> Response:
        return Response("a hub")

    async def _paths_info(self, owner: str, name: str, request: Request) -> Response:
        files = self.repos.get(f"{owner}/{name}")
        if files is None:
            return _missing("RepoNotFound")
        wanted = parse_qs((await request.body()).decode())["paths"]
        return JSONResponse([_described(path, files[path]) for path in wanted if path in files])

    async def _tree(self, owner: str, name: str) -> Response:
        files = self.repos.get(f"{owner}/{name}")
        if files is None:
            return _missing("RepoNotFound")
        return JSONResponse([_described(path, content) for path, content in files.items()])

    async def _info(self, owner: str, name: str) -> Response:
        files = self.repos.get(f"{owner}/{name}")
        if files is None:
            return _missing("RepoNotFound")
        siblings = [{"rfilename": path} for path in files]
        return JSONResponse({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": siblings})

    async def _file(self, owner: str, name: str, path: str, request: Request) -> Response:
        content = self.repos.get(f"{owner}/{name}", {}).get(path)
        if content is None:
            return _missing("EntryNotFound")
        headers = {"x-repo-commit": COMMIT, "etag": f'"{hashlib.sha256(content).hexdigest()}"'}
        headers["content-length"] = str(len(content))
        if request.method == "HEAD":
            return Response(headers=headers)
        if path in self.held:
            self.asked.set()
            await asyncio.to_thread(self.release.wait)
        self.sent.append(path)
        if path in self.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        return Response(content, headers=headers, media_type="application/octet-stream")


def _missing(code: str) -> Response:
    return JSONResponse({"error": "not found"}, status_code=404, headers={"x-error-code": code})


def _described(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith((".bin", ".onnx")):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry
