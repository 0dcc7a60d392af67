"""How a caller finds the systems: an offer over HTTP, or a room of ours."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any, Protocol

import httpx
import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

#: Takes each message of the system and the time at which it came.
OnMessage = Callable[[dict[str, Any]], None]


class Signalling(Protocol):
    """The way to one system."""

    async def connect(self, pc: RTCPeerConnection, on_message: OnMessage) -> None:
        """Negotiate `pc`, which has its track already."""

    async def close(self) -> None: ...


class HttpOffer:
    """One POST with the offer, answered with the answer: Pipecat's and FastRTC's way."""

    def __init__(self, url: str, path: str) -> None:
        self._address = url + path

    async def connect(self, pc: RTCPeerConnection, on_message: OnMessage) -> None:  # noqa: ARG002
        # Both expect the browser's data channel.
        pc.createDataChannel("text")
        await pc.setLocalDescription(await pc.createOffer())
        offer = {"sdp": pc.localDescription.sdp, "type": "offer", "webrtc_id": secrets.token_hex(8)}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            response = await http.post(self._address, json=offer)
        response.raise_for_status()
        answer = response.json()
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def close(self) -> None:
        return


class Room:
    """A room of our service, in the protocol's own frames: no code of ours between the caller and aiortc."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: websockets.ClientConnection | None = None
        self._following: asyncio.Task[None] | None = None

    async def connect(self, pc: RTCPeerConnection, on_message: OnMessage) -> None:
        url, room, token = await self._access()
        self._socket = await websockets.connect(f"{url}/v1?token={token}")
        await self._socket.send(json.dumps({"type": "subscribe", "channel": room}))
        negotiated = asyncio.Event()
        self._following = asyncio.create_task(self._follow(pc, on_message, negotiated))
        await negotiated.wait()

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def _access(self) -> tuple[str, str, str]:
        """A hub's address, a room in which an agent is or will be, and a token for it."""
        room = f"benchmark-{secrets.token_hex(4)}"
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=60) as http:
            agent = await http.post("/agents", json={"room": room, "greeting": ""})
            agent.raise_for_status()
            access = (await http.post("/tokens", json={"room": room, "name": "caller"})).json()
        return access["url"], room, access["token"]

    async def _follow(self, pc: RTCPeerConnection, on_message: OnMessage, negotiated: asyncio.Event) -> None:
        assert self._socket is not None
        async for text in self._socket:
            frame = json.loads(text)
            data = frame.get("data")
            if not isinstance(data, dict):
                continue
            match data.get("type"):
                case "rtc-description" if data["description"]["type"] == "offer":
                    # The agent's id sorts last, so it is always the one that offers and we always answer.
                    await pc.setRemoteDescription(RTCSessionDescription(data["description"]["sdp"], "offer"))
                    await pc.setLocalDescription(await pc.createAnswer())
                    answer = {"type": "answer", "sdp": pc.localDescription.sdp}
                    await self._send(frame["from"], {"type": "rtc-description", "description": answer})
                    await self._send(frame["from"], {"type": "rtc-ice", "candidate": None})
                    negotiated.set()
                case "rtc-ice":
                    await _add_candidate(pc, data.get("candidate"))
                case _:
                    on_message(data)

    async def _send(self, to: str, data: dict[str, Any]) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps({"type": "send", "to": to, "data": data}))


class HubRoom(Room):
    """A room of any hub, with a token for it."""

    def __init__(self, url: str, room: str, token: str) -> None:
        super().__init__(url)
        self._given = url, room, token

    async def _access(self) -> tuple[str, str, str]:
        return self._given


async def _add_candidate(pc: RTCPeerConnection, given: dict[str, Any] | None) -> None:
    if not given or not given.get("candidate"):
        return
    candidate = candidate_from_sdp(given["candidate"].partition(":")[2])
    candidate.sdpMid = given.get("sdpMid")
    candidate.sdpMLineIndex = given.get("sdpMLineIndex")
    await pc.addIceCandidate(candidate)
