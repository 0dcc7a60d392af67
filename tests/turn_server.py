"""A real TURN server (coturn) for the tests that need one."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import secrets
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REALM = "tests.example"


@dataclass(frozen=True)
class TurnServer:
    """Speaks UDP, TCP and TLS on one port. Use `username` and `password`, or `auth_secret` to make them."""

    host: str
    port: int
    username: str
    password: str
    auth_secret: str | None
    #: The certificate to trust for `tls`, as a file in PEM.
    certificate: Path
    #: Everything it has logged so far.
    log: Path

    @property
    def udp(self) -> str:
        return f"turn:{self.host}:{self.port}?transport=udp"

    @property
    def tcp(self) -> str:
        return f"turn:{self.host}:{self.port}?transport=tcp"

    @property
    def tls(self) -> str:
        return f"turns:{self.host}:{self.port}?transport=tcp"


def turnserver() -> str:
    """Path of the machine's coturn. Without one the test is skipped, or fails where CI is set."""
    found = shutil.which("turnserver")
    if found is None:
        reason = "no turnserver found: install coturn to run this test"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@asynccontextmanager
async def turn_server(
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    with_secret: bool = False,
    prefix: Sequence[str] = (),
    options: Sequence[str] = (),
) -> AsyncIterator[TurnServer]:
    """Run coturn on `host`, an address of this machine.

    `with_secret`: it takes time-limited credentials made from `auth_secret` and no others, instead of one
    lasting user. `prefix` goes before the command (``("ip", "netns", "exec", NAME)``: give `port` then, and
    the test itself waits until it answers); `options` after it.
    """
    program = turnserver()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate, key = _write_certificate(folder, host)
        server = TurnServer(
            host,
            free_port(host) if port is None else port,
            "" if with_secret else "user",
            "" if with_secret else secrets.token_hex(8),
            secrets.token_hex(16) if with_secret else None,
            certificate,
            folder / "log",
        )
        command = [*prefix, program, *_arguments(server, key, folder), *options]
        with server.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            try:
                if not prefix:
                    await _until_it_answers(server, process)
                yield server
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def trusting(server: TurnServer) -> ssl.SSLContext:
    """A TLS context that accepts the server's certificate and no other."""
    return ssl.create_default_context(cafile=str(server.certificate))


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP alike."""
    while True:
        with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            with suppress(OSError):
                udp.bind((host, tcp.getsockname()[1]))
                return int(tcp.getsockname()[1])


def _arguments(server: TurnServer, key: Path, folder: Path) -> list[str]:
    if server.auth_secret is None:
        who = ["--lt-cred-mech", f"--user={server.username}:{server.password}"]
    else:
        who = ["--use-auth-secret", f"--static-auth-secret={server.auth_secret}"]
    return [
        "-n", "--no-cli", "--no-dtls", "--no-rfc5780", "--no-multicast-peers", "--allow-loopback-peers",
        f"--listening-ip={server.host}", f"--relay-ip={server.host}", f"--listening-port={server.port}",
        f"--realm={REALM}", f"--cert={server.certificate}", f"--pkey={key}",
        f"--userdb={folder / 'turndb'}", f"--pidfile={folder / 'pid'}", "--log-file=stdout", "--simple-log",
        "--relay-threads=1", *who,
    ]  # fmt: skip


async def _until_it_answers(server: TurnServer, process: asyncio.subprocess.Process) -> None:
    while True:
        if process.returncode is not None:
            pytest.fail(f"coturn did not start: {server.log.read_text(errors='replace')[-2000:]}")
        # It opens its UDP port before the TCP one.
        with suppress(OSError):
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.close()
            return
        await asyncio.sleep(0.02)


def _write_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return pem, key_pem
