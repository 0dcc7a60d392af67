"""As much of an RTSP server (RFC 2326) as a camera has that only sounds: L16 at 16 kHz over its own TCP."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from pipelines.audio import Pcm

PAYLOAD_TYPE = 96
PACKET_S = 0.02


@dataclass
class Camera:
    """`url` has no credentials in it. `requests` is what it was asked, in order."""

    sound: Pcm
    url: str = ""
    requests: list[str] = field(default_factory=list)
    #: Set: what is playing ends as when a cable is pulled.
    pulled: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing = None
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) is not None:
                # Reports of the player are between its requests.
                while head.startswith(b"$"):
                    head = head[4 + int.from_bytes(head[2:4]) :]
                method, headers = _parsed(head)
                self.requests.append(method)
                writer.write(self._answer(method, headers))
                if method == "PLAY":
                    playing = asyncio.create_task(self._play(writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.wait([playing])
            writer.close()

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        body = ""
        more = {
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
            "DESCRIBE": f"Content-Base: {self.url}/\r\nContent-Type: application/sdp\r\n",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
            "PLAY": "Session: 1\r\nRange: npt=0.000-\r\n",
        }.get(method, "Session: 1\r\n")
        if method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                f"m=audio 0 RTP/AVP {PAYLOAD_TYPE}\r\na=control:track\r\n"
                f"a=rtpmap:{PAYLOAD_TYPE} L16/{self.sound.rate_hz}/1\r\n"
            )
        head = f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        size = int(self.sound.rate_hz * PACKET_S)
        samples, loop = self.sound.samples, asyncio.get_running_loop()
        began_s, number = loop.time(), 0
        while not self.pulled.is_set():
            start = number * size % (len(samples) - size + 1)
            head = struct.pack("!BBHII", 0x80, PAYLOAD_TYPE, number % 65_536, number * size, 1)
            packet = head + samples[start : start + size].astype(">i2").tobytes()
            writer.write(b"$\x00" + struct.pack("!H", len(packet)) + packet)
            number += 1
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began_s + number * PACKET_S):
                    await self.pulled.wait()
        writer.transport.abort()


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    request, *lines = head.decode().rstrip().split("\r\n")
    fields = (line.split(":", 1) for line in lines)
    return request.split(" ")[0], {name.lower(): value.strip() for name, value in fields}


@asynccontextmanager
async def rtsp_camera(sound: Pcm) -> AsyncIterator[Camera]:
    """A camera that plays `sound`, whole packets of it, over and over."""
    camera = Camera(sound)
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0)
    camera.url = f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/camera"
    try:
        yield camera
    finally:
        server.close()
